"""What the routes work with, and who is asking. In the scope of each request; routes get it by dependency."""

from dataclasses import dataclass, field
from typing import Annotated, Final

import structlog
from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from app.api.bodies import BodyBudget
from app.api.meter import FailureMeter
from app.api.scope import SERVICES
from app.caller.post import Caller as Poster
from app.domain.client import Client
from app.errors import Forbidden, Unauthenticated
from app.flows import clients
from app.flows.client_keys import KeyUses
from app.flows.context import Context
from app.flows.health import Health
from app.flows.places import Places
from app.flows.read import Account
from app.flows.refresh import Refresher
from app.flows.watch import Watch


@dataclass(slots=True)
class Services:
    """One process's flows, as the routes use them. ``heartbeat_s``: between two signs of life of a quiet stream.
    ``longest_wait_s``: how long an answer is held at most. Proxies and balancers give up after 60 s: one that is held
    as long as that comes too late, and a proxy may take the process for dead."""

    context: Context
    account: Account
    health: Health
    refresher: Refresher
    watch: Watch
    caller: Poster
    heartbeat_s: float = 15.0
    longest_wait_s: float = 58.0
    refreshes: Places = field(default_factory=lambda: Places("refreshes", 200, 0.25))
    pings: Places = field(default_factory=lambda: Places("pings", 8, 0.25))
    meter: FailureMeter = field(default_factory=FailureMeter)
    key_uses: KeyUses = field(default_factory=KeyUses)
    bodies: BodyBudget = field(default_factory=BodyBudget)


# Not a plain function: FastAPI runs those in a thread, for each request.
async def services(request: Request) -> Services:
    """The process's services."""
    found: Services = request.scope[SERVICES]
    return found


TheServices = Annotated[Services, Depends(services)]
_bearer = HTTPBearer(auto_error=False, description="An API key, as `clients create` shows it once.")


async def caller(request: Request, given: TheServices, _documented: Annotated[object, Depends(_bearer)]) -> Client:
    """The client whose key the request carries. Raises ``Unauthenticated``, ``TooManyFailures``."""
    api_key = _bearer_key(request)
    context = given.context
    client = await clients.find_by_key(context.db, context.clock, api_key) if api_key else None
    if client is None:
        given.meter.fail(request.client.host if request.client else None)
        raise Unauthenticated("the request carries no API key" if not api_key else "nobody has this API key")
    given.key_uses.note(client, context.clock.now())
    structlog.contextvars.bind_contextvars(client=client.name, **_named(request))
    return client


async def admin(client: Annotated[Client, Depends(caller)]) -> Client:
    """The caller, who must be an admin. Raises ``Forbidden``."""
    if not client.is_admin:
        raise Forbidden("this is an admin's")
    return client


_IDS: Final = frozenset({"task_id", "item_id", "callback_id", "notification_id"})
MOST_ID_CHARS: Final = 64
Caller = Annotated[Client, Depends(caller)]
Admin = Annotated[Client, Depends(admin)]


def scope_of(client: Client) -> str | None:
    """Whose tasks a client sees: its own, or (None) all."""
    return None if client.is_admin else client.name


def _named(request: Request) -> dict[str, str]:
    """The ids in a request's path, for its log lines."""
    named = {name: str(value) for name, value in request.path_params.items() if name in _IDS}
    return {name: value[:MOST_ID_CHARS] for name, value in named.items()}


def _bearer_key(request: Request) -> str | None:
    # Keys are any printable text, so the header is read as bytes, which the framework takes for Latin-1.
    for name, value in request.scope["headers"]:
        if name == b"authorization":
            scheme, _, key = value.strip().partition(b" ")
            if scheme.lower() == b"bearer":
                return key.strip().decode("utf-8", "replace") or None
    return None
