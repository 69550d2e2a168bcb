"""The rows of items: read by owner, claimed for questions under leases, and their large values."""

from collections.abc import Collection, Container, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from app.database import dialect
from app.database.tables import item_values, items
from app.rules.task import Item
from app.tasks.state_store import ItemKey
from app.tasks.writes import ITEM_COLUMNS

row_of: Final = attrgetter(*ITEM_COLUMNS)
"""The row of an item, as ``writes`` has it."""


@dataclass(frozen=True, slots=True)
class ClaimedItem:
    """An item that was claimed for a question. ``attempts``: questions since the vendor last sent news of it."""

    family: str
    item_id: str
    attempts: int

    @property
    def key(self) -> ItemKey:
        return (self.family, self.item_id)


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


@cache
def _most_overdue(but: str | None) -> sa.Select[str, str]:
    due = items.c.query_due_at <= sa.bindparam("now")
    if but is not None:
        due = sa.and_(due, items.c.query_group != but)
    first = sa.select(items.c.family, items.c.query_group).where(due).order_by(items.c.query_due_at).limit(1)
    return dialect.locked(first, of=items, skip=True)


def claim_due(
    conn: sa.Connection, now: datetime, soon: datetime, lease_until: datetime, limit: int, *, but: str | None = None
) -> list[ClaimedItem]:
    """Claim a full question: the item that is most overdue, and others of its family and group that are due by
    ``soon``; none of the group ``but``. Call it under the lock of the query limit, so that no two claims see the same
    rows."""
    first = conn.execute(_most_overdue(but), {"now": now}).one_or_none()
    if first is None:
        return []
    claimed = lock_due(conn, first.family, first.query_group, now, soon, limit)
    lease(conn, [item.key for item in claimed], lease_until)
    return claimed


def lock_due(
    conn: sa.Connection, family: str, query_group: str, now: datetime, soon: datetime, limit: int
) -> list[ClaimedItem]:
    """Lock the items of a family and group that are due by ``soon`` and that nobody asks about, the most overdue
    first; those that another transaction holds are passed over."""
    statement = (
        sa.select(items.c.family, items.c.item_id, items.c.query_attempts)
        .where(
            items.c.family == family,
            items.c.query_group == query_group,
            items.c.query_due_at <= soon,
            # One that is being asked about comes within reach of a long ``soon`` before its lease has ended.
            unleased(now),
        )
        .order_by(items.c.query_due_at)
        .limit(limit)
    )
    rows = conn.execute(dialect.locked(statement, of=items, skip=True))
    return [ClaimedItem(row.family, row.item_id, row.query_attempts) for row in rows]


_LEASE: Final = (
    items.update()
    .where(items.c.family == sa.bindparam("its_family"), items.c.item_id == sa.bindparam("its_id"))
    .values(query_due_at=sa.bindparam("until"), query_leased_until=sa.bindparam("until"))
)


def unleased(now: datetime) -> sa.ColumnElement[bool]:
    """The condition that nobody asks about the item now."""
    return sa.or_(items.c.query_leased_until.is_(None), items.c.query_leased_until <= now)


def lease(conn: sa.Connection, keys: Iterable[ItemKey], until: datetime) -> None:
    """Take items out of the due range until the lease ends."""
    rows = [{"its_family": family, "its_id": item_id, "until": until} for family, item_id in sorted(keys)]
    if rows:
        conn.execute(_LEASE, rows)


@dataclass(frozen=True, slots=True)
class Postponed:
    """A question that was not answered: when to ask again, and with whom (see ``query_group``)."""

    key: ItemKey
    due_at: datetime
    group: str
    attempts: int


def postpone(conn: sa.Connection, postponed: Sequence[Postponed], leased_until: datetime) -> None:
    """End leases without an answer, under the locks of the items' tasks. An item that has been leased anew or
    settled meanwhile is left alone."""
    for item in sorted(postponed, key=lambda each: each.key):
        family, item_id = item.key
        conn.execute(
            items.update()
            .where(
                items.c.family == family,
                items.c.item_id == item_id,
                items.c.query_leased_until == leased_until,
                items.c.query_due_at.is_not(None),
            )
            .values(
                query_due_at=item.due_at,
                query_leased_until=None,
                query_group=item.group,
                query_attempts=item.attempts,
            )
        )
