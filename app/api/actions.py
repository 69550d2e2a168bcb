"""The routes that do something with tasks: submit many, adopt, cancel, retry, refresh."""

from typing import Annotated, Final

from fastapi import APIRouter, Request, Response

from app.api.acting import by
from app.api.answers import CONFLICT, PROBLEMS, json_answer
from app.api.auth import Admin, Caller, TheContext, scope_of
from app.api.bodies import documented, parse, read_json
from app.api.intake import IdempotencyKey, answer_many, answer_one, once, read_batch
from app.api.schemas import EXAMPLE_REQUEST, AdoptRequest, BatchRequest, ResolveRequest, Task, TaskPage
from app.api.services import service
from app.api.tasks import uuid_of
from app.flows import read
from app.flows.accept import accept, digest_of, retry
from app.flows.adopt import adopt
from app.flows.cancel import cancel
from app.flows.places import Places
from app.flows.refresh import Refresher
from app.flows.resolve import resolve_not_sent, resolve_sent

router = APIRouter(prefix="/v1/tasks", responses=PROBLEMS)
TheRefresher = Annotated[Refresher, service("refresher")]
Refreshes = Annotated[Places, service("refreshes")]

MOST_ADOPT_BYTES: Final = 128 * 1024
"""Fifty long ids, also where each of their characters is written as an escape."""


@router.post(
    "/batch",
    status_code=202,
    response_model=TaskPage,
    openapi_extra=documented(BatchRequest, {"tasks": [EXAMPLE_REQUEST]}),
    summary="Submit up to 100 tasks",
)
async def submit_batch(
    request: Request, client: Caller, context: TheContext, idempotency_key: IdempotencyKey = None
) -> Response:
    """Take all of the tasks, or none; they are durable when 202 answers, and told in their order. The same
    `Idempotency-Key` and body again answer 200 and the same tasks as they are now."""
    new, digest = await read_batch(request)
    key = once("POST /v1/tasks/batch", idempotency_key, digest)
    return await answer_many(context, await accept(context, client.name, new, key))


@router.post(
    "/adopt",
    status_code=202,
    response_model=TaskPage,
    responses=CONFLICT,
    openapi_extra=documented(AdoptRequest, {"family": "song", "item_ids": ["t2m_81f0"], "client": "studio"}),
    summary="Follow items that another system submitted",
)
async def adopt_items(request: Request, admin: Admin, context: TheContext) -> Response:
    """For admins, since it reaches any item of the vendor's account. Follow up to 50 items of a family from now on,
    by callbacks to the unbound URL (`callback-url`) and by queries: one task of the kind `<family>.external` for
    each, told in the order of the ids. They are the tasks of `client`, or the admin's own. An id that the client has
    already gives its task as it is; one that only a callback named so far is taken over with its state. 409 names the
    ids that are another client's, and then none is adopted."""
    asked = parse(AdoptRequest, await read_json(request, MOST_ADOPT_BYTES))
    item_ids = [str(item_id) for item_id in asked.item_ids]
    name = asked.client if asked.client is not None else admin.name
    adopted = await adopt(context, by(admin), name, asked.family, item_ids)
    return await answer_many(context, adopted)


@router.post("/{task_id}/cancel", response_model=Task, responses=CONFLICT, summary="Cancel a queued task")
async def cancel_task(task_id: str, client: Caller, context: TheContext) -> Response:
    """End a task that is `queued`. One that is being sent, or was sent, runs on: 409."""
    wanted, scope = uuid_of(task_id), scope_of(client)
    await cancel(context, by(client), wanted, scope)
    return json_answer(await read.task(context, wanted, scope))


@router.post(
    "/{task_id}/retry", status_code=202, response_model=Task, responses=CONFLICT, summary="Submit an ended task again"
)
async def retry_task(
    task_id: str,
    client: Caller,
    context: TheContext,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Make a new task with the same params, reference, metadata and webhook; its `retry_of` names this one, which
    must have ended. The same `Idempotency-Key` for the same task again answers 200 and the first new task."""
    wanted = uuid_of(task_id)
    key = once("POST /v1/tasks/{id}/retry", idempotency_key, digest_of({"retry_of": str(wanted)}))
    accepted = await retry(context, by(client), scope_of(client), wanted, key)
    return await answer_one(context, accepted)


@router.post("/{task_id}/refresh", response_model=Task, responses=CONFLICT, summary="Ask the vendor now")
async def refresh_task(
    task_id: str, client: Caller, context: TheContext, refresher: TheRefresher, refreshes: Refreshes
) -> Response:
    """Ask the vendor about the task's open items, and answer the task as it is then. A task that has ended is
    answered without a call, unless a link of it has expired: then the vendor is asked for a new one. One of which it
    has named no item yet (`submitting`, `unconfirmed`) is answered without a call: there is nothing to ask about.
    409 while it is `queued`; 503 with `Retry-After` while the vendor is not asked (`vendor_paused`), or if its answer
    does not come in time (`not_refreshed`). Of each client one refresh asks at a time, and while questions are due at
    least every second one is one of them."""
    wanted, scope = uuid_of(task_id), scope_of(client)
    with refreshes.place(client.name):
        await refresher.refresh(by(client), wanted, scope)
    return json_answer(await read.task(context, wanted, scope))


@router.post(
    "/{task_id}/resolve",
    response_model=Task,
    responses=CONFLICT,
    openapi_extra=documented(ResolveRequest, {"item_id": "t2m_81f0"}),
    summary="Settle an unconfirmed task by hand",
)
async def resolve_task(request: Request, task_id: str, admin: Admin, context: TheContext) -> Response:
    """For admins, who looked at the vendor what became of a submission whose answer was lost. With `item_id` the
    task, `unconfirmed` or failed with `submit_outcome_unknown`, goes on as accepted with that item, which is asked
    about at once. With `not_sent` an `unconfirmed` task is queued and sent again: be sure of it, or it is paid for
    twice. 409 in any other state, also if a callback has named an item meanwhile, and for an item of another
    submission."""
    wanted = uuid_of(task_id)
    asked = parse(ResolveRequest, await read_json(request))
    if asked.item_id is not None:
        await resolve_sent(context, by(admin), wanted, str(asked.item_id))
    else:
        await resolve_not_sent(context, by(admin), wanted)
    return json_answer(await read.task(context, wanted, None))
