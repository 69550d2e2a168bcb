"""Routes for admins: the audit log, drift, and erasing a client's data."""

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from app.audit import audit
from app.clients.auth import TheAdmin, TheContext, actor_of
from app.drift import log as drift_log
from app.operations import erase
from app.tempolor.drift import DriftKind
from app.web import cursors
from app.web.answers import CONFLICT, PROBLEMS, json_answer
from app.web.parameters import storable


class AuditEntry(BaseModel):
    """One act. `actor` is a client's name, or `cli:` and the system's user; `target` is null for the whole."""

    id: str
    at: datetime
    actor: str
    action: audit.Action
    target: str | None
    detail: dict[str, Any]
    request_id: str | None


class AuditPage(BaseModel):
    data: list[AuditEntry]
    next_cursor: str | None


router = APIRouter(prefix="/v1", responses=PROBLEMS)


@router.get("/audit", response_model=AuditPage, summary="List what admins did", tags=["Admin: clients"])
async def list_audit(
    _admin: TheAdmin,
    context: TheContext,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str | None = None,
) -> Response:
    """Every act of an admin that changed something, and each question that one had asked for another client's task,
    newest first. It is only added to, and kept for good."""
    filters = ("audit",)
    before_id = cursors.read(cursor, filters)
    acts = await audit.page(context.db, before_id, limit + 1)
    return json_answer(cursors.page(acts, limit, filters))


class Drift(BaseModel):
    """One unknown name. `family` is null where it belongs to none; `(others)` counts what there was no room for."""

    sort: DriftKind
    family: str | None
    name: str
    first_seen_at: datetime
    last_seen_at: datetime
    count: int


class DriftPage(BaseModel):
    data: list[Drift]
    next_cursor: str | None


@router.get(
    "/drift", response_model=DriftPage, summary="List what the vendor said that nobody knew", tags=["Admin: callbacks"]
)
async def list_drift(_admin: TheAdmin, context: TheContext, sort: DriftKind | None = None) -> Response:
    """Fields, events, statuses, business codes, list shapes and headers that are not documented, and the networks that
    callbacks come from: names only, what was seen last first. There are a thousand at most, so it is one page."""
    return json_answer({"data": await drift_log.listed(context.db, sort), "next_cursor": None})


ERASE_S: Final = 10.0
"""How long one request erases; the next one continues."""


class Erased(BaseModel):
    """Deleted rows by table. ``done``: nothing is left; else repeat the request."""

    client: str
    deleted: dict[str, int]
    done: bool


@router.delete(
    "/clients/{name}/data",
    response_model=Erased,
    responses=CONFLICT,
    summary="Erase the data of a revoked client",
    tags=["Admin: clients"],
)
async def erase_client(name: str, admin: TheAdmin, context: TheContext) -> Response:
    """Delete the tasks of a client that was revoked, what was received and sent for them, and its idempotency keys.
    Its name stays taken for its time. Works for ten seconds: repeat until `done`. 409 while a task of it is open."""
    erased = await erase.erase(context.loops_db(), context.clock, actor_of(admin), storable(name), ERASE_S)
    return json_answer({"client": name, "deleted": erased.deleted, "done": erased.done})
