"""Count open, overdue and dead work for `/backlog`, the gauges and the console, each over a partial index."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from app.database.tables import DEAD, items, notifications, tasks
from app.rules.policy import Thresholds
from app.rules.status import TASK_FINAL, TaskStatus
from app.rules.times import later

MOST_OPEN: Final = 1_000_000
MOST: Final = 10_000
"""Counted no further: somebody acts long before."""


@dataclass(frozen=True, slots=True)
class Overdue:
    """Work that is late by more than is allowed; each is counted up to ``MOST``."""

    queries: int
    submissions: int
    timers: int
    notifications: int


@dataclass(frozen=True, slots=True)
class Outbox:
    """Notifications still to be delivered, counted up to ``MOST``, and when the first of them is or was due."""

    pending: int
    first_due_at: datetime | None


def overdue(conn: sa.Connection, now: datetime, allowed: Thresholds) -> Overdue:
    """Count work that is late by more than the thresholds."""

    def before(seconds: float) -> datetime:
        return later(now, -seconds)

    return Overdue(
        _count(conn, items.c.query_due_at < before(allowed.query_overdue_s)),
        _count(conn, tasks.c.dispatch_due_at < before(allowed.queued_age_s)),
        _count(conn, tasks.c.timer_due_at < before(allowed.query_overdue_s)),
        _count(conn, notifications.c.due_at < before(allowed.notification_overdue_s)),
    )


def oldest(conn: sa.Connection) -> dict[str, datetime]:
    """When the oldest task of each open status was accepted: one probe each of the index by status, in which ids
    are in the order of time."""
    oldest_at = {}
    for status in TaskStatus:
        if status not in TASK_FINAL:
            first = sa.select(tasks.c.created_at).where(tasks.c.status == status.value).order_by(tasks.c.id).limit(1)
            created_at = conn.scalar(first)
            if created_at is not None:
                oldest_at[status.value] = created_at
    return oldest_at


def outbox(conn: sa.Connection) -> Outbox:
    """Count pending notifications, and find when the first is due."""
    due_at = notifications.c.due_at
    first = sa.select(due_at).where(due_at.is_not(None)).order_by(due_at).limit(1)
    return Outbox(_count(conn, due_at.is_not(None)), conn.scalar(first))


@dataclass(frozen=True, slots=True)
class State:
    """What is open, in one reading: tasks by status, notifications to be delivered, and dead ones."""

    open_tasks: dict[str, int]
    outbox: Outbox
    dead: int


def state(conn: sa.Connection, client_name: str | None) -> State:
    """Count what is open, of one client or of all. When a client's first notification is due is not looked for."""
    pending = outbox(conn) if client_name is None else Outbox(own_outbox(conn, client_name), None)
    return State(open_tasks(conn, client_name), pending, dead(conn, client_name))


def own_outbox(conn: sa.Connection, client_name: str) -> int:
    """Count a client's notifications that are still to be delivered."""
    return _count(conn, sa.and_(notifications.c.due_at.is_not(None), notifications.c.client_name == client_name))


def dead(conn: sa.Connection, client_name: str | None) -> int:
    """Count dead notifications, of one client or of all."""
    wanted = sa.select(notifications.c.id).where(DEAD)
    if client_name is not None:
        wanted = wanted.where(notifications.c.client_name == client_name)
    return _count_rows(conn, wanted)


def open_tasks(conn: sa.Connection, client_name: str | None = None) -> dict[str, int]:
    """Count tasks of each status that is not final, of one client or of all: those in flight and those that are queued.
    Each is counted up to ``MOST_OPEN``; without the limit SQLite would group by scanning an index of all tasks."""
    counts = {status.value: 0 for status in TaskStatus if status not in TASK_FINAL}
    for due in (tasks.c.slot_until, tasks.c.dispatch_due_at):
        wanted: sa.ColumnElement[bool] = due.is_not(None)
        if client_name is not None:
            wanted = sa.and_(wanted, tasks.c.client_name == client_name)
        bounded = sa.select(tasks.c.status).where(wanted).limit(MOST_OPEN).subquery()
        statement = sa.select(bounded.c.status, sa.func.count().label("n")).group_by(bounded.c.status)
        for row in conn.execute(statement):
            counts[row.status] = counts.get(row.status, 0) + row.n
    return counts


def _count(conn: sa.Connection, condition: sa.ColumnElement[Any]) -> int:
    return _count_rows(conn, sa.select(sa.literal(1)).where(condition))


def _count_rows(conn: sa.Connection, wanted: sa.Select[Any]) -> int:
    bounded = wanted.limit(MOST).subquery()
    return conn.scalar(sa.select(sa.func.count()).select_from(bounded)) or 0
