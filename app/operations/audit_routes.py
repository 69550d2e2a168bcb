"""The audit, for admins: what they and the command line did."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from app.audit import audit
from app.clients.auth import TheAdmin, TheContext
from app.web import cursors
from app.web.answers import PROBLEMS, json_answer


class Act(BaseModel):
    """One act. `actor` is a client's name, or `cli:` and the system's user; `target` is null for the whole."""

    id: str
    at: datetime
    actor: str
    action: str
    target: str | None = None
    detail: dict[str, Any]
    request_id: str | None = None


class AuditPage(BaseModel):
    data: list[Act]
    next_cursor: str | None = None


router = APIRouter(prefix="/v1/audit", responses=PROBLEMS)


@router.get("", response_model=AuditPage, summary="List what admins did")
async def list_audit(
    _admin: TheAdmin,
    context: TheContext,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str | None = None,
) -> Response:
    """Every act of an admin that changed something, and each question that one had asked for another client's task,
    newest first. It is only added to, and kept for good."""
    filters = ("audit",)
    before_id = cursors.read(cursor, filters) if cursor is not None else None
    found = await audit.page(context.db, before_id, limit + 1)
    return json_answer(cursors.page(found, limit, filters))
