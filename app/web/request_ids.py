"""Give each request an id, in its logs and in its response, and a span; a middleware around all but callbacks."""

import asyncio
import re
import time
import uuid
from collections.abc import Callable
from typing import Any, Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.runtime import metrics, traces

HEADER: Final = b"x-request-id"
_WELL_FORMED: Final = re.compile(rb"[A-Za-z0-9._:/+=-]{1,100}")
"""As long as the audit keeps it."""
ARRIVED_AT: Final = "gateway.arrived_at"
"""In the scope of each request: the time of the loop at which it came."""
LONG_POLL: Final = "/v1/tasks/{task_id}"
TRACED: Final = "/v1/"
"""Routes for clients; requests for health and metrics are frequent and not worth a span."""

log = structlog.get_logger(__name__)


class RequestIds:
    """Middleware that takes ``X-Request-ID`` from the caller if it is well-formed and holds no secret of ours, else
    makes one, and returns it. A caller's ``traceparent`` is continued: these routes are internal."""

    def __init__(self, app: ASGIApp, redact: Callable[[str], str] = str) -> None:
        self._app = app
        self._redact = redact

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope[ARRIVED_AT] = asyncio.get_running_loop().time()
        request_id = id_of(scope["headers"])
        if self._redact(request_id) != request_id:
            request_id = uuid.uuid4().hex
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        if traces.is_on() and scope["path"].startswith(TRACED):
            parent = _header(scope["headers"], b"traceparent")
            with traces.span(scope["method"], parent=parent, kind="server", request_id=request_id) as span:
                status = await self._answer(scope, receive, send, request_id)
                span.rename(f"{scope['method']} {route_of(scope)}")
                span.note(**{"http.route": route_of(scope), "http.response.status_code": status})
                if status >= 500:
                    span.fail(str(status))
        else:
            await self._answer(scope, receive, send, request_id)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> int:
        """Run the application; returns the status, 0 if there was no response."""
        started = time.perf_counter()
        status, seconds = 0, None

        async def with_id(message: Message) -> None:
            nonlocal status, seconds
            if message["type"] == "http.response.start":
                status, seconds = message["status"], time.perf_counter() - started
                message["headers"] = [*message.get("headers", ()), (HEADER, request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, with_id)
        finally:
            method, route = scope["method"], route_of(scope)
            # One that holds its response on purpose is measured apart.
            is_long_poll = route == LONG_POLL and b"wait=" in scope["query_string"]
            metrics.note_request(method, f"{route}?wait" if is_long_poll else route, status, seconds)
            ms = round((time.perf_counter() - started) * 1000, 1)
            log.debug("request", method=method, route=route, status=status, ms=ms)
        return status


def id_of(headers: Any) -> str:
    """The caller's id for a request if it is well-formed, else a new one."""
    sent = _header(headers, HEADER)
    if sent is not None and _WELL_FORMED.fullmatch(sent.encode("latin-1")):
        return sent
    return uuid.uuid4().hex


def _header(headers: Any, wanted: bytes) -> str | None:
    for name, value in headers:
        if name == wanted:
            return str(value.strip().decode("latin-1"))
    return None


def route_of(scope: Scope) -> str:
    """The template of a request's route, for logs, traces and metrics: the path itself may hold a secret."""
    return str(getattr(scope.get("route"), "path", "unknown"))
