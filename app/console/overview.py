"""The overview: what is open, in flight and late, and what stands still and why."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Response

from app.archive import rows as archive
from app.clients.auth import TheContext
from app.console.pages import PageRoute, page
from app.console.visitors import AdminVisitor, TheVisitor, Visitor
from app.context import Context
from app.errors import VendorFailed
from app.notifications import log as notifications
from app.operations import survey
from app.operations.account import Account
from app.operations.health import Health
from app.submissions import hold_by_hand
from app.web.services import service

router = APIRouter(route_class=PageRoute, include_in_schema=False)
TheHealth = Annotated[Health, service("health")]
TheAccount = Annotated[Account, service("account")]
MOST_DEAD: Final = 100
"""Dead notifications are counted no further."""


@router.get("/console")
async def overview(visitor: TheVisitor, context: TheContext, health: TheHealth) -> Response:
    """The overview. It looks again by itself."""
    shown = await _overview(context, visitor, health)
    return page("overview.html", visitor=visitor, here="overview", **shown)


@router.get("/console/overview")
async def overview_now(visitor: TheVisitor, context: TheContext, health: TheHealth) -> Response:
    """The part of the overview that changes."""
    return page("_overview.html", visitor=visitor, **await _overview(context, visitor, health))


@router.get("/console/balance")
async def balance(visitor: AdminVisitor, account: TheAccount) -> Response:
    """The vendor's balance. By itself, so that no page waits for a vendor that does not answer."""
    try:
        known = await account.get()
    except VendorFailed as error:
        return page("_balance.html", visitor=visitor, account=None, why=error.detail)
    return page("_balance.html", visitor=visitor, account=known, why=None)


@router.get("/console/dead")
async def dead(visitor: TheVisitor, context: TheContext) -> Response:
    """How many notifications are dead. By itself and once for a page: no index finds them, so that where there are few
    it reads all."""
    wanted = notifications.LogFilters(visitor.scope, None, "dead")
    found = await notifications.list_page(context, wanted, MOST_DEAD)
    return page("_dead.html", visitor=visitor, dead=len(found), most_dead=MOST_DEAD)


async def _overview(context: Context, visitor: Visitor, health: Health) -> dict[str, Any]:
    """What the overview shows. A client sees what `/backlog` tells everybody; what counts all clients' tasks is for
    admins."""
    shown: dict[str, Any] = {
        "backlog": await health.backlog(),
        "readiness": await health.readiness(),
        "open_tasks": None,
        "submissions": None,
        "archive_pending": None,
    }
    if visitor.client.is_admin:
        shown["open_tasks"] = await context.db.read(survey.open_tasks)
        shown["submissions"] = await hold_by_hand.show(context)
        if context.files is not None:
            shown["archive_pending"] = (await context.db.read(archive.backlog))[0]
    return shown
