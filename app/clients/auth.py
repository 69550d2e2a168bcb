"""Authenticate requests by API key, and authorize clients and admins."""

from typing import Annotated, Final

import structlog
from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from structlog.contextvars import get_contextvars

from app.app_context import Context
from app.audit.audit import Actor
from app.clients import client_rows, tickets
from app.clients.keys import KeyUses
from app.errors import Forbidden, Unauthenticated
from app.rules.client import Client
from app.web.services import SERVICES, service
from app.web.wrong_key_limit import FailureMeter, address_of


def actor_of(client: Client) -> Actor:
    """The client as an actor of the audit log, with the request's id as in the log and the answer."""
    return Actor(client.name, get_contextvars().get("request_id"))


TheContext = Annotated[Context, service("context")]
_bearer = HTTPBearer(auto_error=False)


async def client_of_request(request: Request, _documented: Annotated[object, Depends(_bearer)]) -> Client:
    """Authenticate a request by its bearer key, one for a stream also by its ticket. Raises ``Unauthenticated``,
    ``TooManyFailures``."""
    # Not as dependencies: the framework would solve each of them twice for every request.
    services = request.scope[SERVICES]
    context: Context = services.context
    meter: FailureMeter = services.meter
    key_uses: KeyUses = services.key_uses
    try:
        client = await _client_of(request, context)
    except Unauthenticated:
        meter.fail(address_of(request.scope))
        raise
    key_uses.note(client, context.clock.now())
    ids = {name: str(value)[:MOST_ID_CHARS] for name, value in request.path_params.items() if name in _IDS}
    structlog.contextvars.bind_contextvars(client=client.name, **ids)
    return client


async def _client_of(request: Request, context: Context) -> Client:
    signed_in: Client | None = request.scope.get(SIGNED_IN)
    if signed_in is not None:
        return signed_in
    api_key = _bearer_key(request)
    if api_key is None and (ticket := request.query_params.get("ticket")) and request.url.path.endswith(_STREAM):
        return await tickets.redeem(context.db, context.clock, ticket, tickets.STREAM)
    if api_key is None:
        raise Unauthenticated("the request carries no API key")
    # Never cached, so that a revoked key is refused everywhere at once.
    client = await context.db.read(client_rows.find_by_digest, client_rows.key_digest(api_key), context.clock.now())
    if client is None:
        raise Unauthenticated("no client has this API key")
    return client


async def admin(client: Annotated[Client, Depends(client_of_request)]) -> Client:
    """Authenticate a request of an admin. Raises ``Forbidden``."""
    if not client.is_admin:
        raise Forbidden("this needs an admin's key")
    return client


SIGNED_IN: Final = "gateway.signed_in"
"""Where the ASGI scope of a call that the console passes on holds the client whose session it came with."""
_STREAM: Final = "/stream"
_IDS: Final = frozenset({"task_id", "item_id", "callback_id", "notification_id"})
"""Parameters of paths that are in the log lines of a request."""
MOST_ID_CHARS: Final = 64
TheClient = Annotated[Client, Depends(client_of_request)]
TheAdmin = Annotated[Client, Depends(admin)]


def scope_of(client: Client) -> str | None:
    """The client whose tasks a client may see: itself, or None for all."""
    return None if client.is_admin else client.name


def _bearer_key(request: Request) -> str | None:
    # Keys are any printable text, so the header is read as bytes, which the framework takes for Latin-1.
    for name, value in request.scope["headers"]:
        if name == b"authorization":
            scheme, _, key = value.strip().partition(b" ")
            if scheme.lower() == b"bearer":
                return key.strip().decode("utf-8", "replace") or None
    return None
