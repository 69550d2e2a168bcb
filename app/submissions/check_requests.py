"""Check requests for new tasks before anything is stored, with every fault listed; and make their answers."""

import asyncio
from typing import Annotated, Any, Final

import msgspec
from fastapi import Header, Request, Response
from pydantic import ValidationError

from app.app_context import Context
from app.audit.audit import Actor
from app.clients.clients import find_active
from app.database.database import dumps
from app.documents import read
from app.documents.document import Document
from app.documents.schemas import MOST_BATCHED, TaskRequest
from app.errors import InvalidRequest, NotFound, PayloadTooLarge
from app.rules.join import canonical
from app.runtime.egress import EgressPolicy
from app.submissions.accept_task import AcceptedTasks, ListDigest, NewTask, accept, digest_of
from app.submissions.idempotency import IdempotentRequest
from app.tasks.webhook_url import check_url
from app.tempolor.kinds import KINDS
from app.web.answers import json_answer
from app.web.bodies import body_of, budget_of, parse, refuse_secrets
from app.web.decoding import BYTE_ORDER_MARK, decode, split
from app.web.problems import MOST_FAULTS, Place, faults_of, path_of

MOST_GIVEN_BYTES: Final = 64 * 1024

MOST_TASK_BYTES: Final = 256 * 1024
"""A task with as much as it may be given, also where every character of it is written as an escape."""
MOST_BATCH_BYTES: Final = 8 * 1024 * 1024
"""A hundred tasks with as much as they may be given."""
NO_BATCH: Final = f'a batch is {{"tasks": [...]}} with 1 to {MOST_BATCHED} tasks, and nothing else'

# A tuple of its fields would have to be whole, and a list is read to its end before it is found too long.
_Tasks = msgspec.defstruct(
    "_Tasks",
    [(f"task_{index}", msgspec.Raw, msgspec.field(default=None)) for index in range(MOST_BATCHED)],
    array_like=True,
    forbid_unknown_fields=True,
)


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    tasks: msgspec.Raw
    """Not yet taken apart: a name can be given a million times."""


IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="The same key and body again give the same task. 1 to 255 characters.",
    ),
]


def check_task(document: Any, egress: EgressPolicy, place: Place = ()) -> NewTask:
    """Check a request, and return it as a new task; its params are checked by its kind. Raises ``InvalidRequest`` with
    every fault."""
    task_request = parse(TaskRequest, document, place)
    faults = _faults(task_request, egress, place)
    if faults:
        raise InvalidRequest("the request is not valid", faults)
    return NewTask(
        task_request.kind,
        task_request.params,
        task_request.metadata,
        task_request.reference,
        task_request.webhook_url,
        task_request.webhook_events,
        place=place,
    )


async def read_batch(request: Request, egress: EgressPolicy) -> tuple[list[NewTask], bytes]:
    """Read a batch as new tasks, with its digest. Raises ``InvalidRequest`` with the faults of every bad one, by its
    index, and what reading a body raises."""
    new: list[NewTask] = []
    faults: list[tuple[str, str]] = []
    digest = ListDigest("tasks")
    budget = budget_of(request)
    async with body_of(request, MOST_BATCH_BYTES) as raw:
        async with budget.turn(len(raw)):
            tasks = _tasks_in(raw)
        for index, raw_task in enumerate(tasks):
            await asyncio.sleep(0)
            place = ("tasks", index)
            try:
                task = bytes(raw_task)
                async with budget.turn(len(task)):
                    refuse_secrets(request, task)
                    document = decode(task, place)
                    new.append(check_task(document, egress, place))
                    digest.add(document)
            except InvalidRequest as error:
                faults += error.faults or [(path_of(place), error.detail)]
            if len(faults) >= MOST_FAULTS:
                break
    if faults:
        raise InvalidRequest("the request is not valid", tuple(faults))
    return new, digest.made()


def _tasks_in(raw: bytes) -> list[msgspec.Raw]:
    """Split a batch into its tasks, each still as JSON, and part of the body: copies would take as much again. Raises
    ``InvalidRequest``, ``PayloadTooLarge``, ``InvalidJson``."""
    entries = msgspec.structs.astuple(
        split(split(raw.removeprefix(BYTE_ORDER_MARK), _Batch, NO_BATCH).tasks, _Tasks, NO_BATCH)
    )
    tasks = [task for task in entries if task is not None]
    if not tasks:
        raise InvalidRequest(NO_BATCH)
    for index, task in enumerate(tasks):
        if memoryview(task).nbytes > MOST_TASK_BYTES:
            raise PayloadTooLarge(f"tasks.{index} is over {MOST_TASK_BYTES} bytes")
    return tasks


def idempotent_request(route: str, key: str | None, digest: bytes) -> IdempotentRequest | None:
    """An idempotency key with the digest of the request that it stands for. Raises ``InvalidRequest``."""
    if key is None:
        return None
    if not 1 <= len(key) <= 255:
        raise InvalidRequest("an Idempotency-Key has 1 to 255 characters")
    return IdempotentRequest(route, key, digest)


async def answer_one(context: Context, accepted: AcceptedTasks) -> Response:
    """Answer a request for one task. Raises ``NotFound`` where a replayed one was purged."""
    [task] = await accepted_documents(context, accepted)
    return _answer(task, accepted, {"Location": f"/v1/tasks/{task['id']}"})


async def answer_many(context: Context, accepted: AcceptedTasks) -> Response:
    """Answer a request for several tasks, in their order. Raises ``NotFound`` where replayed ones were purged."""
    return _answer({"data": await accepted_documents(context, accepted), "next_cursor": None}, accepted, {})


async def accepted_documents(context: Context, accepted: AcceptedTasks) -> list[dict[str, Any]]:
    """Read the tasks of a request in their order, a replayed one as it is now. Raises ``NotFound`` where one was
    purged."""
    if accepted.documents:
        return list(accepted.documents)
    tasks = await read.tasks_by_id(context, accepted.task_ids)
    if len(tasks) < len(accepted.task_ids):
        raise NotFound("what this Idempotency-Key made was purged")
    return tasks


def _answer(document: Document, accepted: AcceptedTasks, headers: dict[str, str]) -> Response:
    if accepted.replayed:
        return json_answer(document, 200, headers | {"Idempotent-Replayed": "true"})
    return json_answer(document, 202, headers)


def _faults(task_request: TaskRequest, egress: EgressPolicy, place: Place) -> tuple[tuple[str, str], ...]:
    if "callback_url" in task_request.params:
        return ((path_of([*place, "params", "callback_url"]), "the gateway sets it"),)
    if task_request.webhook_url is not None:
        try:
            check_url(task_request.webhook_url, egress)
        except InvalidRequest as error:
            return ((path_of([*place, "webhook_url"]), error.detail),)
    try:
        KINDS[task_request.kind].params.model_validate(task_request.params)
    except ValidationError as error:
        return faults_of(error, (*place, "params"))
    given = [canonical(part).encode() for part in (task_request.params, task_request.metadata) if part]
    if sum(map(len, given)) > MOST_GIVEN_BYTES:
        return ((path_of([*place, "params"]), f"params and metadata are over {MOST_GIVEN_BYTES} bytes together"),)
    return ()


async def submit_by_hand(
    context: Context, actor: Actor, client_name: str, request: dict[str, Any], idempotency_key: str | None = None
) -> tuple[Document, bool]:
    """Store a task in a client's place, to be sent, checked as its own request would be; durable when this returns.
    ``request``: the decoded body of ``POST /v1/tasks``. ``idempotency_key``: in the same scope as those of the client's
    own requests. Returns the task, and whether it is a replay. Raises ``InvalidRequest`` with every fault, ``NotFound``
    where there is no such client, ``IdempotencyMismatch``, ``Unavailable``."""
    if context.redactor.body(raw := dumps(request).encode()) is not raw:
        raise InvalidRequest("the request holds a secret of this gateway")
    new = check_task(request, context.egress)
    key = idempotent_request("POST /v1/tasks", idempotency_key, digest_of(request))
    client = await find_active(context.db, client_name)
    accepted = await accept(context, client, [new], key, actor)
    [task] = await accepted_documents(context, accepted)
    return task, accepted.replayed
