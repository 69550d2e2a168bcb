"""The routes that make the vendor be asked: adopt items that another system submitted, and refresh a task now."""

from typing import Annotated, Final

from fastapi import APIRouter, Request, Response

from app.clients.auth import TheAdmin, TheClient, TheContext, actor_of, scope_of
from app.documents import read
from app.documents.schemas import AdoptRequest, Task, TaskPage
from app.reconcile.adopt import adopt
from app.reconcile.refresh import Refresher
from app.runtime.concurrency_limit import ConcurrencyLimit
from app.submissions.check_requests import answer_many
from app.web.answers import CONFLICT, NOT_ASKED, PROBLEMS, json_answer
from app.web.bodies import documented, parse, read_json
from app.web.parameters import uuid_of
from app.web.services import service

router = APIRouter(prefix="/v1/tasks", responses=PROBLEMS)
TheRefresher = Annotated[Refresher, service("refresher")]
RefreshLimit = Annotated[ConcurrencyLimit, service("refreshes")]

MOST_ADOPT_BYTES: Final = 128 * 1024
"""Fifty long ids, also where each of their characters is written as an escape."""


@router.post(
    "/adopt",
    status_code=202,
    response_model=TaskPage,
    responses=CONFLICT,
    openapi_extra=documented(AdoptRequest, {"family": "song", "item_ids": ["t2m_81f0"], "client": "studio"}),
    summary="Follow items that another system submitted",
    tags=["Admin: tasks"],
)
async def adopt_items(request: Request, admin: TheAdmin, context: TheContext) -> Response:
    """For admins, since it reaches any item of the vendor's account. Follow up to 50 items of a family from now on,
    by callbacks to the unbound URL (`callback-url`) and by queries: one task of the kind `<family>.external` for
    each, told in the order of the ids. They are the tasks of `client`, or the admin's own. An id that the client has
    already gives its task as it is; one that only a callback named so far is taken over with its state. 409 names the
    ids that are another client's, and then none is adopted."""
    body = parse(AdoptRequest, await read_json(request, MOST_ADOPT_BYTES))
    item_ids = [str(item_id) for item_id in body.item_ids]
    name = body.client if body.client is not None else admin.name
    adopted = await adopt(context, actor_of(admin), name, body.family, item_ids)
    return await answer_many(context, adopted)


@router.post(
    "/{task_id}/refresh",
    response_model=Task,
    responses=CONFLICT | NOT_ASKED,
    summary="Ask the vendor now",
    tags=["Tasks"],
)
async def refresh_task(
    task_id: str, client: TheClient, context: TheContext, refresher: TheRefresher, limit: RefreshLimit
) -> Response:
    """Ask the vendor about the task's open items, and answer the task as it is then. A task that has ended is
    answered without a call, unless a link of it has expired: then the vendor is asked for a new one. One of which it
    has named no item yet (`submitting`, `unconfirmed`) is answered without a call: there is nothing to ask about.
    409 while it is `queued`; 503 with `Retry-After` while the vendor is not asked (`vendor_paused`), or if its answer
    does not come in time (`not_refreshed`). Of each client one refresh asks at a time, and while questions are due at
    least every second one is one of them."""
    task_uuid, scope = uuid_of(task_id), scope_of(client)
    with limit.place(client.name):
        await refresher.refresh(actor_of(client), task_uuid, scope)
    return json_answer(await read.task(context, task_uuid, scope))
