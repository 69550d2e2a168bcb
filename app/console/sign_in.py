"""Sign in with an API key or by a link that is good once, and out again; the assets, and the way from `/` to the
console."""

import asyncio
import re
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Request, Response

from app.clients import client_rows, tickets
from app.clients.auth import TheContext
from app.console.pages import HEADERS, HOME, SIGN_IN, PageRoute, assets, packed_asset, page, see
from app.console.session import LIFETIME, Sessions
from app.console.signed_in import COOKIE, TheForm, TheSessions, read_form
from app.errors import NotFound, Unauthenticated
from app.web.bodies import SMALL_BYTES
from app.web.conditional_get import accepts_gzip
from app.web.services import service
from app.web.wrong_key_limit import FailureMeter, address_of

router = APIRouter(route_class=PageRoute, include_in_schema=False)
TheMeter = Annotated[FailureMeter, service("meter")]
_WITHIN: Final = re.compile(r"/console(/[A-Za-z0-9_.:%-]+)*", re.ASCII)
_FOR_GOOD: Final = {**HEADERS, "Cache-Control": "public, max-age=31536000, immutable"}


@router.get("/")
async def root() -> Response:
    """Lead to the console."""
    return see(HOME)


@router.get("/console/assets/{path:path}")
async def asset(request: Request, path: str) -> Response:
    """A file of the pages, which a browser may keep for good: another content has another path."""
    found = assets().get(path)
    if found is None:
        raise NotFound("there is no such file")
    media_type, content = found
    headers = {**_FOR_GOOD, "Vary": "Accept-Encoding"}
    if accepts_gzip(request.headers.get("accept-encoding", "")):
        headers["Content-Encoding"] = "gzip"
        content = await asyncio.to_thread(packed_asset, path)
    return Response(content, media_type=media_type, headers=headers)


@router.get("/console/sign-in")
async def sign_in_page(request: Request) -> Response:
    return page("sign_in.html", wrong=False, back=_back(request.query_params.get("next", "")))


@router.post("/console/sign-in")
async def sign_in(
    request: Request,
    context: TheContext,
    sessions: TheSessions,
    meter: TheMeter,
) -> Response:
    """Begin a session of whose key it is. A wrong one counts like any other. Raises ``TooManyFailures``."""
    form = await read_form(request, SMALL_BYTES)
    key, back = form.get("key", "").strip(), _back(form.get("next", ""))
    digest, now = client_rows.key_digest(key), context.clock.now()
    client = await context.db.read(client_rows.find_by_digest, digest, now)
    if client is None:
        meter.fail(address_of(request.scope))
        return page("sign_in.html", 401, wrong=True, back=back)
    return _begin(request, sessions, digest, now, back)


@router.get("/console/link")
async def link_page() -> Response:
    """Where a link that is good once leads. It changes nothing: its code stands behind the #, which no browser sends,
    and is posted by a button."""
    return page("link.html", ended=False)


@router.post("/console/link")
async def sign_in_by_link(request: Request, context: TheContext, sessions: TheSessions, meter: TheMeter) -> Response:
    """Begin a session by a ticket, which is used up. A wrong one counts like a wrong key. Raises
    ``TooManyFailures``."""
    form = await read_form(request, SMALL_BYTES)
    # Without scripts a person pastes it, maybe the whole link.
    ticket = form.get("ticket", "").strip().rpartition("#")[2]
    try:
        client = await tickets.redeem(context.db, context.clock, ticket, tickets.CONSOLE)
    except Unauthenticated:
        meter.fail(address_of(request.scope))
        return page("link.html", 401, ended=True)
    return _begin(request, sessions, client.key or b"", context.clock.now(), HOME)


@router.post("/console/sign-out")
async def sign_out(request: Request, _form: TheForm) -> Response:
    """Forget the session in this browser."""
    answer = see(SIGN_IN)
    answer.delete_cookie(COOKIE, HOME, secure=request.url.scheme == "https", httponly=True, samesite="strict")
    return answer


def _begin(request: Request, sessions: Sessions, key_digest: bytes, now: datetime, to: str) -> Response:
    answer = see(to)
    answer.set_cookie(
        COOKIE,
        sessions.begin(key_digest, now),
        max_age=int(LIFETIME.total_seconds()),
        path=HOME,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return answer


def _back(wanted: str) -> str:
    """Where to go after signing in: a page of the console, and nowhere else."""
    return wanted if _WITHIN.fullmatch(wanted) else HOME


missing = APIRouter(route_class=PageRoute, include_in_schema=False)
"""The last routes of all."""


@missing.api_route("/console/{path:path}", methods=["GET", "POST"])
async def no_page(path: str) -> Response:
    """What is no page of the console."""
    if not path:
        return see(HOME)
    raise NotFound("there is no such page")
