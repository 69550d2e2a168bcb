"""What admins do to what is kept: replay a callback, verify a task, erase a client's data."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from app.api.acting import by
from app.api.answers import CONFLICT, PROBLEMS, json_answer
from app.api.auth import Admin, TheContext
from app.api.schemas import LoggedCallback
from app.api.tasks import storable, uuid_of
from app.flows import erase, replay, verify

router = APIRouter(prefix="/v1", responses=PROBLEMS)

ERASE_S: Final = 10.0
"""How long one request erases; the next goes on."""

Notify = Annotated[bool, Query(description="tell the client of what changes, by its webhook")]


class ReplayedCallback(LoggedCallback):
    """The row as it is now. ``changed``: the tasks that changed visibly."""

    changed: list[str]


class Difference(BaseModel):
    """One field of an item; of the task where ``item_id`` is null. Long values are shortened."""

    item_id: str | None = None
    field: str
    stored: str
    rebuilt: str


class Verified(BaseModel):
    """``incomplete``: what the task's record lacks; ``beyond_record``: what is stored and cannot be told from it.
    ``remaining``: what a repair left."""

    task_id: str
    differences: list[Difference]
    incomplete: list[str]
    beyond_record: list[Difference]
    repaired: bool
    remaining: list[Difference]


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


@router.post("/tasks/{task_id}/verify", response_model=Verified, summary="Hold a task against its record")
async def verify_task(
    task_id: str,
    admin: Admin,
    context: TheContext,
    repair: Annotated[bool, Query(description="join in what is missing")] = False,
    notify: Notify = False,
) -> Response:
    """Make the task's items anew from the inbound log and the recorded queries, and compare them with what is stored.
    `repair` joins in what is missing; it never erases."""
    found = await verify.verify(context, by(admin), uuid_of(task_id), repair=repair, notify=notify)
    return json_answer(verify.document(found))


@router.delete(
    "/clients/{name}/data", response_model=Erased, responses=CONFLICT, summary="Erase the data of a revoked client"
)
async def erase_client(name: str, admin: Admin, context: TheContext) -> Response:
    """Delete the tasks of a client that was revoked, what was received and sent for them, and its idempotency keys.
    Its name stays taken for its time. Works for ten seconds: repeat until `done`. 409 while a task of it is open."""
    erased = await erase.erase(context.db, context.clock, by(admin), storable(name), ERASE_S)
    return json_answer({"client": name, "deleted": erased.deleted, "done": erased.done})
