"""The routes that submit tasks, and decide on what was submitted: cancel, retry, resolve."""

from fastapi import APIRouter, Request, Response

from app.clients.auth import TheAdmin, TheClient, TheContext, actor_of, scope_of
from app.documents import read
from app.documents.schemas import EXAMPLE_REQUEST, BatchRequest, ResolveRequest, Task, TaskPage, TaskRequest
from app.submissions.accept_task import accept, digest_of, retry
from app.submissions.cancel import cancel
from app.submissions.check_requests import (
    MOST_TASK_BYTES,
    IdempotencyKey,
    answer_many,
    answer_one,
    check_task,
    idempotent_request,
    read_batch,
)
from app.submissions.resolve import resolve_not_sent, resolve_sent
from app.web.answers import CONFLICT, PROBLEMS, json_answer
from app.web.bodies import documented, parse, read_json
from app.web.parameters import uuid_of

router = APIRouter(prefix="/v1/tasks", responses=PROBLEMS)


@router.post(
    "",
    status_code=202,
    response_model=Task,
    openapi_extra=documented(TaskRequest, EXAMPLE_REQUEST),
    summary="Submit a task",
    tags=["Tasks"],
)
async def create_task(
    request: Request, client: TheClient, context: TheContext, idempotency_key: IdempotencyKey = None
) -> Response:
    """Take a task. It is durable when 202 answers, and sent to the vendor soon after. The same `Idempotency-Key`
    and body again answer 200 and the same task as it is now."""
    document = await read_json(request, MOST_TASK_BYTES)
    new = check_task(document, context.egress)
    key = idempotent_request("POST /v1/tasks", idempotency_key, digest_of(document))
    accepted = await accept(context, client, [new], key)
    return await answer_one(context, accepted)


@router.post(
    "/batch",
    status_code=202,
    response_model=TaskPage,
    openapi_extra=documented(BatchRequest, {"tasks": [EXAMPLE_REQUEST]}),
    summary="Submit up to 100 tasks",
    tags=["Tasks"],
)
async def create_tasks(
    request: Request, client: TheClient, context: TheContext, idempotency_key: IdempotencyKey = None
) -> Response:
    """Take all of the tasks, or none; they are durable when 202 answers, and told in their order. The same
    `Idempotency-Key` and body again answer 200 and the same tasks as they are now."""
    new, digest = await read_batch(request, context.egress)
    key = idempotent_request("POST /v1/tasks/batch", idempotency_key, digest)
    return await answer_many(context, await accept(context, client, new, key))


@router.post(
    "/{task_id}/cancel", response_model=Task, responses=CONFLICT, summary="Cancel a queued task", tags=["Tasks"]
)
async def cancel_task(task_id: str, client: TheClient, context: TheContext) -> Response:
    """End a task that is `queued`. One that is being sent, or was sent, runs on: 409."""
    task_uuid, scope = uuid_of(task_id), scope_of(client)
    await cancel(context, actor_of(client), task_uuid, scope)
    return json_answer(await read.task(context, task_uuid, scope))


@router.post(
    "/{task_id}/retry",
    status_code=202,
    response_model=Task,
    responses=CONFLICT,
    summary="Submit an ended task again",
    tags=["Tasks"],
)
async def retry_task(
    task_id: str,
    client: TheClient,
    context: TheContext,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Make a new task with the same params, reference, metadata and webhook; its `retry_of` names this one, which
    must have ended. The same `Idempotency-Key` for the same task again answers 200 and the first new task."""
    task_uuid = uuid_of(task_id)
    key = idempotent_request("POST /v1/tasks/{id}/retry", idempotency_key, digest_of({"retry_of": str(task_uuid)}))
    accepted = await retry(context, actor_of(client), scope_of(client), task_uuid, key)
    return await answer_one(context, accepted)


@router.post(
    "/{task_id}/resolve",
    response_model=Task,
    responses=CONFLICT,
    openapi_extra=documented(ResolveRequest, {"item_id": "t2m_81f0"}),
    summary="Settle an unconfirmed task by hand",
    tags=["Admin: tasks"],
)
async def resolve_task(request: Request, task_id: str, admin: TheAdmin, context: TheContext) -> Response:
    """For admins, who looked at the vendor what became of a submission whose answer was lost. With `item_id` the
    task, `unconfirmed` or failed with `submit_outcome_unknown`, goes on as accepted with that item, which is asked
    about at once. With `not_sent` an `unconfirmed` task is queued and sent again: be sure of it, or it is paid for
    twice. 409 in any other state, also if a callback has named an item meanwhile, and for an item of another
    submission."""
    task_uuid = uuid_of(task_id)
    body = parse(ResolveRequest, await read_json(request))
    if body.item_id is not None:
        await resolve_sent(context, actor_of(admin), task_uuid, str(body.item_id))
    else:
        await resolve_not_sent(context, actor_of(admin), task_uuid)
    return json_answer(await read.task(context, task_uuid, None))
