"""The API reference, and the API for who is signed in: `/console/api/v1/…` is `/v1/…` with the session in place of a
key. What is asked goes through the same application, so that routes, limits, streams and problems are the same.

Every call brings the session's token in a header, reads too: no link, picture or form of another site can send one.
"""

from typing import Final

from fastapi import APIRouter, Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.clients.auth import SIGNED_IN
from app.console.pages import HEADERS, HOME, PageRoute, page
from app.console.signed_in import CSRF_HEADER, ScriptVisitor, TheVisitor
from app.rules.client import Client
from app.web.head_requests import HeadAsGet

router = APIRouter(route_class=PageRoute, include_in_schema=False)
calls = APIRouter(include_in_schema=False)
"""Its errors are problems, as the API's are."""
PREFIX: Final = f"{HOME}/api"
POLICY: Final = HEADERS["Content-Security-Policy"] + "; img-src 'self' data:"
"""The stylesheet of the reference has its pictures in itself."""
_OF_THE_OUTER_ROUTE: Final = frozenset({"endpoint", "path_params", "route", "router"})
_NOT_PASSED_ON: Final = frozenset({b"authorization", b"cookie", CSRF_HEADER.encode()})


@router.get("/console/api")
async def reference(visitor: TheVisitor) -> Response:
    """The API reference, which can call what it shows."""
    shown = page("api.html", visitor=visitor, here="api", calls=PREFIX, csrf_header=CSRF_HEADER)
    shown.headers["Content-Security-Policy"] = POLICY
    return shown


@calls.api_route(PREFIX + "/v1/{path:path}", methods=["GET", "HEAD", "POST", "PATCH", "DELETE"])
async def call(request: Request, path: str, visitor: ScriptVisitor) -> Response:
    """Answer as the API does to who is signed in."""
    del path
    return _Passed(request.app, visitor.client)


class _Passed(Response):
    """What the application answers to the same request at the API's own path."""

    def __init__(self, app: ASGIApp, client: Client) -> None:
        super().__init__()
        self._app = HeadAsGet(app)
        self._client = client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = {
            **{name: value for name, value in scope.items() if name not in _OF_THE_OUTER_ROUTE},
            "path": scope["path"].removeprefix(PREFIX),
            "raw_path": scope["raw_path"].removeprefix(PREFIX.encode()),
            "headers": [(name, value) for name, value in scope["headers"] if name not in _NOT_PASSED_ON],
            SIGNED_IN: self._client,
        }
        await self._app(asked, receive, _private(send))


def _private(send: Send) -> Send:
    """Have no cache keep what a session was answered, unless the answer itself says how."""

    async def with_header(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            if not any(name == b"cache-control" for name, _ in headers):
                headers.append((b"cache-control", b"no-store"))
            message = {**message, "headers": headers}
        await send(message)

    return with_header
