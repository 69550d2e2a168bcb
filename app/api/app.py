"""The HTTP application: the callback endpoint beside everything else."""

from functools import cache
from typing import Final

from fastapi import Depends, FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import (
    actions,
    audit,
    clients,
    description,
    drift,
    health,
    inbox,
    notifications,
    problems,
    streams,
    submissions,
    tasks,
    upkeep,
)
from app.api.callbacks import PREFIX, CallbackEndpoint
from app.api.closing import closing
from app.api.parameters import only_known_parameters
from app.api.request_ids import RequestIds
from app.api.scope import SERVICES
from app.api.services import Services

_NO_TELEMETRY: Final[TelemetryConfig] = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
"""The framework's own traces and logs tell paths, inputs and the texts of exceptions; ours do not."""


def make_app(services: Services, callbacks: CallbackEndpoint, version: str) -> ASGIApp:
    """All of HTTP as one ASGI application."""
    app = RequestIds(rest_api(version), services.context.redactor.text)

    async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
        if services.health.draining:
            send = closing(send)
        # The hot path goes around the framework's middleware and routing.
        if scope["type"] == "http" and scope["path"].startswith(PREFIX):
            await callbacks(scope, receive, send)
        else:
            scope[SERVICES] = services
            await app(scope, receive, send)

    return gateway


def make_health_app(services: Services, version: str) -> ASGIApp:
    """Health and metrics alone, for a process that serves nobody."""
    api = FastAPI(
        title="TemPolor Gateway", version=version, openapi_url=None, telemetry=_NO_TELEMETRY, redirect_slashes=False
    )
    api.include_router(health.router)
    problems.install(api)
    app = RequestIds(api, services.context.redactor.text)

    async def health_alone(scope: Scope, receive: Receive, send: Send) -> None:
        scope[SERVICES] = services
        await app(scope, receive, send)

    return health_alone


@cache
def rest_api(version: str) -> FastAPI:
    """The internal REST API. It holds nothing of a gateway, whose services come with each request, and is made once in
    a process: its first request has some 60 ms of routes to work out."""
    app = FastAPI(
        title="TemPolor Gateway",
        version=version,
        summary="Submit music-generation tasks to TemPolor and read what became of them.",
        # Their pages load scripts from elsewhere; the document itself is at /openapi.json.
        docs_url=None,
        redoc_url=None,
        telemetry=_NO_TELEMETRY,
        redirect_slashes=False,
    )
    for router in (
        tasks.router,
        streams.router,
        actions.router,
        inbox.router,
        clients.router,
        notifications.router,
        audit.router,
        drift.router,
        submissions.router,
        upkeep.router,
    ):
        app.include_router(router, dependencies=[Depends(only_known_parameters)])
    app.include_router(health.router)
    problems.install(app)
    description.complete(app, description.WEBHOOK)
    return app
