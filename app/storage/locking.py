"""What a transaction that changes state works on: tasks under their locks, their items, and the callbacks that the log
knows already. One turn on PostgreSQL, where each of the three would cost one of its own."""

from collections.abc import Collection
from functools import partial
from typing import Any, Final
from uuid import UUID

import msgspec
import sqlalchemy as sa

from app.domain.task import Item, Task
from app.storage import dialect, inbox, items, sets, tasks
from app.storage.inbox import Receipt
from app.storage.items import ItemKey
from app.storage.tables import callbacks
from app.storage.tables import items as items_table
from app.storage.tables import tasks as tasks_table


class Obtained(msgspec.Struct):
    """Rows as this transaction holds them."""

    tasks: list[Task]
    items: list[Item]
    receipts: list[Receipt]


def lock_free(
    conn: sa.Connection, ids: Collection[UUID], item_keys: Collection[ItemKey], digests: Collection[bytes] = ()
) -> Obtained:
    """Lock the tasks of these ids and those that own these items, with their items, and look the callbacks up. Waits
    for no task: one that another transaction holds is left out, and so is one that another transaction changed while
    this statement began, since its items were read as they were before. Whoever has locked the tasks in an earlier
    statement gets them all."""
    wanted, keys, asked = list(ids), list(item_keys), list(digests)
    if not wanted and not keys and not asked:
        return Obtained([], [], [])
    if dialect.is_postgresql(conn):
        return sets.read_document(conn, AT_ONCE, ids=wanted, keys=keys, digests=asked)
    locked = tasks.owned(conn, wanted, keys)
    return Obtained(locked, items.of_tasks(conn, [task.id for task in locked]), inbox.receipts(conn, asked))


def at_once(ids: sa.FromClause, keys: sa.FromClause, digests: sa.FromClause, *, skip: bool) -> sa.Select[Any]:
    """The one statement, with its result as ``Obtained`` in JSON.

    It sees tables as they were when it began, but a row that it locks as it is at that moment. That is right for an
    item's row, and not enough for a task's: items that were given to it in between are not seen. Each such change
    writes the task's row too, so that its version (``xmin``) tells."""
    row_version: sa.ColumnElement[Any] = sa.literal_column("tasks.xmin").label("row_version")
    locked = dialect.locked(tasks.of_owners(ids, keys).add_columns(row_version), of=tasks_table, skip=skip).cte(
        "locked"
    )
    seen = tasks_table.alias("seen")
    same = sa.and_(seen.c.id == locked.c.id, sa.literal_column("seen.xmin") == locked.c.row_version)
    current = sa.select(*(locked.c[name] for name in tasks.FACTS)).join(seen, same).cte("current_tasks")
    own = items.of_these(sa.select(current.c.id))
    held = dialect.locked(own, of=items_table, skip=False).cte("held_items")
    known = inbox.of_digests(digests).cte("known_callbacks")
    parts = {"tasks": current, "items": held, "receipts": known}
    pairs = [part for name, rows in parts.items() for part in (sa.literal_column(f"'{name}'"), _all_of(rows))]
    return sa.select(sa.cast(sa.func.json_build_object(*pairs), sa.Text))


def _all_of(rows: sa.CTE) -> sa.ColumnElement[Any]:
    whole_row = sa.literal_column(rows.name, sa.JSON)
    collected = sa.func.coalesce(sa.func.json_agg(whole_row), sa.literal_column("'[]'::json"))
    return sa.select(collected).select_from(rows).scalar_subquery()


AT_ONCE: Final = sets.Document(
    {
        "ids": (tasks_table.c.id,),
        "keys": (items_table.c.family, items_table.c.item_id),
        "digests": (callbacks.c.digest,),
    },
    partial(at_once, skip=True),
    msgspec.json.Decoder(Obtained).decode,
)
