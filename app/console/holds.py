"""Holds: what stands still and why, who has the places at the vendor, and submissions held and released by hand."""

from typing import Final

from fastapi import APIRouter, Request, Response

from app.clients.auth import TheContext
from app.console.pages import PageRoute, page, see
from app.console.phrases import NOTICES
from app.console.signed_in import AdminVisitor, TheForm
from app.limits.hold import Reason
from app.submissions import hold_by_hand

router = APIRouter(route_class=PageRoute, include_in_schema=False)
MOST_SLOTS: Final = 100
MOST_WAITING: Final = 50


@router.get("/console/holds")
async def holds(request: Request, visitor: AdminVisitor, context: TheContext) -> Response:
    """What is held."""
    notice = NOTICES.get(request.query_params.get("done", ""))
    shown = await hold_by_hand.show(context)
    why = shown["standing_still"]["submissions"]
    return page(
        "holds.html",
        visitor=visitor,
        here="holds",
        notice=notice,
        shown=shown,
        by_hand=why is not None and why["reason"] == Reason.BY_HAND.value,
        most_reason_chars=hold_by_hand.MOST_REASON_CHARS,
        most_slots=MOST_SLOTS,
        most_waiting=MOST_WAITING,
    )


@router.post("/console/holds/hold")
async def hold(visitor: AdminVisitor, form: TheForm, context: TheContext) -> Response:
    """Hold submissions."""
    await hold_by_hand.hold(context, visitor.actor, " ".join(form.get("reason", "").split()))
    return see("/console/holds?done=held")


@router.post("/console/holds/release")
async def release(visitor: AdminVisitor, _form: TheForm, context: TheContext) -> Response:
    """Release them, or what stands still without a hand's doing."""
    await hold_by_hand.release(context, visitor.actor)
    return see("/console/holds?done=released")
