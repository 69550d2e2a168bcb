"""What a transaction that changes state works on: tasks under their locks, their items, and the callbacks that the log
knows already. One turn on PostgreSQL, where each of the three would cost one of its own.

Or without locks: read with the versions of the rows, and written by a statement that locks the rows first and writes
nothing unless they are of these versions still. So two turns do for a group of callbacks, where a transaction takes
four; but where somebody else is at a task of the group, all of it must be done again.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final
from uuid import UUID

import msgspec
import sqlalchemy as sa

from app.domain.task import Item, Task
from app.storage import dialect, inbox, items, sets, statements, tasks
from app.storage.inbox import Receipt
from app.storage.items import ItemKey
from app.storage.tables import callbacks
from app.storage.tables import items as items_table
from app.storage.tables import tasks as tasks_table


class Versions(msgspec.Struct, frozen=True):
    """Which rows were read without a lock, each with its version: PostgreSQL's own JSON, which it gets back."""

    tasks: msgspec.Raw
    items: msgspec.Raw


class Obtained(msgspec.Struct):
    """Rows as this transaction holds them, or, with ``versions``, as a statement saw them."""

    tasks: list[Task]
    items: list[Item]
    receipts: list[Receipt]
    versions: Versions | None = None


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
    return _document({"tasks": _all_of(current), "items": _all_of(held), "receipts": _all_of(known)})


def look(
    conn: sa.Connection, ids: Collection[UUID], item_keys: Collection[ItemKey], digests: Collection[bytes]
) -> Obtained:
    """As ``lock_free``, without locks. SQLite has one writer, which needs no versions."""
    if not dialect.is_postgresql(conn):
        return lock_free(conn, ids, item_keys, digests)
    return sets.read_document(conn, _SEEN, ids=list(ids), keys=list(item_keys), digests=list(digests))


def write_unless_changed(conn: sa.Connection, changes: Sequence[statements.Change], seen: Obtained) -> None:
    """Write what was made of what was seen. On PostgreSQL in one statement, which is a transaction of its own where
    there is none around it. Raises as ``sets.write_guarded``."""
    versions = seen.versions
    if versions is None:
        sets.write(conn, changes)
        return
    rows = (bytes(versions.tasks).decode(), bytes(versions.items).decode())
    sets.write_guarded(conn, changes, (UNCHANGED, (*rows, len(seen.tasks), len(seen.items))))


def _as_seen(ids: sa.FromClause, keys: sa.FromClause, digests: sa.FromClause) -> sa.Select[Any]:
    task_version, item_version = _version_of(tasks_table), _version_of(items_table)
    found = tasks.of_owners(ids, keys).add_columns(task_version.label("row_version")).cte("seen_tasks")
    own = items.of_these(sa.select(found.c.id)).add_columns(item_version.label("row_version")).cte("seen_items")
    known = inbox.of_digests(digests).cte("known_callbacks")
    versions = sa.func.json_build_object(
        sa.literal_column("'tasks'"),
        _all_of(sa.select(found.c.id, found.c.row_version).cte("task_versions")),
        sa.literal_column("'items'"),
        _all_of(sa.select(own.c.family, own.c.item_id, own.c.row_version).cte("item_versions")),
    )
    return _document({"tasks": _all_of(found), "items": _all_of(own), "receipts": _all_of(known), "versions": versions})


def unchanged(*, skip: bool) -> sa.Select[Any]:
    """Whether all rows that were seen are of the same version still, and locked now. With ``skip`` it waits for none:
    whoever holds one is about to change it. A row that changed while it was locked is looked at as it is then."""
    counts = []
    for table, names in ((tasks_table, ("id",)), (items_table, ("family", "item_id"))):
        columns = (*(table.c[name] for name in names), _ROW_VERSION)
        seen = dialect.records(f"{table.name}_seen", columns)
        same = [table.c[name] == seen[name] for name in names]
        rows = sa.select(table.c[names[0]]).where(*same, _version_of(table) == seen["row_version"])
        ordered = rows.order_by(*(table.c[name] for name in names))
        held = dialect.locked(ordered, of=table, skip=skip).cte(f"held_{table.name}")
        wanted = sa.bindparam(f"{table.name}_count", type_=sa.BigInteger)
        counts.append(sa.select(sa.func.count()).select_from(held).scalar_subquery() == wanted)
    return sa.select(sa.and_(*counts).label("holds"))


_ROW_VERSION: Final = sa.Column("row_version", sa.String())
UNCHANGED: Final = statements.Guard(
    ("tasks_seen", "items_seen", "tasks_count", "items_count"), partial(unchanged, skip=True)
)


def _version_of(table: sa.Table) -> sa.ColumnElement[str]:
    return sa.literal_column(f"{table.name}.xmin::text", sa.String())


def _document(parts: Mapping[str, sa.ColumnElement[Any]]) -> sa.Select[Any]:
    pairs = [part for name, value in parts.items() for part in (sa.literal_column(f"'{name}'"), value)]
    return sa.select(sa.cast(sa.func.json_build_object(*pairs), sa.Text))


def _all_of(rows: sa.CTE) -> sa.ColumnElement[Any]:
    whole_row = sa.literal_column(rows.name, sa.JSON)
    collected = sa.func.coalesce(sa.func.json_agg(whole_row), sa.literal_column("'[]'::json"))
    return sa.select(collected).select_from(rows).scalar_subquery()


_SETS: Final = {
    "ids": (tasks_table.c.id,),
    "keys": (items_table.c.family, items_table.c.item_id),
    "digests": (callbacks.c.digest,),
}
_decode: Final = msgspec.json.Decoder(Obtained).decode
AT_ONCE: Final = statements.Document(_SETS, partial(at_once, skip=True), _decode)
_SEEN: Final = statements.Document(_SETS, _as_seen, _decode)
