"""Trace what happened to tasks, as spans of their traces, after the commit. Nothing while nobody traces."""

import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from app.database.database import Database
from app.rules.observation import to_us
from app.rules.task import Entry, Task
from app.runtime import traces
from app.runtime.traces import Span
from app.tasks import task_rows

CALLBACK: Final = "callback"


def trace(entries: Iterable[tuple[Task, Entry]], applied_ns: int) -> None:
    """Trace new entries of tasks that are durable now: a callback from its arrival on, with its application under it,
    which began at ``applied_ns``."""
    if not traces.is_on():
        return
    end_ns = time.time_ns()
    for task, entry in entries:
        if task.traceparent is None:
            continue
        parent, named = task.traceparent, {"task_id": str(task.id), "task_kind": task.kind}
        if entry.type == CALLBACK:
            parent = traces.past(CALLBACK, parent, to_us(entry.at) * 1000, end_ns, **named)
        traces.past("apply", parent, applied_ns, end_ns, change=entry.type, status=task.status.value, **named)


@asynccontextmanager
async def notifying(db: Database, notification_id: UUID, task_id: UUID, kind: str) -> AsyncIterator[Span]:
    """A span around one attempt to notify, in the trace of its task. Costs a read while somebody traces."""
    if not traces.is_on():
        yield Span()
        return
    parent = await db.read(task_rows.traceparent_of, task_id)
    named = {"notification_id": str(notification_id), "task_id": str(task_id), "notification": kind}
    with traces.span("notify", parent=parent, kind="client", **named) as span:
        yield span
