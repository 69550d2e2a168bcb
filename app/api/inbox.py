"""The inbound log, for admins: every callback with a valid token, as it came."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from app.api import cursors
from app.api.answers import PROBLEMS, json_answer
from app.api.auth import Admin, TheContext
from app.api.schemas import CallbackPage, CallbackWithBody
from app.api.tasks import uuid_of
from app.domain.observation import Disposition
from app.flows import read

router = APIRouter(prefix="/v1/callbacks", responses=PROBLEMS)


@router.get("", response_model=CallbackPage, summary="List received callbacks")
async def list_callbacks(
    _admin: Admin,
    context: TheContext,
    task_id: UUID | None = None,
    disposition: Disposition | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str | None = None,
) -> Response:
    """Callbacks, newest first, without their bodies."""
    filters = ("callbacks", task_id, disposition)
    found = await read.callback_list(
        context,
        task_id=task_id,
        disposition=disposition.value if disposition is not None else None,
        before_id=cursors.read(cursor, filters) if cursor is not None else None,
        limit=limit + 1,
    )
    return json_answer(cursors.page(found, limit, filters))


@router.get("/{callback_id}", response_model=CallbackWithBody, summary="Read a received callback")
async def get_callback(callback_id: str, _admin: Admin, context: TheContext) -> Response:
    """One callback with its raw body."""
    return json_answer(await read.callback(context, uuid_of(callback_id)))
