"""Render the console's pages and errors, with the headers that keep whatever is in them from acting."""

import asyncio
import gzip
import hashlib
import time
from collections.abc import Callable, Coroutine
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader
from starlette.responses import HTMLResponse, RedirectResponse

from app.console import phrases, text
from app.errors import Forbidden, GatewayError, InvalidRequest, Unauthenticated
from app.rules.times import rfc3339
from app.web import problems

HOME: Final = "/console"
SIGN_IN: Final = "/console/sign-in"
HEADERS: Final = {
    # Sound comes from wherever the vendor keeps it; all else is ours.
    "Content-Security-Policy": "default-src 'self'; media-src *; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_HERE: Final = Path(__file__).parent
_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
SLICE_S: Final = 0.002
"""For so long the event loop may stand still for a page that nobody waits for."""
FROM_HTMX: Final = "hx-request"


@cache
def assets() -> dict[str, tuple[str, bytes]]:
    """The files of pages: their types and contents by the path that a page names. A digest in it makes it another
    path for another content, so that browsers may keep each for good."""
    found = {}
    for path in sorted((_HERE / "assets").iterdir()):
        if (media_type := _TYPES.get(path.suffix)) is not None:
            content = path.read_bytes()
            found[f"{hashlib.sha256(content).hexdigest()[:16]}/{path.name}"] = (media_type, content)
    return found


@cache
def packed_asset(path: str) -> bytes:
    """A file of pages as gzip. What is large takes a tenth of a second the first time."""
    return gzip.compress(assets()[path][1], mtime=0)


@cache
def _asset_url(name: str) -> str:
    return f"{HOME}/assets/{next(path for path in assets() if path.endswith('/' + name))}"


@cache
def _templates() -> Environment:
    # Everything is escaped, whatever a template is called. What a document leaves out is shown as nothing.
    made = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        finalize=text.visible,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(asset=_asset_url, phrases=phrases)
    made.filters.update(
        attributes=text.attributes,
        clock=text.clock,
        coded=text.coded,
        indented=text.indented,
        json=text.pretty,
        clock_utc=lambda at: f"{at:%H:%M}",
        percent=lambda value: f"{value:.2f}%",
        part=lambda value: quote(str(value), safe=""),
        short=text.short,
        since=text.since,
        size=text.size,
        stamp=rfc3339,
        warning=phrases.warning,
        when=text.when,
    )
    made.tests.update(link=text.is_link)
    return made


def render(template: str, /, **values: Any) -> str:
    """Render a template."""
    return _templates().get_template(template).render(values)


async def render_in_slices(template: str, /, **values: Any) -> str:
    """Render a large template a few milliseconds at a time, and serve others in between."""
    pieces, began = [], time.perf_counter()
    for piece in _templates().get_template(template).generate(values):
        pieces.append(piece)
        if time.perf_counter() - began > SLICE_S:
            await asyncio.sleep(0)
            began = time.perf_counter()
    return "".join(pieces)


def page(template: str, /, status: int = 200, **values: Any) -> Response:
    """Answer with a page, or with a part of one. ``visitor``: who sees it; ``here``: its entry in the navigation."""
    return HTMLResponse(render(template, **{"visitor": None, "here": "", "notice": None} | values), status, HEADERS)


def see(path: str) -> Response:
    """Have the browser show another page after a change."""
    return RedirectResponse(path, HTTPStatus.SEE_OTHER, HEADERS)


class PageRoute(APIRoute):
    """A route whose errors are pages, and which asks whoever has not signed in to do so."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except Unauthenticated:
                return _to_sign_in(request)
            except GatewayError as error:
                return error_page(error, getattr(request.state, "visitor", None))

        return answer


def error_page(error: GatewayError, visitor: Any = None) -> Response:
    """Show an error, with the status and the headers that its problem has. ``visitor``: who is signed in, if known."""
    problem = problems.of_error(error)
    faults = error.faults if isinstance(error, InvalidRequest) else ()
    title = "This is for admins" if isinstance(error, Forbidden) else problems.phrase_of(problem.status_code)
    shown = page("error.html", problem.status_code, visitor=visitor, title=title, detail=error.detail, faults=faults)
    for name in ("retry-after", "connection"):
        if name in problem.headers:
            shown.headers[name] = problem.headers[name]
    return shown


def _to_sign_in(request: Request) -> Response:
    if FROM_HTMX in request.headers:
        # A part of a page cannot hold the form: the whole page goes there.
        return Response(headers={**HEADERS, "HX-Redirect": SIGN_IN})
    back = f"?next={quote(request.url.path)}" if request.method == "GET" and request.url.path != HOME else ""
    return see(SIGN_IN + back)
