"""The rows of items: who owns them, and their large values."""

from collections.abc import Collection, Container, Iterable, Sequence
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from app.database import dialect
from app.database.tables import item_values, items
from app.rules.observation import ItemKey
from app.rules.task import Item
from app.tasks.writes import ITEM_COLUMNS

row_of: Final = attrgetter(*ITEM_COLUMNS)
"""The row of an item, as ``writes`` has it."""


def owners(conn: sa.Connection, keys: Collection[ItemKey]) -> dict[ItemKey, UUID]:
    """Read which task each item belongs to, without a lock."""
    wanted_keys = set(keys)
    table, families, ids = items.c, {key[0] for key in wanted_keys}, {key[1] for key in wanted_keys}
    named = dialect.any_of(conn, table.family, sorted(families)), dialect.any_of(conn, table.item_id, sorted(ids))
    rows = conn.execute(sa.select(table.family, table.item_id, table.task_id).where(*named)) if wanted_keys else ()
    return {key: row.task_id for row in rows if (key := (row.family, row.item_id)) in wanted_keys}


def any_named(conn: sa.Connection, task_ids: Sequence[UUID]) -> bool:
    """Whether an item of any of these tasks is known, so that the vendor has it."""
    if not task_ids:
        return False
    statement = sa.select(items.c.task_id).where(dialect.any_of(conn, items.c.task_id, list(task_ids))).limit(1)
    return conn.scalar(statement) is not None


def values_of(conn: sa.Connection, of_items: Iterable[Item], fields: Container[str] | None = None) -> dict[str, Any]:
    """Read the large values of items as their states name them, by digest: of some fields, or (None) of all."""
    keys = {
        (*item.key, digest)
        for item in of_items
        for field, (_, digest) in item.state.large.items()
        if fields is None or field in fields
    }
    if not keys:
        return {}
    table = item_values.c
    columns = (table.family, table.item_id, table.digest)
    # A value is the same wherever its digest is.
    named = (dialect.any_of(conn, columns[place], sorted({key[place] for key in keys})) for place in range(3))
    return {row.digest: row.value for row in conn.execute(sa.select(table.digest, table.value).where(*named))}


def drop_old_values(conn: sa.Connection, of_items: Iterable[Item], kept: Collection[str]) -> None:
    """Delete the large values of items but for those that their states name, and those of these digests. Under the
    locks of their tasks."""
    for item in of_items:
        table, named = item_values.c, {*kept, *(held[1] for held in item.state.large.values())}
        own = sa.and_(table.family == item.family, table.item_id == item.item_id)
        conn.execute(item_values.delete().where(own, table.digest.not_in(sorted(named))))


def find_owners(conn: sa.Connection, item_id: str) -> list[UUID]:
    """Read the tasks that own an item of this id, of any family."""
    return list(conn.scalars(sa.select(items.c.task_id).where(items.c.item_id == item_id).order_by(items.c.family)))
