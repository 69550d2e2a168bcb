"""The timeline of a task: one row for each thing that happened, its effects inside. Rows never change."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from app.database.tables import timeline
from app.rules.task import Entry, Task
from app.tasks.writes import Row

MOST_ENTRIES: Final = 1000
"""Entries kept of a task: the first half, and the newest. Only a flood under a leaked token reaches it."""
_FIRST: Final = MOST_ENTRIES // 2


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """One stored entry of a timeline. ``version`` is the task's after it."""

    seq: int
    at: datetime
    type: str
    version: int
    detail: dict[str, Any]


def row_of(task: Task, entry: Entry) -> Row:
    """The row of a new entry, as ``writes`` has it: the last one of its task, whose ``timeline_seq`` is its number."""
    return task.id, task.timeline_seq, entry.at, entry.type, task.version, entry.detail


def thin_out(conn: sa.Connection, of_tasks: Iterable[Task]) -> None:
    """Delete what lies between the first and the newest entries of tasks that have had more than are kept."""
    for task in of_tasks:
        if task.timeline_seq > MOST_ENTRIES:
            between = timeline.c.seq.between(_FIRST + 1, task.timeline_seq - (MOST_ENTRIES - _FIRST))
            conn.execute(timeline.delete().where(timeline.c.task_id == task.id, between))


def of_task(conn: sa.Connection, task_id: UUID, after_seq: int = 0, *, limit: int) -> list[StoredEntry]:
    """Read the entries of a task, oldest first, at most ``limit``."""
    statement = (
        sa.select(timeline)
        .where(timeline.c.task_id == task_id, timeline.c.seq > after_seq)
        .order_by(timeline.c.seq)
        .limit(limit)
    )
    return [StoredEntry(row.seq, row.at, row.type, row.version, row.detail) for row in conn.execute(statement)]


_NEWEST_AT: Final = sa.select(sa.func.max(timeline.c.at))


def newest_at(conn: sa.Connection) -> datetime | None:
    """Read when the last entry of any task was made."""
    at: datetime | None = conn.scalar(_NEWEST_AT)
    return at
