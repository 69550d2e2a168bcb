"""Items: who owns them, what is known of them, and when to ask about them."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

import msgspec
import sqlalchemy as sa

from app.domain.item import ItemState
from app.domain.status import ItemStatus
from app.domain.task import Item
from app.storage import dialect, sets, statements
from app.storage.database import loads
from app.storage.tables import item_values, items

ItemKey = tuple[str, str]

_KEY: Final = ("family", "item_id")
_COLUMNS: Final = tuple(name for name in Item.__struct_fields__ if name != "new")
_STATE: Final = _COLUMNS.index("state")
_values_of: Final = attrgetter(*_COLUMNS)
_decode_state: Final = msgspec.json.Decoder(ItemState).decode


def of_these(task_ids: sa.Select[Any]) -> sa.Select[Any]:
    """All items of some tasks, in the order in which they were named."""
    statement = sa.select(*(items.c[name] for name in _COLUMNS)).where(items.c.task_id.in_(task_ids))
    return statement.order_by(items.c.task_id, items.c.position, items.c.item_id)


def _of_row(row: statements.Row) -> Item:
    item = Item(*row)
    item.status = ItemStatus(item.status)
    item.state = _decode_state(row[_STATE])
    return item


_OF_TASKS: Final = statements.Select(
    {"tasks": (items.c.task_id,)},
    lambda given: of_these(sa.select(given.c.task_id)),
    msgspec.json.Decoder(list[Item]).decode,
    _of_row,
)


def _owners(given: sa.FromClause) -> sa.Select[Any]:
    named = sa.and_(items.c.family == given.c.family, items.c.item_id == given.c.item_id)
    return sa.select(items.c.family, items.c.item_id, items.c.task_id).join(given, named)


@dataclass(frozen=True, slots=True)
class _Owner:
    family: str
    item_id: str
    task_id: UUID


_OWNERS: Final = statements.Select(
    {"keys": (items.c.family, items.c.item_id)},
    _owners,
    msgspec.json.Decoder(list[_Owner]).decode,
    lambda row: _Owner(*row),
)


def _values(given: sa.FromClause) -> sa.Select[Any]:
    table = item_values.c
    named = sa.and_(table.family == given.c.family, table.item_id == given.c.item_id)
    return sa.select(table.digest, table.value).join(given, sa.and_(named, table.digest == given.c.digest))


@dataclass(frozen=True, slots=True)
class _Value:
    digest: str
    value: Any


_VALUES: Final = statements.Select(
    {"keys": (item_values.c.family, item_values.c.item_id, item_values.c.digest)},
    _values,
    msgspec.json.Decoder(list[_Value]).decode,
    lambda row: _Value(row[0], loads(row[1])),
)
_INSERT: Final = statements.Insert(items, _COLUMNS, conflict=_KEY, all_written=True, rare=True)
_UPDATE: Final = statements.Update(items, _KEY, tuple(name for name in _COLUMNS if name not in _KEY))
_LEASE: Final = statements.Update(items, _KEY, ("query_due_at", "query_leased_until"))
_PUT_VALUE: Final = statements.Insert(
    item_values, ("family", "item_id", "digest", "value"), conflict=("family", "item_id", "digest")
)


@dataclass(frozen=True, slots=True)
class Asked:
    """An item that was claimed for a question. ``attempts``: questions since it was last heard from."""

    family: str
    item_id: str
    attempts: int

    @property
    def key(self) -> ItemKey:
        return (self.family, self.item_id)


def owners(conn: sa.Connection, keys: Collection[ItemKey]) -> dict[ItemKey, UUID]:
    """Which task each item belongs to, read without a lock."""
    if not keys:
        return {}
    return {(one.family, one.item_id): one.task_id for one in sets.select(conn, _OWNERS, keys=list(keys))}


def of_tasks(conn: sa.Connection, task_ids: Collection[UUID]) -> list[Item]:
    """All items of some tasks, in the order in which they were named."""
    if not task_ids:
        return []
    return _in_order(sets.select(conn, _OF_TASKS, tasks=list(task_ids)))


def any_named(conn: sa.Connection, task_ids: Sequence[UUID]) -> bool:
    """Whether an item of any of these tasks is known, so that the vendor has it."""
    if not task_ids:
        return False
    statement = sa.select(items.c.task_id).where(dialect.any_of(conn, items.c.task_id, list(task_ids))).limit(1)
    return conn.scalar(statement) is not None


def changed(some: Iterable[Item]) -> list[statements.Change]:
    """Items under the locks of their tasks. Writing raises ``Conflicted`` if somebody else named a new one first."""
    ordered = sorted(some, key=lambda item: item.key)
    return [
        (_INSERT, [_values_of(item) for item in ordered if item.new]),
        (_UPDATE, [_values_of(item) for item in ordered if not item.new]),
    ]


def new_values(values: dict[tuple[str, str, str], Any]) -> statements.Change:
    """Large values by family, item and digest, each in a row of its own."""
    return _PUT_VALUE, [(*key, values[key]) for key in sorted(values)]


def values_of(conn: sa.Connection, some: Iterable[Item]) -> dict[str, Any]:
    """The large values of items as their states name them, by digest."""
    keys = {(*item.key, held[1]) for item in some for held in item.state.large.values()}
    if not keys:
        return {}
    return {one.digest: one.value for one in sets.select(conn, _VALUES, keys=sorted(keys))}


def drop_old_values(conn: sa.Connection, some: Iterable[Item], kept: Collection[str]) -> None:
    """Keep of items' large values those that their states name, and those of these digests. Under the locks of their
    tasks."""
    for item in some:
        table, named = item_values.c, {*kept, *(held[1] for held in item.state.large.values())}
        own = sa.and_(table.family == item.family, table.item_id == item.item_id)
        conn.execute(item_values.delete().where(own, table.digest.not_in(sorted(named))))


def find_owners(conn: sa.Connection, item_id: str) -> list[UUID]:
    """The tasks that hold an item of this id, of any family."""
    return list(conn.scalars(sa.select(items.c.task_id).where(items.c.item_id == item_id).order_by(items.c.family)))


def claim_due(
    conn: sa.Connection, now: datetime, soon: datetime, lease_until: datetime, limit: int, *, but: str | None = None
) -> list[Asked]:
    """Claim a full question: the item that is most overdue, and others of its family and group that are due by
    ``soon``; none of the group ``but``. Call it under the lock of the query limit, so that no two claims see the same
    rows."""
    due = items.c.query_due_at <= now
    if but is not None:
        due = sa.and_(due, items.c.query_group != but)
    most_overdue = sa.select(items.c.family, items.c.query_group).where(due).order_by(items.c.query_due_at).limit(1)
    first = conn.execute(dialect.locked(most_overdue, of=items, skip=True)).one_or_none()
    if first is None:
        return []
    asked = lock_due(conn, first.family, first.query_group, now, soon, limit)
    lease(conn, [one.key for one in asked], lease_until)
    return asked


def lock_due(
    conn: sa.Connection, family: str, query_group: str, now: datetime, soon: datetime, limit: int
) -> list[Asked]:
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
    return [Asked(row.family, row.item_id, row.query_attempts) for row in rows]


def unleased(now: datetime) -> sa.ColumnElement[bool]:
    """Nobody asks about the item now."""
    return sa.or_(items.c.query_leased_until.is_(None), items.c.query_leased_until <= now)


def lease(conn: sa.Connection, keys: Iterable[ItemKey], until: datetime) -> None:
    """Take items out of the due range until the lease ends."""
    sets.write(conn, [(_LEASE, [(family, item_id, until, until) for family, item_id in sorted(keys)])])


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
    for one in sorted(postponed, key=lambda each: each.key):
        family, item_id = one.key
        conn.execute(
            items.update()
            .where(
                items.c.family == family,
                items.c.item_id == item_id,
                items.c.query_leased_until == leased_until,
                items.c.query_due_at.is_not(None),
            )
            .values(
                query_due_at=one.due_at,
                query_leased_until=None,
                query_group=one.group,
                query_attempts=one.attempts,
            )
        )


def _in_order(found: list[Item]) -> list[Item]:
    return sorted(found, key=lambda item: (item.task_id, item.position, item.item_id))
