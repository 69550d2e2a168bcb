"""Answer HEAD where GET is answered, as RFC 9110 (9.1) asks: monitors and link checkers begin with it."""

import re
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

_STREAM: Final = re.compile(r"/v1/(?:tasks/[^/]+/)?stream")
_FILE: Final = re.compile(r"/v1/items/.+/artifacts/[^/]+(?:/members/.+)?")
HEALTH_PATHS: Final = frozenset({"/healthz", "/readyz", "/backlog", "/metrics"})
"""What monitors ask for, of a process in whatever state it is."""
_OPEN: Final = HEALTH_PATHS | {"/openapi.json"}


def is_stream(path: str) -> bool:
    """Whether it is a stream of events. It has no length and no end, so HEAD would tell nothing of it and is 405."""
    return _STREAM.fullmatch(path) is not None


class HeadAsGet:
    """Middleware that runs a HEAD as the GET of the same path. The server leaves out the body, since the scope that it
    made of the request stays as it is. Files have routes of their own for HEAD, which do not read them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD" or not _is_run_as_get(scope["path"]):
            await self._app(scope, receive, send)
            return
        as_get = {**scope, "method": "GET"}
        try:
            await self._app(as_get, receive, send)
        finally:
            # For the metrics and the log, which are written around this.
            scope["route"] = as_get.get("route")


def _is_run_as_get(path: str) -> bool:
    return path in _OPEN or (path.startswith("/v1/") and not is_stream(path) and _FILE.fullmatch(path) is None)
