"""The overview: what is open, in flight and late, what stands still and why, and the last hour and day."""

from typing import Annotated

from fastapi import APIRouter, Response

from app.clients.auth import TheContext
from app.console.overview_live import Overview, OverviewStream
from app.console.pages import PageRoute, page
from app.console.signed_in import AdminVisitor, TheVisitor
from app.documents import read
from app.errors import VendorFailed
from app.operations.account import Account
from app.tasks.task_rows import TaskFilters
from app.watching.stream_routes import EventStream, Heartbeat
from app.watching.task_routes import TheWatch
from app.web.services import service

router = APIRouter(route_class=PageRoute, include_in_schema=False)
TheOverview = Annotated[Overview, service("overview")]
TheAccount = Annotated[Account, service("account")]


@router.get("/console")
async def overview(visitor: TheVisitor, context: TheContext, overview: TheOverview) -> Response:
    """The overview. It follows what happens by the stream."""
    parts = await overview.parts(visitor.scope)
    tasks, _ = await read.task_list(context, TaskFilters(client_name=visitor.scope), 1, summary=True)
    return page("overview.html", visitor=visitor, here="overview", parts=parts, is_new=not tasks)


@router.get("/console/overview/stream")
async def overview_stream(
    visitor: TheVisitor, context: TheContext, overview: TheOverview, watch: TheWatch, heartbeat_s: Heartbeat
) -> Response:
    """The parts of the overview as server-sent events, each whenever it is another."""
    stream = OverviewStream(visitor.client, context, overview, visitor.ends_at)
    watch.open_page(stream)
    return EventStream(watch, stream, stream.events(), heartbeat_s)


@router.get("/console/balance")
async def balance(visitor: AdminVisitor, account: TheAccount) -> Response:
    """The vendor's balance. By itself, so that no page waits for a vendor that does not answer."""
    try:
        known = await account.get()
    except VendorFailed as error:
        return page("_balance.html", visitor=visitor, account=None, why=error.detail)
    return page("_balance.html", visitor=visitor, account=known, why=None)
