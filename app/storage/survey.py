"""Numbers for those who run the gateway, each over a partial index of open work."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from app.domain.status import TASK_FINAL, TaskStatus
from app.storage.tables import items, notifications, tasks

MOST_OPEN: Final = 1_000_000
MOST: Final = 10_000
"""Counted no further: whoever reads the number acts long before."""


@dataclass(frozen=True, slots=True)
class Overdue:
    """Work that was due before a time and was not picked up; each is counted up to ``MOST``."""

    queries: int
    submissions: int
    timers: int
    notifications: int


def overdue(conn: sa.Connection, before: datetime) -> Overdue:
    """What should have been picked up by ``before``."""
    return Overdue(
        _count(conn, items.c.query_due_at < before),
        _count(conn, tasks.c.dispatch_due_at < before),
        _count(conn, tasks.c.timer_due_at < before),
        _count(conn, notifications.c.due_at < before),
    )


def open_tasks(conn: sa.Connection) -> dict[str, int]:
    """How many tasks are in each status that is not final: those that count as in flight and those that are queued.
    Each is counted up to ``MOST_OPEN``; without the limit SQLite would group by scanning an index of all tasks."""
    counts = {status.value: 0 for status in TaskStatus if status not in TASK_FINAL}
    for due in (tasks.c.slot_until, tasks.c.dispatch_due_at):
        found = sa.select(tasks.c.status).where(due.is_not(None)).limit(MOST_OPEN).subquery()
        statement = sa.select(found.c.status, sa.func.count().label("n")).group_by(found.c.status)
        for row in conn.execute(statement):
            counts[row.status] = counts.get(row.status, 0) + row.n
    return counts


def _count(conn: sa.Connection, condition: sa.ColumnElement[Any]) -> int:
    some = sa.select(sa.literal(1)).where(condition).limit(MOST).subquery()
    return conn.scalar(sa.select(sa.func.count()).select_from(some)) or 0
