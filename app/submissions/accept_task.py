"""Accept tasks from clients: durable before they are answered, sent later."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import structlog

from app.app_context import Context
from app.audit import audit
from app.audit.audit import Action, Actor, new_entry
from app.documents.document import Document, task_document
from app.errors import Conflict, InvalidRequest, NotFound
from app.limits import wait_reasons
from app.rules.client import Client
from app.rules.join import canonical
from app.rules.status import TASK_FINAL
from app.rules.task import Entry, Task
from app.runtime import traces
from app.submissions import idempotency
from app.submissions.idempotency import IdempotentRequest
from app.tasks import after_commit, state_store, task_rows, timeline, upload_refs, writes
from app.tasks.task_rows import TaskInput, TaskRecord
from app.tempolor.kinds import KINDS
from app.web.problems import Place, path_of

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class NewTask:
    """A checked request."""

    kind: str
    params: dict[str, Any]
    metadata: dict[str, Any] = field(default_factory=dict)
    reference: str | None = None
    webhook_url: str | None = None
    webhook_events: Sequence[str] | None = None
    retry_of: UUID | None = None
    traceparent: str | None = None
    place: Place = ()
    """Where it stands in the request."""


@dataclass(frozen=True, slots=True)
class AcceptedTasks:
    """``documents``: new tasks as they were stored; a replayed one is to be read as it is now."""

    task_ids: tuple[UUID, ...]
    replayed: bool = False
    documents: tuple[Document, ...] = ()


def digest_of(document: Any) -> bytes:
    """The digest of a parsed request: equal for texts that differ in spaces or in the order of keys."""
    return hashlib.sha256(canonical(document).encode()).digest()


class ListDigest:
    """Compute ``digest_of`` of an object whose only field is a list, one entry after the other."""

    def __init__(self, name: str) -> None:
        self._made = hashlib.sha256(f'{{"{name}":['.encode())
        self._between = b""

    def add(self, entry: Any) -> None:
        """Add the next entry of the list."""
        self._made.update(self._between + canonical(entry).encode())
        self._between = b","

    def made(self) -> bytes:
        """The digest of what was added."""
        whole = self._made.copy()
        whole.update(b"]}")
        return whole.digest()


async def accept(
    context: Context,
    client: Client,
    new: Sequence[NewTask],
    idempotent_request: IdempotentRequest | None = None,
    actor: Actor | None = None,
) -> AcceptedTasks:
    """Store tasks of a client to be sent: all or none, durable when this returns. The same idempotency key and request
    give the first ones again. ``actor``: who submits them in the client's place, if not itself. Raises
    ``IdempotencyMismatch``, ``Unavailable``."""
    # Asked here: a transaction may run in another thread, which knows nothing of the request.
    carried = traces.traceparent()
    complete = [
        replace(
            task,
            traceparent=carried,
            webhook_url=client.webhook_url if task.webhook_url is None else task.webhook_url,
            webhook_events=client.webhook_events if task.webhook_events is None else task.webhook_events,
        )
        for task in new
    ]
    accepted = await context.db.write(_accept, context, client.name, complete, idempotent_request, actor)
    return _announce(context, accepted)


async def retry(
    context: Context,
    actor: Actor,
    scope: str | None,
    task_id: UUID,
    idempotent_request: IdempotentRequest | None = None,
) -> AcceptedTasks:
    """Store a new task like one that has ended, for that task's client. ``actor`` asks, and sees the tasks of ``scope``
    (None: all). Raises ``NotFound``, ``Conflict``, ``IdempotencyMismatch``, ``Unavailable``."""
    carried = traces.traceparent()
    return _announce(
        context, await context.db.write(_retry, context, actor, scope, task_id, idempotent_request, carried)
    )


def _announce(context: Context, accepted: AcceptedTasks) -> AcceptedTasks:
    """Announce new tasks, once they are durable."""
    if not accepted.replayed:
        context.announce(accepted.task_ids)
        for document in accepted.documents:
            after_commit.note_client_tasks(document["client"], "accepted")
            log.info("task.accepted", task_id=document["id"], client=document["client"])
    context.wakes.dispatch.set()
    return accepted


def _retry(
    conn: sa.Connection,
    context: Context,
    actor: Actor,
    scope: str | None,
    task_id: UUID,
    idempotent_request: IdempotentRequest | None,
    carried: str | None,
) -> AcceptedTasks:
    now = context.clock.now()
    new_id = context.ids()
    # Before the task is looked at: a retry that was made stays made, also where the task has been reopened since.
    if idempotent_request is not None:
        first_ids = idempotency.take(conn, actor.name, idempotent_request, (new_id,), now)
        if first_ids is not None:
            return AcceptedTasks(first_ids, replayed=True)
    original = task_rows.find(conn, task_id, scope)
    if original is None:
        raise NotFound("there is no such task")
    task, task_input = original.task, original.input
    if task.external:
        raise Conflict("the task was submitted elsewhere, and cannot be submitted again from here")
    if task.status not in TASK_FINAL:
        raise Conflict(f"the task is {task.status}; only one that has ended can be retried")
    copy = NewTask(
        task.kind,
        task_input.params,
        task_input.metadata,
        task_input.reference,
        task.webhook_url,
        task.webhook_events,
        retry_of=task.id,
        traceparent=carried,
    )
    if task.client_name != actor.name:
        audit_entry = new_entry(
            context.clock, actor, Action.RETRY_TASK, str(task_id), client=task.client_name, task_id=str(new_id)
        )
        audit.append(conn, audit_entry)
    return _store(conn, context, task.client_name, {new_id: copy}, now)


def _accept(
    conn: sa.Connection,
    context: Context,
    client_name: str,
    new: Sequence[NewTask],
    idempotent_request: IdempotentRequest | None,
    actor: Actor | None,
) -> AcceptedTasks:
    now = context.clock.now()
    new_by_id = {context.ids(): new_task for new_task in new}
    task_ids = tuple(new_by_id)
    if idempotent_request is not None:
        first_ids = idempotency.take(conn, client_name, idempotent_request, task_ids, now)
        if first_ids is not None:
            return AcceptedTasks(first_ids, replayed=True)
    if actor is not None:
        for task_id in task_ids:
            audit.append(conn, new_entry(context.clock, actor, Action.SUBMIT_TASK, str(task_id), client=client_name))
    return _store(conn, context, client_name, new_by_id, now)


def _uploads_used(
    conn: sa.Connection, context: Context, client_name: str, new_by_id: Mapping[UUID, NewTask]
) -> list[tuple[UUID, UUID]]:
    """Find which new tasks need which uploads, as (upload, task). Raises ``InvalidRequest`` for each upload that the
    client does not have, and where no archive keeps any."""
    named = [
        (upload_id, task_id, [*new.place, "params", field])
        for task_id, new in new_by_id.items()
        for field, upload_id in upload_refs.named_in(new.params).items()
    ]
    upload_ids = {upload_id for upload_id, _, _ in named if upload_id is not None}
    is_off = context.files is None
    missing = (upload_ids if is_off else upload_refs.unknown(conn, upload_ids, client_name)) | {None}
    why = "the gateway keeps no uploads (GATEWAY_ARCHIVE_URL)" if is_off else "you have no such upload"
    faults = tuple((path_of(place), why) for upload_id, _, place in named if upload_id in missing)
    if faults:
        raise InvalidRequest("the request is not valid", faults)
    return [(upload_id, task_id) for upload_id, task_id, _ in named if upload_id is not None]


def _store(
    conn: sa.Connection, context: Context, client_name: str, new_by_id: Mapping[UUID, NewTask], now: datetime
) -> AcceptedTasks:
    """Store new tasks of a client, each under its id, and what uploads they need. Raises ``InvalidRequest``."""
    uses = _uploads_used(conn, context, client_name, new_by_id)
    records = [_record(task_id, client_name, new, now) for task_id, new in new_by_id.items()]
    rows = [task_rows.new_row(record.task, record.input) for record in records]
    entries = [timeline.row_of(record.task, Entry(now, "accepted")) for record in records]
    state_store.save(conn, [state_store.Part({writes.NEW_TASKS: rows, writes.NEW_ENTRIES: entries})])
    upload_refs.note_uses(conn, uses)
    current_holds = wait_reasons.read(conn, context.policy, now)
    documents = tuple(task_document(record, [], {}, context, current_holds) for record in records)
    return AcceptedTasks(tuple(new_by_id), documents=documents)


def _record(task_id: UUID, client_name: str, new: NewTask, now: datetime) -> TaskRecord:
    kind = KINDS[new.kind]
    task = Task(
        id=task_id,
        kind=kind.name,
        family=kind.family.name,
        client_name=client_name,
        sung=kind.family.shape.sections_field is not None and not new.params.get("instrumental"),
        created_at=now,
        webhook_url=new.webhook_url,
        webhook_events=list(new.webhook_events) if new.webhook_events is not None else None,
        traceparent=new.traceparent,
        updated_at=now,
        dispatch_due_at=now,
        timeline_seq=1,
    )
    return TaskRecord(task, TaskInput(new.params, new.metadata, new.reference, new.retry_of))
