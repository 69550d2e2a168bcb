"""Count open, overdue and dead work for `/backlog`, the gauges and the console, each over a partial index."""

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

import sqlalchemy as sa

from app.database.tables import DEAD, items, notifications, tasks
from app.rules.status import TASK_FINAL, TaskStatus
from app.rules.times import later

MOST_OPEN: Final = 1_000_000
MOST: Final = 10_000
"""Counted no further: somebody acts long before."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How late work may be before ``/backlog`` calls it stuck. In seconds."""

    query_overdue_s: float = 120.0
    notification_overdue_s: float = 120.0
    queued_age_s: float = 900.0
    loop_stalled_s: float = 30.0


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


# The statements are made once: to put one together takes longer than to carry it out.


def _bounded_count(wanted: sa.Select[Any]) -> sa.Select[int]:
    return sa.select(sa.func.count()).select_from(wanted.limit(MOST).subquery())


def _count_of(condition: sa.ColumnElement[Any]) -> sa.ScalarSelect[int]:
    return _bounded_count(sa.select(sa.literal(1)).where(condition)).scalar_subquery()


_OVERDUE: Final = sa.select(
    _count_of(items.c.query_due_at < sa.bindparam("due_query")),
    _count_of(tasks.c.dispatch_due_at < sa.bindparam("due_submission")),
    _count_of(tasks.c.timer_due_at < sa.bindparam("due_timer")),
    _count_of(notifications.c.due_at < sa.bindparam("due_notification")),
)


def overdue(conn: sa.Connection, now: datetime, allowed: Thresholds) -> Overdue:
    """Count work that is late by more than the thresholds."""
    latest = {
        "due_query": later(now, -allowed.query_overdue_s),
        "due_submission": later(now, -allowed.queued_age_s),
        "due_timer": later(now, -allowed.query_overdue_s),
        "due_notification": later(now, -allowed.notification_overdue_s),
    }
    return Overdue(*conn.execute(_OVERDUE, latest).one())


_OLDEST: Final = sa.select(
    *(
        sa.select(tasks.c.created_at)
        .where(tasks.c.status == status.value)
        .order_by(tasks.c.id)
        .limit(1)
        .scalar_subquery()
        .label(status.value)
        for status in TaskStatus
        if status not in TASK_FINAL
    )
)


def oldest(conn: sa.Connection) -> dict[str, datetime]:
    """When the oldest task of each open status was accepted: one probe each of the index by status, in which ids
    are in the order of time."""
    found = conn.execute(_OLDEST).one()._mapping
    return {status: created_at for status, created_at in found.items() if created_at is not None}


_PENDING: Final = notifications.c.due_at.is_not(None)
_OUTBOX: Final = sa.select(
    _count_of(_PENDING),
    sa.select(notifications.c.due_at).where(_PENDING).order_by(notifications.c.due_at).limit(1).scalar_subquery(),
)


def outbox(conn: sa.Connection) -> Outbox:
    """Count pending notifications, and find when the first is due."""
    return Outbox(*conn.execute(_OUTBOX).one())


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
    pending = sa.select(sa.literal(1)).where(_PENDING, notifications.c.client_name == client_name)
    return conn.scalar(_bounded_count(pending)) or 0


def dead(conn: sa.Connection, client_name: str | None) -> int:
    """Count dead notifications, of one client or of all."""
    wanted = sa.select(notifications.c.id).where(DEAD)
    if client_name is not None:
        wanted = wanted.where(notifications.c.client_name == client_name)
    return conn.scalar(_bounded_count(wanted)) or 0


@cache
def _open_tasks(of_client: bool) -> list[sa.Select[str, int]]:
    statements = []
    for due in (tasks.c.slot_until, tasks.c.dispatch_due_at):
        wanted = sa.select(tasks.c.status).where(due.is_not(None))
        if of_client:
            wanted = wanted.where(tasks.c.client_name == sa.bindparam("client"))
        bounded = wanted.limit(MOST_OPEN).subquery()
        statements.append(sa.select(bounded.c.status, sa.func.count().label("n")).group_by(bounded.c.status))
    return statements


def open_tasks(conn: sa.Connection, client_name: str | None = None) -> dict[str, int]:
    """Count tasks of each status that is not final, of one client or of all: those in flight and those that are queued.
    Each is counted up to ``MOST_OPEN``; without the limit SQLite would group by scanning an index of all tasks."""
    counts = {status.value: 0 for status in TaskStatus if status not in TASK_FINAL}
    given = {} if client_name is None else {"client": client_name}
    for statement in _open_tasks(client_name is not None):
        for row in conn.execute(statement, given):
            counts[row.status] = counts.get(row.status, 0) + row.n
    return counts
