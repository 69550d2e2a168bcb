"""What a transaction did, as spans of the traces of its tasks; told after the commit. Nothing while nobody traces."""

import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from app.database.database import Database
from app.rules.loaded import Loaded
from app.rules.observation import to_us
from app.runtime import traces
from app.runtime.traces import Span
from app.tasks import task_rows

CALLBACK: Final = "callback"


@dataclass(frozen=True, slots=True)
class Followed:
    """A change of a task that is traced. ``applied_ns``: when it was applied, in the transaction."""

    task_id: UUID
    kind: str
    parent: str
    change: str
    at: datetime
    status: str
    applied_ns: int


def followed(loaded: Loaded) -> list[Followed]:
    """The changes of loaded tasks that are traced."""
    if not traces.is_on():
        return []
    now_ns = time.time_ns()
    return [
        Followed(task.id, task.kind, task.traceparent, entry.type, entry.at, task.status.value, now_ns)
        for task_id, entries in loaded.entries.items()
        if (task := loaded.tasks.get(task_id)) is not None and task.traceparent is not None
        for entry in entries
    ]


def tell(some: Iterable[Followed]) -> None:
    """Tell changes that are durable now: a callback from its arrival on, with its application under it."""
    end_ns = time.time_ns()
    for one in some:
        named = {"task_id": str(one.task_id), "task_kind": one.kind}
        parent = one.parent
        if one.change == CALLBACK:
            parent = traces.past(CALLBACK, parent, to_us(one.at) * 1000, end_ns, **named)
        traces.past("apply", parent, one.applied_ns, end_ns, change=one.change, status=one.status, **named)


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
