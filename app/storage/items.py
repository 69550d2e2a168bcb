"""Items: who owns them, what is known of them, and when to ask about them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from app.domain.item import ItemState
from app.domain.status import ItemStatus
from app.domain.task import Item
from app.storage import dialect
from app.storage.database import Conflicted
from app.storage.tables import item_values, items

ItemKey = tuple[str, str]

_KEY: Final = ("family", "item_id")
_COLUMNS: Final = (
    "family",
    "item_id",
    "task_id",
    "named_by",
    "position",
    "created_at",
    "follow_ups",
    "last_callback_at",
    "last_query_at",
    "query_due_at",
    "query_leased_until",
    "query_attempts",
    "query_group",
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


def owners(conn: sa.Connection, keys: Iterable[ItemKey]) -> dict[ItemKey, UUID]:
    """Which task each item belongs to, read without a lock."""
    wanted = sorted(set(keys))
    if not wanted:
        return {}
    statement = sa.select(items.c.family, items.c.item_id, items.c.task_id).where(
        dialect.keys_in(conn, (items.c.family, items.c.item_id), wanted)
    )
    return {(row.family, row.item_id): row.task_id for row in conn.execute(statement)}


def of_tasks(conn: sa.Connection, task_ids: Iterable[UUID]) -> list[Item]:
    """All items of some tasks, in the order in which they were named."""
    wanted = sorted(set(task_ids))
    return [_item(row) for row in conn.execute(_of_tasks(conn, wanted))] if wanted else []


def lock_of_tasks(conn: sa.Connection, task_ids: Iterable[UUID]) -> list[Item]:
    """As ``of_tasks``, and locked: a question may be claimed without the task's lock, and must not be lost."""
    wanted = sorted(set(task_ids))
    if not wanted:
        return []
    return [_item(row) for row in conn.execute(dialect.locked(_of_tasks(conn, wanted), of=items, skip=False))]


def _of_tasks(conn: sa.Connection, task_ids: list[UUID]) -> sa.Select[Any]:
    owned = dialect.any_of(conn, items.c.task_id, task_ids)
    return sa.select(items).where(owned).order_by(items.c.task_id, items.c.position, items.c.item_id)


def any_named(conn: sa.Connection, task_ids: Sequence[UUID]) -> bool:
    """Whether an item of any of these tasks is known, so that the vendor has it."""
    if not task_ids:
        return False
    statement = sa.select(items.c.task_id).where(dialect.any_of(conn, items.c.task_id, list(task_ids))).limit(1)
    return conn.scalar(statement) is not None


def save(conn: sa.Connection, changed: Sequence[Item]) -> None:
    """Write items under the locks of their tasks. Raises ``Conflicted`` if somebody else named a new one first."""
    ordered = sorted(changed, key=lambda item: item.key)
    new = [_row(item) for item in ordered if item.new]
    if new:
        added = dialect.insert_rows(conn, items, new, conflict=_KEY, returning=[items.c.item_id])
        if len(added) != len(new):
            raise Conflicted
    dialect.update_rows(conn, items, _KEY, [_row(item) for item in ordered if not item.new])


def save_values(conn: sa.Connection, values: dict[tuple[str, str, str], Any]) -> None:
    """Write large values of items, each in a row of its own."""
    rows = [
        {"family": family, "item_id": item_id, "field": field, "value": value}
        for (family, item_id, field), value in sorted(values.items(), key=lambda pair: pair[0])
    ]
    update = {"value": dialect.excluded(conn, item_values, "value")}
    dialect.insert_rows(conn, item_values, rows, conflict=("family", "item_id", "field"), update=update)


def values_of(conn: sa.Connection, keys: Iterable[ItemKey]) -> dict[ItemKey, dict[str, Any]]:
    """The large values of items, by field."""
    wanted = sorted(set(keys))
    found: dict[ItemKey, dict[str, Any]] = {key: {} for key in wanted}
    if wanted:
        key_columns = (item_values.c.family, item_values.c.item_id)
        statement = sa.select(item_values).where(dialect.keys_in(conn, key_columns, wanted))
        for row in conn.execute(statement):
            found[(row.family, row.item_id)][row.field] = row.value
    return found


def find_owners(conn: sa.Connection, item_id: str) -> list[UUID]:
    """The tasks that hold an item of this id, of any family."""
    return list(conn.scalars(sa.select(items.c.task_id).where(items.c.item_id == item_id).order_by(items.c.family)))


def claim_due(conn: sa.Connection, now: datetime, soon: datetime, lease_until: datetime, limit: int) -> list[Asked]:
    """Claim a full question: the item that is most overdue, and others of its family and group that are due by
    ``soon``. Call it under the lock of the query limit, so that no two claims see the same rows."""
    first = conn.execute(
        sa.select(items.c.family, items.c.query_group)
        .where(items.c.query_due_at <= now)
        .order_by(items.c.query_due_at)
        .limit(1)
    ).one_or_none()
    if first is None:
        return []
    statement = (
        sa.select(items.c.family, items.c.item_id, items.c.query_attempts)
        .where(
            items.c.family == first.family,
            items.c.query_group == first.query_group,
            items.c.query_due_at <= soon,
        )
        .order_by(items.c.query_due_at)
        .limit(limit)
    )
    rows = conn.execute(dialect.locked(statement, of=items, skip=True)).all()
    lease(conn, [(row.family, row.item_id) for row in rows], lease_until)
    return [Asked(row.family, row.item_id, row.query_attempts) for row in rows]


def lease(conn: sa.Connection, keys: Iterable[ItemKey], until: datetime) -> None:
    """Take items out of the due range until the lease ends."""
    rows = [
        {"family": family, "item_id": item_id, "query_due_at": until, "query_leased_until": until}
        for family, item_id in sorted(keys)
    ]
    dialect.update_rows(conn, items, _KEY, rows)


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


def _row(item: Item) -> dict[str, Any]:
    row = {name: getattr(item, name) for name in _COLUMNS}
    row["status"] = item.status.value
    row["state"] = _dump(item.state)
    return row


def _item(row: Any) -> Item:
    values = {name: getattr(row, name) for name in _COLUMNS}
    return Item(**values, status=ItemStatus(row.status), state=_load(row.state))


def _dump(state: ItemState) -> dict[str, Any]:
    return {
        "statuses": state.statuses,
        "urls": state.urls,
        "values": state.values,
        "large": state.large,
        "events": state.events,
        "sighted_us": state.sighted_us,
        "unknown_us": state.unknown_us,
    }


def _load(document: dict[str, Any]) -> ItemState:
    return ItemState(**document)
