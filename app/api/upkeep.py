"""What admins do to what is kept: replay a callback, erase a client's data."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from app.api.acting import by
from app.api.answers import CONFLICT, PROBLEMS, json_answer
from app.api.auth import Admin, TheContext
from app.api.schemas import LoggedCallback
from app.api.tasks import storable, uuid_of
from app.flows import erase, replay

router = APIRouter(prefix="/v1", responses=PROBLEMS)

ERASE_S: Final = 10.0
"""How long one request erases; the next goes on."""

Notify = Annotated[bool, Query(description="tell the client of what changes, by its webhook")]


class ReplayedCallback(LoggedCallback):
    """The row as it is now. ``changed``: the tasks that changed visibly."""

    changed: list[str]


class Erased(BaseModel):
    """Rows by table. ``done``: nothing is left; else ask again."""

    client: str
    deleted: dict[str, int]
    done: bool


@router.post(
    "/callbacks/{callback_id}/replay",
    response_model=ReplayedCallback,
    responses=CONFLICT,
    summary="Apply a received callback again",
)
async def replay_callback(callback_id: str, admin: Admin, context: TheContext, notify: Notify = False) -> Response:
    """Read the stored body anew and join it as of the time when it was first received. One that was malformed or
    poisoned and can be read now becomes applied. 409 if it cannot be applied this time either."""
    return json_answer(await replay.replay(context, by(admin), uuid_of(callback_id), notify=notify))


@router.delete(
    "/clients/{name}/data", response_model=Erased, responses=CONFLICT, summary="Erase the data of a revoked client"
)
async def erase_client(name: str, admin: Admin, context: TheContext) -> Response:
    """Delete the tasks of a client that was revoked, what was received and sent for them, and its idempotency keys.
    Its name stays taken for its time. Works for ten seconds: repeat until `done`. 409 while a task of it is open."""
    erased = await erase.erase(context.db, context.clock, by(admin), storable(name), ERASE_S)
    return json_answer({"client": name, "deleted": erased.deleted, "done": erased.done})
