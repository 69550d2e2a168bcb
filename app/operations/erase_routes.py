"""What admins do to what is kept: replay a callback, erase a client's data."""

from typing import Final

from fastapi import APIRouter, Response
from pydantic import BaseModel

from app.clients.auth import TheAdmin, TheContext, by
from app.operations import erase
from app.web.answers import CONFLICT, PROBLEMS, json_answer
from app.web.path_ids import storable

router = APIRouter(prefix="/v1", responses=PROBLEMS)

ERASE_S: Final = 10.0
"""How long one request erases; the next goes on."""


class Erased(BaseModel):
    """Rows by table. ``done``: nothing is left; else ask again."""

    client: str
    deleted: dict[str, int]
    done: bool


@router.delete(
    "/clients/{name}/data", response_model=Erased, responses=CONFLICT, summary="Erase the data of a revoked client"
)
async def erase_client(name: str, admin: TheAdmin, context: TheContext) -> Response:
    """Delete the tasks of a client that was revoked, what was received and sent for them, and its idempotency keys.
    Its name stays taken for its time. Works for ten seconds: repeat until `done`. 409 while a task of it is open."""
    erased = await erase.erase(context.db, context.clock, by(admin), storable(name), ERASE_S)
    return json_answer({"client": name, "deleted": erased.deleted, "done": erased.done})
