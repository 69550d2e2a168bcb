"""The outbox: notifications, written with the change that they tell of, claimed by due time, kept as a log."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from app.clients.client_rows import webhook_secrets
from app.database import dialect
from app.database.tables import notifications
from app.tasks.notices import NotificationStatus

MOST_RECEIVERS: Final = 2000
"""Receivers looked at in one claim; the next one goes on after them."""


@dataclass(frozen=True, slots=True)
class ClaimedNotification:
    """A notification that is due. ``leased_until`` is the fence of this claim; ``attempts`` were made before.
    ``secrets`` are those of its client that sign now, none if the client was revoked. ``snapshot``: as in
    ``notices.New``, decoded JSON. ``body``: as it was posted before, if it was."""

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
    leased_until: datetime
    secrets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one attempt. ``due_at`` is None where it was the last."""

    status: NotificationStatus
    at: datetime
    due_at: datetime | None
    http_status: int | None
    error: str | None


def due_receivers(conn: sa.Connection, now: datetime, first: str = "") -> tuple[list[str], str]:
    """Receivers with something due, the most overdue first: two probes of the index for each that has anything
    pending, however much that is. Looks at ``MOST_RECEIVERS`` by name from ``first`` on; also returns where to go on,
    "" after the last one."""
    table = notifications.c
    pending = table.due_at.is_not(None)

    def next_after(name: Any) -> Any:
        return sa.select(sa.func.min(table.receiver)).where(pending, table.receiver > name).scalar_subquery()

    beginning = sa.select(sa.func.min(table.receiver).label("receiver")).where(pending, table.receiver >= first)
    hops = beginning.cte("hops", recursive=True)
    hops = hops.union_all(sa.select(next_after(hops.c.receiver)).where(hops.c.receiver.is_not(None)))
    earliest = sa.select(sa.func.min(table.due_at)).where(pending, table.receiver == hops.c.receiver).scalar_subquery()
    each = sa.select(hops.c.receiver, earliest.label("due_at")).where(hops.c.receiver.is_not(None))
    rows = conn.execute(each.limit(MOST_RECEIVERS)).all()
    go_on = rows[-1].receiver if len(rows) == MOST_RECEIVERS else ""
    return [row.receiver for row in sorted(rows, key=lambda row: row.due_at) if row.due_at <= now], go_on


def claim(
    conn: sa.Connection, receiver: str, now: datetime, lease_until: datetime, limit: int, *, rotated_after: datetime
) -> list[ClaimedNotification]:
    """Claim what is due for one receiver, the oldest first. Each is taken out of the due range until the lease ends.
    ``rotated_after``: see ``webhook_secrets``."""
    table = notifications.c
    due = (
        sa.select(notifications)
        .where(table.receiver == receiver, table.due_at <= now)
        .order_by(table.due_at, table.id)
        .limit(limit)
    )
    rows = conn.execute(dialect.locked(due, of=notifications, skip=True)).all()
    secrets = webhook_secrets(conn, {row.client_name for row in rows}, rotated_after=rotated_after)
    leased = dialect.any_of(conn, table.id, [row.id for row in rows])
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
            lease_until,
            secrets.get(row.client_name, ()),
        )
        for row in rows
    ]


def settle(conn: sa.Connection, notification: ClaimedNotification, attempt: Attempt, body: bytes | None) -> bool:
    """Note what came of an attempt; false if its lease had passed to somebody else, or it has ended since. The
    ``body`` that may be posted again is kept: what renders it may have changed by then."""
    values: dict[str, Any] = {
        "status": attempt.status.value,
        "attempts": notifications.c.attempts + 1,
        "due_at": attempt.due_at,
        "last_attempt_at": attempt.at,
        "last_status": attempt.http_status,
        "last_error": attempt.error,
        "ended_at": attempt.at if attempt.due_at is None else None,
    }
    if attempt.status is not NotificationStatus.DELIVERED and notification.body is None:
        values["body"] = body
    return conn.execute(notifications.update().where(_held(notification)).values(**values)).rowcount == 1


def give_back(conn: sa.Connection, notification: ClaimedNotification, now: datetime) -> None:
    """End a lease unused: what was claimed and not sent is due at once."""
    conn.execute(notifications.update().where(_held(notification)).values(due_at=now))


def end_of_client(conn: sa.Connection, receivers: Collection[str], now: datetime, limit: int) -> int:
    """What is pending for a client's receivers becomes dead, at most ``limit`` of it; what somebody else holds is
    passed over. Returns how many."""
    table = notifications.c
    pending = sa.and_(dialect.any_of(conn, table.receiver, sorted(receivers)), table.due_at.is_not(None))
    some = dialect.locked(sa.select(table.id).where(pending).limit(limit), of=notifications, skip=True)
    dead = {"status": NotificationStatus.DEAD.value, "due_at": None, "ended_at": now, "last_error": "client_revoked"}
    chosen = dialect.any_of(conn, table.id, list(conn.scalars(some)))
    return conn.execute(notifications.update().where(chosen).values(**dead)).rowcount


def redeliver(conn: sa.Connection, notification_id: UUID, client_name: str | None, now: datetime) -> bool:
    """Make one due now, whatever became of it, with the whole schedule before it. False if there is none such."""
    chosen = notifications.c.id == notification_id
    if client_name is not None:
        chosen = sa.and_(chosen, notifications.c.client_name == client_name)
    return conn.execute(notifications.update().where(chosen).values(**_anew(now))).rowcount == 1


def _dead(client_name: str, since: datetime) -> sa.ColumnElement[bool]:
    table = notifications.c
    return sa.and_(
        table.client_name == client_name, table.status == NotificationStatus.DEAD.value, table.created_at >= since
    )


def count_dead(conn: sa.Connection, client_name: str, since: datetime) -> int:
    """How many of a client are dead that were written since a time."""
    return conn.scalar(sa.select(sa.func.count()).select_from(notifications).where(_dead(client_name, since))) or 0


def dead_after(
    conn: sa.Connection, client_name: str, since: datetime, until: datetime, after_id: UUID | None, limit: int
) -> list[UUID]:
    """Of a client's dead ones that were written from ``since`` to ``until`` the next ``limit``, by id."""
    table = notifications.c
    dead = sa.and_(_dead(client_name, since), table.created_at <= until)
    if after_id is not None:
        dead = sa.and_(dead, table.id > after_id)
    return list(conn.scalars(sa.select(table.id).where(dead).order_by(table.id).limit(limit)))


def redeliver_dead(conn: sa.Connection, some: Collection[UUID], now: datetime) -> int:
    """Make those due that are dead. Returns how many."""
    table = notifications.c
    dead = sa.and_(dialect.any_of(conn, table.id, sorted(some)), table.status == NotificationStatus.DEAD.value)
    return conn.execute(notifications.update().where(dead).values(**_anew(now))).rowcount


def find(conn: sa.Connection, notification_id: UUID, client_name: str | None) -> Any | None:
    """One row without its snapshot, if it is this client's (None: anybody's)."""
    statement = sa.select(*_SHOWN).where(notifications.c.id == notification_id)
    if client_name is not None:
        statement = statement.where(notifications.c.client_name == client_name)
    return conn.execute(statement).one_or_none()


def list_page(
    conn: sa.Connection,
    *,
    client_name: str | None,
    task_id: UUID | None,
    status: str | None,
    before_id: UUID | None,
    limit: int,
) -> list[Any]:
    """The newest rows that match, without their snapshots, at most ``limit``."""
    table = notifications.c
    statement = sa.select(*_SHOWN).order_by(table.id.desc()).limit(limit)
    for column, value in ((table.client_name, client_name), (table.task_id, task_id), (table.status, status)):
        if value is not None:
            statement = statement.where(column == value)
    if before_id is not None:
        statement = statement.where(table.id < before_id)
    return list(conn.execute(statement))


_SHOWN: Final = tuple(column for column in notifications.c if column.key not in ("snapshot", "body", "receiver"))


def _held(notification: ClaimedNotification) -> sa.ColumnElement[bool]:
    """The lease of this claim is still in force."""
    return sa.and_(notifications.c.id == notification.id, notifications.c.due_at == notification.leased_until)


def _anew(now: datetime) -> dict[str, Any]:
    return {"status": NotificationStatus.PENDING.value, "attempts": 0, "due_at": now, "ended_at": None}
