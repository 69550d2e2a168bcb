"""Who looks at a page: signed in by a session cookie, whose key is looked up at each request; and the forms of whoever
changes something, which bring the session's CSRF token along."""

import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final
from urllib.parse import parse_qsl

import structlog
from fastapi import Depends, Request

from app.audit.audit import Actor
from app.clients import auth, client_rows
from app.clients.auth import TheContext
from app.clients.keys import KeyUses
from app.console.session import Sessions
from app.errors import Forbidden, InvalidRequest, Unauthenticated
from app.rules.client import Client
from app.web.bodies import body_of
from app.web.services import service

COOKIE: Final = "gateway_console"
CSRF_HEADER: Final = "x-csrf-token"
MOST_FORM_BYTES: Final = 512 * 1024
"""A task with as much as it may be given, each character written as three."""
_MOST_FIELDS: Final = 100

TheSessions = Annotated[Sessions, service("sessions")]


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks at a page, until the session ends. ``scope``: whose tasks it shows, None for everybody's."""

    client: Client
    csrf: str
    ends_at: datetime

    @property
    def scope(self) -> str | None:
        return auth.scope_of(self.client)

    @property
    def actor(self) -> Actor:
        return auth.actor_of(self.client)


async def visitor_of(
    request: Request,
    context: TheContext,
    sessions: TheSessions,
    key_uses: Annotated[KeyUses, service("key_uses")],
) -> Visitor:
    """Find who is signed in. Raises ``Unauthenticated`` where nobody is, or the key has ended since."""
    now = context.clock.now()
    session = sessions.read(request.cookies.get(COOKIE, ""), now)
    client = await context.db.read(client_rows.find_by_digest, session.key_digest, now) if session else None
    if session is None or client is None:
        raise Unauthenticated("nobody is signed in")
    key_uses.note(client, now)
    structlog.contextvars.bind_contextvars(client=client.name)
    visitor = Visitor(client, session.csrf, session.ends_at)
    request.state.visitor = visitor  # a page that tells of an error has the navigation too
    return visitor


TheVisitor = Annotated[Visitor, Depends(visitor_of)]


async def admin_of(visitor: TheVisitor) -> Visitor:
    """Find which admin is signed in. Raises ``Forbidden`` for another client."""
    if not visitor.client.is_admin:
        raise Forbidden("sign in with an admin's key to see this")
    return visitor


async def visitor_of_script(request: Request, visitor: TheVisitor) -> Visitor:
    """Find who is signed in where a script of the console calls; it brings the session's token in a header. Raises
    ``Forbidden``."""
    refuse_other_sites(request)
    check_token(request.headers.get(CSRF_HEADER, ""), visitor)
    return visitor


ScriptVisitor = Annotated[Visitor, Depends(visitor_of_script)]
AdminVisitor = Annotated[Visitor, Depends(admin_of)]


async def read_form(request: Request, most_bytes: int = MOST_FORM_BYTES) -> dict[str, str]:
    """Read a posted form; of a field that stands in it twice the last one counts. Raises ``Forbidden`` for one that
    another site's page posts, ``InvalidRequest``, and what reading a body raises."""
    refuse_other_sites(request)
    async with body_of(request, most_bytes) as raw:
        try:
            return dict(parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
        except ValueError:
            raise InvalidRequest("the form cannot be read") from None


async def form_of(request: Request, visitor: TheVisitor) -> dict[str, str]:
    """Read the form of a change, without its token. Raises ``Forbidden`` where that is not the session's."""
    form = await read_form(request)
    check_token(form.pop("csrf", ""), visitor)
    return form


def refuse_other_sites(request: Request) -> None:
    """Refuse what another site's page sends. Raises ``Forbidden``."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden("the request was made by another site")


def check_token(token: str, visitor: Visitor) -> None:
    """Refuse a CSRF token that is not the session's. Raises ``Forbidden``."""
    if not hmac.compare_digest(token.encode(), visitor.csrf.encode()):
        raise Forbidden("the page is of another session: reload it, and try again")


TheForm = Annotated[dict[str, str], Depends(form_of)]
