"""Taking a task from a client: durable before it is answered, sent later."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from app.domain.item import canonical
from app.domain.task import Entry, Task
from app.errors import IdempotencyMismatch
from app.flows.context import Context
from app.storage import idempotency, sets, tasks, timeline
from app.storage.tasks import Given, Record
from app.vendor.kinds import KINDS


@dataclass(frozen=True, slots=True)
class NewTask:
    """A checked request."""

    kind: str
    params: dict[str, Any]
    metadata: dict[str, Any] = field(default_factory=dict)
    reference: str | None = None
    webhook_url: str | None = None
    retry_of: UUID | None = None


@dataclass(frozen=True, slots=True)
class Idempotency:
    """An idempotency key in its scope. ``digest`` is that of the parsed JSON of the request."""

    route: str
    key: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class AcceptedTasks:
    task_ids: tuple[UUID, ...]
    replayed: bool = False


def digest_of(document: Any) -> bytes:
    """The digest of a parsed request: equal for texts that differ in spaces or in the order of keys."""
    return hashlib.sha256(canonical(document).encode()).digest()


async def accept(
    context: Context, client_name: str, new: Sequence[NewTask], once: Idempotency | None = None
) -> AcceptedTasks:
    """Store tasks to be sent: all or none, durable when this returns. The same idempotency key and request give
    the first ones again. Raises ``IdempotencyMismatch``, ``Unavailable``."""
    accepted = await context.db.write(_accept, context, client_name, new, once)
    context.wakes.dispatch.set()
    return accepted


def _accept(
    conn: sa.Connection,
    context: Context,
    client_name: str,
    new: Sequence[NewTask],
    once: Idempotency | None,
) -> AcceptedTasks:
    now = context.clock.now()
    records = [_record(context.ids(), client_name, one, now) for one in new]
    task_ids = tuple(record.task.id for record in records)
    if once is not None:
        key = idempotency.Key(client_name, once.route, once.key)
        # The insert waits for whoever has the same key under way; then one of the two finds it taken.
        if not idempotency.take(conn, key, once.digest, task_ids, now):
            return _replay(conn, key, once)
    entries = [(record.task, Entry(now, "accepted")) for record in records]
    sets.write(conn, [tasks.inserted(records), timeline.appended(entries)])
    return AcceptedTasks(task_ids)


def _replay(conn: sa.Connection, key: idempotency.Key, once: Idempotency) -> AcceptedTasks:
    digest, task_ids = idempotency.find(conn, key)
    if digest != once.digest:
        raise IdempotencyMismatch("this Idempotency-Key was used with another request")
    return AcceptedTasks(task_ids, replayed=True)


def _record(task_id: UUID, client_name: str, new: NewTask, now: datetime) -> Record:
    kind = KINDS[new.kind]
    task = Task(
        id=task_id,
        kind=kind.name,
        family=kind.family.name,
        client_name=client_name,
        sung=kind.family.shape.sections_field is not None and not new.params.get("instrumental"),
        created_at=now,
        updated_at=now,
        dispatch_due_at=now,
        timeline_seq=1,
    )
    return Record(task, Given(new.params, new.metadata, new.reference, new.webhook_url, new.retry_of))
