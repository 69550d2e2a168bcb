"""The outbox table: due notifications claimed under a lease, attempts recorded, rows kept as the outbound log."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from app.clients.client_rows import webhook_secrets
from app.database import dialect
from app.database.tables import DEAD, clients, notifications
from app.rules.times import rfc3339
from app.tasks.notification_rows import NotificationStatus

MOST_ATTEMPTS: Final = 20
"""The latest attempts that are kept of a notification. A schedule has eight; each time that it is sent again begins
another."""
MOST_RECEIVERS: Final = 2000
"""Receivers that one claim looks at; the next claim begins behind them."""


@dataclass(frozen=True, slots=True)
class ClaimedNotification:
    """A due notification under a lease. ``leased_until`` is the fencing token of this claim; ``attempts`` were made
    before. ``secrets`` are those of its client that sign now, none if the client was revoked. ``snapshot``: as in
    ``notification_rows.Snapshot``, decoded JSON. ``body``: as it was posted before, if it was."""

    id: UUID
    task_id: UUID
    client_name: str
    type: str
    url: str
    receiver: str
    snapshot: Any
    body: bytes | None
    created_at: datetime
    attempts: int
    attempt_log: list[dict[str, Any]]
    leased_until: datetime
    secrets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Attempt:
    """The outcome of one attempt. ``due_at``: of the next one; None where it was the last."""

    status: NotificationStatus
    at: datetime
    due_at: datetime | None
    http_status: int | None
    error: str | None
    answer: str | None = None

    def logged(self) -> dict[str, Any]:
        """The attempt as it is kept and shown."""
        return {"at": rfc3339(self.at), "status": self.http_status, "error": self.error, "answer": self.answer}


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationFilters:
    """Which notifications a list shows; None: all. ``before_id``: only ids below this, where the page before ended."""

    client_name: str | None = None
    task_id: UUID | None = None
    status: str | None = None
    before_id: UUID | None = None


def _receivers() -> sa.Select[Any]:
    """A loose index scan: two probes of the index for each receiver that has anything pending, however much that is."""
    table = notifications.c
    pending = table.due_at.is_not(None)
    from_cursor = sa.and_(pending, table.receiver >= sa.bindparam("cursor"))
    first = sa.select(sa.func.min(table.receiver).label("receiver")).where(from_cursor)
    names = first.cte("receivers", recursive=True)
    after = sa.select(sa.func.min(table.receiver)).where(pending, table.receiver > names.c.receiver)
    names = names.union_all(sa.select(after.scalar_subquery()).where(names.c.receiver.is_not(None)))
    earliest = sa.select(sa.func.min(table.due_at)).where(pending, table.receiver == names.c.receiver).scalar_subquery()
    each = sa.select(names.c.receiver, earliest.label("due_at")).where(names.c.receiver.is_not(None))
    return each.limit(MOST_RECEIVERS)


_RECEIVERS: Final = _receivers()


def due_receivers(conn: sa.Connection, now: datetime, cursor: str = "") -> tuple[list[str], str]:
    """Receivers with due notifications, the most overdue first. Looks at ``MOST_RECEIVERS`` by name from ``cursor`` on;
    also returns the next cursor, "" after the last receiver."""
    rows = conn.execute(_RECEIVERS, {"cursor": cursor}).all()
    next_cursor = rows[-1].receiver if len(rows) == MOST_RECEIVERS else ""
    return [row.receiver for row in sorted(rows, key=lambda row: row.due_at) if row.due_at <= now], next_cursor


_DUE: Final = (
    sa.select(notifications)
    .where(notifications.c.receiver == sa.bindparam("of_receiver"), notifications.c.due_at <= sa.bindparam("now"))
    .order_by(notifications.c.due_at, notifications.c.id)
    .limit(sa.bindparam("most"))
)
_LOCKED_DUE: Final = dialect.locked(_DUE, of=notifications, skip=True)


def claim(
    conn: sa.Connection, receiver: str, now: datetime, lease_until: datetime, limit: int, *, rotated_after: datetime
) -> list[ClaimedNotification]:
    """Claim due notifications of one receiver, the oldest first; a claimed one is not due until its lease ends.
    ``rotated_after``: see ``webhook_secrets``."""
    rows = conn.execute(_LOCKED_DUE, {"of_receiver": receiver, "now": now, "most": limit}).all()
    secrets = webhook_secrets(conn, {row.client_name for row in rows}, rotated_after=rotated_after)
    leased = dialect.any_of(conn, notifications.c.id, [row.id for row in rows])
    conn.execute(notifications.update().where(leased).values(due_at=lease_until))
    return [
        ClaimedNotification(
            row.id,
            row.task_id,
            row.client_name,
            row.type,
            row.url,
            row.receiver,
            row.snapshot,
            row.body,
            row.created_at,
            row.attempts,
            row.attempt_log or [],
            lease_until,
            secrets.get(row.client_name, ()),
        )
        for row in rows
    ]


def settle(conn: sa.Connection, notification: ClaimedNotification, attempt: Attempt, body: bytes | None) -> bool:
    """Record an attempt; false if the lease has been lost, or the notification has ended since. A ``body`` that may be
    posted again is kept: what renders it may have changed by then."""
    values: dict[str, Any] = {
        "status": attempt.status.value,
        "attempts": notifications.c.attempts + 1,
        "due_at": attempt.due_at,
        "last_attempt_at": attempt.at,
        "last_status": attempt.http_status,
        "last_error": attempt.error,
        "ended_at": attempt.at if attempt.due_at is None else None,
        "attempt_log": [*notification.attempt_log, attempt.logged()][-MOST_ATTEMPTS:],
    }
    if attempt.status is not NotificationStatus.DELIVERED and notification.body is None:
        values["body"] = body
    return conn.execute(notifications.update().where(_is_leased(notification)).values(**values)).rowcount == 1


def give_back(conn: sa.Connection, notification: ClaimedNotification, now: datetime) -> None:
    """Release a lease unused: the notification is due at once."""
    conn.execute(notifications.update().where(_is_leased(notification)).values(due_at=now))


def end_of_client(conn: sa.Connection, receivers: Collection[str], now: datetime, limit: int) -> int:
    """Make pending notifications of a client's receivers dead, at most ``limit``; locked rows are skipped. Returns how
    many."""
    table = notifications.c
    pending = sa.and_(dialect.any_of(conn, table.receiver, sorted(receivers)), table.due_at.is_not(None))
    unlocked = dialect.locked(sa.select(table.id).where(pending).limit(limit), of=notifications, skip=True)
    dead = {"status": NotificationStatus.DEAD.value, "due_at": None, "ended_at": now, "last_error": "client_revoked"}
    matches = dialect.any_of(conn, table.id, list(conn.scalars(unlocked)))
    return conn.execute(notifications.update().where(matches).values(**dead)).rowcount


def redeliver(conn: sa.Connection, notification_id: UUID, client_name: str | None, now: datetime) -> bool:
    """Make a notification due now, in whatever status, and restart its schedule. False if there is none such."""
    matches = notifications.c.id == notification_id
    if client_name is not None:
        matches = sa.and_(matches, notifications.c.client_name == client_name)
    return conn.execute(notifications.update().where(matches).values(**_restarted(now))).rowcount == 1


def _dead(client_name: str | None, since: datetime) -> sa.ColumnElement[bool]:
    """The dead notifications written since a time that can be sent again: of one client, or of all (None), but of none
    that was revoked, since that one is notified of nothing."""
    table = notifications.c
    is_active = sa.exists().where(clients.c.name == table.client_name, clients.c.revoked_at.is_(None))
    dead = sa.and_(DEAD, table.created_at >= since, is_active)
    return dead if client_name is None else sa.and_(table.client_name == client_name, dead)


def count_dead(conn: sa.Connection, client_name: str | None, since: datetime) -> dict[str, int]:
    """Count the dead notifications that ``dead_after`` reads, by client."""
    counted = sa.select(notifications.c.client_name, sa.func.count().label("n")).where(_dead(client_name, since))
    rows = conn.execute(counted.group_by(notifications.c.client_name))
    return {row.client_name: row.n for row in sorted(rows)}


def dead_after(
    conn: sa.Connection, client_name: str, since: datetime, until: datetime, after_id: UUID | None, limit: int
) -> list[UUID]:
    """The next ``limit`` of a client's dead notifications written from ``since`` to ``until``, by id (keyset page);
    none of one that was revoked."""
    table = notifications.c
    dead = sa.and_(_dead(client_name, since), table.created_at <= until)
    if after_id is not None:
        dead = sa.and_(dead, table.id > after_id)
    return list(conn.scalars(sa.select(table.id).where(dead).order_by(table.id).limit(limit)))


def redeliver_dead(conn: sa.Connection, notification_ids: Collection[UUID], now: datetime) -> int:
    """Make those due now that are still dead. Returns how many."""
    table = notifications.c
    chosen = dialect.any_of(conn, table.id, sorted(notification_ids))
    dead = sa.and_(chosen, table.status == NotificationStatus.DEAD.value)
    return conn.execute(notifications.update().where(dead).values(**_restarted(now))).rowcount


def find(conn: sa.Connection, notification_id: UUID, client_name: str | None) -> Any | None:
    """Read a row, if it is this client's (None: anybody's)."""
    statement = sa.select(notifications).where(notifications.c.id == notification_id)
    if client_name is not None:
        statement = statement.where(notifications.c.client_name == client_name)
    return conn.execute(statement).one_or_none()


def list_page(conn: sa.Connection, filters: NotificationFilters, limit: int, *, attempts: bool = False) -> list[Any]:
    """Read the newest rows that match, without their snapshots, at most ``limit`` (keyset page). ``attempts``: with
    what was answered."""
    table = notifications.c
    shown = (*_SHOWN, table.attempt_log) if attempts else _SHOWN
    statement = sa.select(*shown).order_by(table.id.desc()).limit(limit)
    equal = {"client_name": filters.client_name, "task_id": filters.task_id, "status": filters.status}
    for name, value in equal.items():
        if value is not None:
            statement = statement.where(table[name] == value)
    if filters.status in _BY_INDEX:
        statement = statement.where(_BY_INDEX[filters.status])
    if filters.before_id is not None:
        statement = statement.where(table.id < filters.before_id)
    return list(conn.execute(statement))


_SHOWN: Final = tuple(
    column for column in notifications.c if column.key not in ("snapshot", "body", "receiver", "attempt_log")
)


_BY_INDEX: Final[dict[str | None, sa.ColumnElement[bool] | sa.TextClause]] = {
    NotificationStatus.DEAD.value: DEAD,
    NotificationStatus.PENDING.value: notifications.c.due_at.is_not(None),
}
"""What is true of a status, and has a partial index."""


def _is_leased(notification: ClaimedNotification) -> sa.ColumnElement[bool]:
    """Whether the lease of this claim is still in force."""
    return sa.and_(notifications.c.id == notification.id, notifications.c.due_at == notification.leased_until)


def _restarted(now: datetime) -> dict[str, Any]:
    return {"status": NotificationStatus.PENDING.value, "attempts": 0, "due_at": now, "ended_at": None}
