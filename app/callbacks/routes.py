"""The inbound log, for admins: every callback with a valid token, as it came."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from app.callbacks import inbound_log, replay
from app.callbacks.inbound_log import CallbackFilters
from app.clients.auth import TheAdmin, TheContext, actor_of
from app.documents.schemas import CallbackPage, CallbackWithBody, LoggedCallback
from app.rules.observation import Disposition
from app.web import cursors
from app.web.answers import CONFLICT, PROBLEMS, json_answer
from app.web.parameters import uuid_of

router = APIRouter(prefix="/v1/callbacks", responses=PROBLEMS, tags=["Admin: callbacks"])

Notify = Annotated[bool, Query(description="tell the client of what changes, by its webhook")]


class ReplayedCallback(LoggedCallback):
    """The row as it is now. ``changed``: the tasks that changed visibly."""

    changed: list[str]


@router.get("", response_model=CallbackPage, summary="List received callbacks")
async def list_callbacks(
    _admin: TheAdmin,
    context: TheContext,
    task_id: UUID | None = None,
    disposition: Disposition | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str | None = None,
) -> Response:
    """Callbacks, newest first, without their bodies."""
    bound_to = ("callbacks", task_id, disposition)
    filters = CallbackFilters(
        task_id=task_id,
        disposition=disposition.value if disposition else None,
        before_id=cursors.read(cursor, bound_to),
    )
    return json_answer(cursors.page(await inbound_log.page(context.db, filters, limit + 1), limit, bound_to))


@router.get("/{callback_id}", response_model=CallbackWithBody, summary="Read a received callback")
async def get_callback(callback_id: str, _admin: TheAdmin, context: TheContext) -> Response:
    """One callback with its raw body."""
    return json_answer(await inbound_log.read(context, uuid_of(callback_id, "callback")))


@router.post(
    "/{callback_id}/replay",
    response_model=ReplayedCallback,
    responses=CONFLICT,
    summary="Apply a received callback again",
)
async def replay_callback(callback_id: str, admin: TheAdmin, context: TheContext, notify: Notify = False) -> Response:
    """Read the stored body anew and join it as of the time when it was first received. One that was malformed or
    poisoned and can be read now becomes applied. 409 if it cannot be applied this time either."""
    return json_answer(await replay.replay(context, actor_of(admin), uuid_of(callback_id, "callback"), notify=notify))
