"""Requests for new tasks: checked before anything is stored, with every fault told; and their answers."""

from typing import Annotated, Any, Final

from fastapi import Header, Response
from pydantic import ValidationError

from app.api.answers import json_answer
from app.api.bodies import parse
from app.api.problems import path_of
from app.api.schemas import BatchRequest, TaskRequest
from app.domain.item import canonical
from app.errors import InvalidRequest, NotFound
from app.flows import read
from app.flows.accept import AcceptedTasks, Idempotency, NewTask, digest_of
from app.flows.context import Context
from app.flows.outgoing import check_receiver
from app.vendor.kinds import KINDS

MOST_GIVEN_BYTES: Final = 64 * 1024

IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", description="1 to 255 characters")]

Place = tuple[str | int, ...]
"""Where in a document something stands."""


def check_task(document: Any, place: Place = ()) -> NewTask:
    """A request as a new task, its params checked by its kind. Raises ``InvalidRequest`` with every fault."""
    asked = parse(TaskRequest, document, place)
    faults = _faults(asked, place)
    if faults:
        raise InvalidRequest("the request is not valid", faults)
    return NewTask(asked.kind, asked.params, asked.metadata, asked.reference, asked.webhook_url)


def check_batch(document: Any) -> list[NewTask]:
    """A batch as new tasks. Raises ``InvalidRequest`` with the faults of every bad one, by its index."""
    asked = parse(BatchRequest, document)
    new: list[NewTask] = []
    faults: list[tuple[str, str]] = []
    for index, one in enumerate(asked.tasks):
        try:
            new.append(check_task(one, ("tasks", index)))
        except InvalidRequest as error:
            faults += error.faults
    if faults:
        raise InvalidRequest("the request is not valid", tuple(faults))
    return new


def once(route: str, key: str | None, document: Any) -> Idempotency | None:
    """An idempotency key with the request that it stands for. Raises ``InvalidRequest``."""
    if key is None:
        return None
    if not 1 <= len(key) <= 255:
        raise InvalidRequest("an Idempotency-Key has 1 to 255 characters")
    return Idempotency(route, key, digest_of(document))


async def answer_one(context: Context, accepted: AcceptedTasks) -> Response:
    """The answer to a request for one task. Raises ``NotFound`` where a replayed one was purged."""
    [task] = await _accepted(context, accepted)
    headers = {"Location": f"/v1/tasks/{task['id']}"}
    return json_answer(task, 200 if accepted.replayed else 202, headers | _replayed(accepted))


async def answer_many(context: Context, accepted: AcceptedTasks) -> Response:
    """The answer to a request for several tasks, in their order. Raises ``NotFound`` where replayed ones were
    purged."""
    document = {"data": await _accepted(context, accepted), "next_cursor": None}
    return json_answer(document, 200 if accepted.replayed else 202, _replayed(accepted))


async def _accepted(context: Context, accepted: AcceptedTasks) -> list[dict[str, Any]]:
    if accepted.documents:
        return list(accepted.documents)
    tasks = await read.some_tasks(context, accepted.task_ids)
    if len(tasks) < len(accepted.task_ids):
        raise NotFound("what this Idempotency-Key made was purged")
    return tasks


def _replayed(accepted: AcceptedTasks) -> dict[str, str]:
    return {"Idempotent-Replayed": "true"} if accepted.replayed else {}


def _faults(asked: TaskRequest, place: Place) -> tuple[tuple[str, str], ...]:
    if "callback_url" in asked.params:
        return ((path_of([*place, "params", "callback_url"]), "the gateway sets it"),)
    if asked.webhook_url is not None:
        try:
            check_receiver(asked.webhook_url)
        except InvalidRequest as error:
            return ((path_of([*place, "webhook_url"]), error.detail),)
    try:
        KINDS[asked.kind].params.model_validate(asked.params)
    except ValidationError as error:
        return tuple((path_of([*place, "params", *one["loc"]]), one["msg"]) for one in error.errors())
    if len(canonical(asked.params).encode()) + len(canonical(asked.metadata).encode()) > MOST_GIVEN_BYTES:
        return ((path_of([*place, "params"]), f"params and metadata are over {MOST_GIVEN_BYTES} bytes together"),)
    return ()
