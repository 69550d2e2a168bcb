"""Queries for changed tasks, of tables and timeline. Every function runs in its caller's transaction.

The timeline is insert-only and has an index by time, but a row becomes visible at its commit, and so not in the
order of ``at``: a reader that continues from a time must go back by as much as a commit may be late.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import sqlalchemy as sa

from app.database import dialect
from app.database.tables import tasks, timeline
from app.rules.status import TASK_FINAL, TaskStatus

PAGE_ROWS: Final = 2000
"""Rows of the timeline that one page of ``changed_after`` reads."""


@dataclass(frozen=True, slots=True)
class Head:
    """A task's status and version. ``ended``: it is final, and nothing of it is due any more; only something unasked
    for (a late callback) may still change it."""

    task_id: UUID
    client_name: str
    family: str
    status: TaskStatus
    version: int
    ended: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Tasks that changed, each once, by the time of their last change. ``until``: the time up to which (inclusive)
    this page is complete; None if there was no more."""

    task_ids: list[UUID]
    until: datetime | None


def heads(conn: sa.Connection, task_ids: Collection[UUID]) -> list[Head]:
    """Read the status and version of tasks, in no order, in one statement; missing ones are left out."""
    if not task_ids:
        return []
    statement = sa.select(
        tasks.c.id, tasks.c.client_name, tasks.c.family, tasks.c.status, tasks.c.version, tasks.c.timer_due_at
    ).where(dialect.any_of(conn, tasks.c.id, list(task_ids)))
    return [
        Head(row.id, row.client_name, row.family, status, row.version, is_over(status, row.timer_due_at))
        for row in conn.execute(statement)
        for status in (TaskStatus(row.status),)
    ]


def is_over(status: TaskStatus, timer_due_at: datetime | None) -> bool:
    """Whether a task is final and settled: a final one of which something is still asked for has a timer."""
    return status in TASK_FINAL and timer_due_at is None


def changed_between(conn: sa.Connection, lately: datetime, since: datetime, until: datetime) -> dict[UUID, int]:
    """Tasks with timeline rows from ``lately`` on, or from ``since`` to (exclusive) ``until``, and the highest
    version that these rows tell of."""
    at = timeline.c.at
    statement = (
        sa.select(timeline.c.task_id, sa.func.max(timeline.c.version).label("version"))
        .where(sa.or_(at >= lately, sa.and_(at >= since, at < until)))
        .group_by(timeline.c.task_id)
    )
    return {row.task_id: row.version for row in conn.execute(statement)}


def changed_after(conn: sa.Connection, after: datetime, client_name: str | None) -> Page:
    """A page of the tasks of a client (None: of all) whose last change is later than ``after``.

    Its work is bounded however long ago that is and however few of the changes are this client's: the page ends
    after ``PAGE_ROWS`` rows of anybody's. Two statements.
    """
    at = timeline.c.at
    until = conn.scalar(sa.select(at).where(at > after).order_by(at).offset(PAGE_ROWS - 1).limit(1))
    last_row = sa.and_(tasks.c.id == timeline.c.task_id, tasks.c.timeline_seq == timeline.c.seq)
    statement = sa.select(tasks.c.id).select_from(timeline.join(tasks, last_row)).where(at > after).order_by(at)
    if until is not None:
        statement = statement.where(at <= until)
    if client_name is not None:
        statement = statement.where(tasks.c.client_name == client_name)
    return Page(list(conn.scalars(statement)), until)
