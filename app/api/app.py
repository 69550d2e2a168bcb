"""Put the HTTP application together: the callback endpoint beside the REST API."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from fastapi import Depends, FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import openapi
from app.app_context import Context
from app.archive import routes as archive_routes
from app.archive.file_store import FileStore
from app.callbacks import routes as callback_routes
from app.callbacks.endpoint import PREFIX, CallbackEndpoint
from app.clients import own_routes
from app.clients import routes as client_routes
from app.clients.auth import client_of_request
from app.clients.keys import KeyUses
from app.console import routes as console_routes
from app.console.overview_live import Overview
from app.console.session import Sessions
from app.notifications import routes as notification_routes
from app.notifications.post import WebhookSender
from app.operations import account, admin_routes
from app.operations import routes as health_routes
from app.operations.account import Account
from app.operations.health import Health
from app.reconcile import routes as reconcile_routes
from app.reconcile.refresh import Refresher
from app.runtime.concurrency_limit import ConcurrencyLimit
from app.submissions import hold_routes
from app.submissions import routes as submission_routes
from app.watching import stream_routes, task_routes
from app.watching.watch import Watch
from app.web import problems
from app.web.bodies import BodyBudget
from app.web.conditional_get import Representations
from app.web.head_requests import HeadAsGet
from app.web.parameters import only_known_parameters
from app.web.request_ids import RequestIds
from app.web.services import SERVICES
from app.web.wrong_key_limit import FailureMeter

_NO_TELEMETRY: Final[TelemetryConfig] = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
"""The framework's own traces and logs tell paths, inputs and the texts of exceptions; ours do not."""


@dataclass(slots=True)
class Services:
    """The services of one process; a route gets those that it names (``services.service``). ``heartbeat_s``: between
    two heartbeats of an idle stream. ``longest_wait_s``: how long a long poll is held at most. Proxies and balancers
    give up after 60 s: the rest is for the way there and back, and for a slow database."""

    context: Context
    account: Account
    health: Health
    refresher: Refresher
    watch: Watch
    sender: WebhookSender
    sessions: Sessions
    overview: Overview
    file_store: FileStore | None = None
    heartbeat_s: float = 15.0
    longest_wait_s: float = 55.0
    refreshes: ConcurrencyLimit = field(default_factory=lambda: ConcurrencyLimit("refreshes", 200, 0.25))
    pings: ConcurrencyLimit = field(default_factory=lambda: ConcurrencyLimit("pings", 8, 0.25))
    uploads: ConcurrencyLimit = field(default_factory=lambda: ConcurrencyLimit("uploads", 16, 0.5))
    meter: FailureMeter = field(default_factory=FailureMeter)
    key_uses: KeyUses = field(default_factory=KeyUses)
    bodies: BodyBudget = field(default_factory=BodyBudget)


class Preflights(CORSMiddleware):
    """The framework's middleware, whose refusals are a line of text: here they are problems, as every other error."""

    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        if answer.status_code != 400:
            return answer
        refusal = problems.Problem(400, "bad_request", f"{bytes(answer.body).decode()}.")
        refusal.headers.update({name: value for name, value in answer.headers.items() if name not in refusal.headers})
        return refusal


def make_app(
    services: Services, callbacks: CallbackEndpoint, version: str, browser_origins: Sequence[str] = ()
) -> ASGIApp:
    """Make the whole of HTTP as one ASGI application. ``browser_origins``: whose pages may call the internal API."""
    api: ASGIApp = HeadAsGet(Representations(rest_api(version)))
    if browser_origins:
        api = Preflights(
            api,
            browser_origins,
            allow_methods=("GET", "POST", "PATCH", "DELETE"),
            allow_headers=("Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "Last-Event-ID"),
            expose_headers=("ETag", "Idempotent-Replayed", "Location", "Retry-After", "X-Request-ID"),
        )
    app = RequestIds(api, services.context.redactor.text)

    async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
        if services.health.draining:
            send = _closing(send)
        # The hot path goes around the framework's middleware and routing.
        if scope["type"] == "http" and scope["path"].startswith(PREFIX):
            await callbacks(scope, receive, send)
        else:
            scope[SERVICES] = services
            await app(scope, receive, send)

    return gateway


def _closing(send: Send) -> Send:
    """Wrap ``send`` so that it closes the connection after the response, while a process drains. A balancer sends no
    new connections to one that is not ready; those that are kept alive go on bringing requests, and the last of them
    would be cut off by the end of the process."""

    async def send_and_close(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [pair for pair in message.get("headers", ()) if pair[0].lower() != b"connection"]
            message = {**message, "headers": [*headers, (b"connection", b"close")]}
        await send(message)

    return send_and_close


def make_health_app(services: Services, version: str) -> ASGIApp:
    """Make an application of health and metrics alone, for a worker."""
    api = FastAPI(
        title="TemPolor Gateway", version=version, openapi_url=None, telemetry=_NO_TELEMETRY, redirect_slashes=False
    )
    api.include_router(health_routes.router)
    problems.install(api)
    app = RequestIds(HeadAsGet(api), services.context.redactor.text)

    async def health_alone(scope: Scope, receive: Receive, send: Send) -> None:
        scope[SERVICES] = services
        await app(scope, receive, send)

    return health_alone


@cache
def rest_api(version: str) -> FastAPI:
    """Make the internal REST API. It keeps nothing of a gateway, whose services come with each request, and is made
    once in a process: its first request takes some 60 ms to compile the routes."""
    app = FastAPI(
        title="TemPolor Gateway",
        version=version,
        summary="Submit music-generation tasks to TemPolor and read what became of them.",
        # Their pages load scripts from elsewhere; the document itself is at /openapi.json.
        docs_url=None,
        redoc_url=None,
        telemetry=_NO_TELEMETRY,
        redirect_slashes=False,
        generate_unique_id_function=openapi.operation_id,
    )
    for router in (
        submission_routes.router,
        archive_routes.router,
        task_routes.router,
        stream_routes.router,
        reconcile_routes.router,
        own_routes.router,
        account.router,
        callback_routes.router,
        client_routes.router,
        notification_routes.router,
        admin_routes.router,
        hold_routes.router,
    ):
        # A wrong key is reported first.
        app.include_router(router, dependencies=[Depends(client_of_request), Depends(only_known_parameters)])
    app.include_router(archive_routes.links)
    app.include_router(console_routes.router)
    # These have no parameters and ignore all: balancers and monitors add their own.
    app.include_router(health_routes.router)
    problems.install(app)
    openapi.complete(app)
    return app
