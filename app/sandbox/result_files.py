"""Serve result files for links exactly as they were signed, with ranges, and with faults on demand."""

import asyncio
import random
import re
from collections import Counter
from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send

from app.sandbox import links
from app.sandbox.audio import content
from app.sandbox.state import Sandbox

_RANGE: Final = re.compile(r"bytes=(\d+)-(\d*)", re.ASCII)


class ResultFiles:
    """The ASGI app for everything under ``/files/``."""

    def __init__(self, sandbox: Sandbox, cut: Callable[[Scope], None]) -> None:
        self._sandbox = sandbox
        self._cut = cut
        self._asked: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        sandbox, path = self._sandbox, request.url.path
        item_id, _, name = path.removeprefix("/files/").partition("/")
        file = content(name.rpartition(".")[2])
        if file is None or sandbox.works.find_any(item_id) is None:
            await Response("not found", 404)(scope, receive, send)
            return
        if not links.is_valid(item_id, name, request.query_params.get("auth_key", ""), sandbox.now()):
            await Response("forbidden", 403)(scope, receive, send)
            return
        self._asked[path] += 1
        faults = sandbox.config.files
        rng = random.Random(f"{sandbox.config.seed}{path}/{self._asked[path]}")
        if rng.random() < faults.slow:
            await asyncio.sleep(faults.slow_s)
        if rng.random() < faults.error:
            await Response("bad gateway", 502)(scope, receive, send)
        elif rng.random() < faults.html:
            await HTMLResponse("<!DOCTYPE html><html><body>Something went wrong.</body></html>")(scope, receive, send)
        elif rng.random() < faults.short:
            await self._break_off(scope, receive, send, *file)
        else:
            await _answer(request.headers.get("range", ""), *file)(scope, receive, send)

    async def _break_off(self, scope: Scope, receive: Receive, send: Send, media_type: str, body: bytes) -> None:
        headers = [(b"content-type", media_type.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        await asyncio.sleep(0.05)
        self._cut(scope)
        # The server takes an app that ends before its connection for a fault, and logs it with a traceback.
        while (await receive())["type"] != "http.disconnect":
            pass


def _answer(wanted: str, media_type: str, body: bytes) -> Response:
    headers = {"Accept-Ranges": "bytes", "ETag": f'"{len(body)}"'}
    found = _RANGE.fullmatch(wanted)
    if found is None:
        return Response(body, 200, headers, media_type)
    start, end = int(found[1]), min(int(found[2] or len(body)), len(body) - 1)
    if start > end:
        return Response(status_code=416, headers=headers | {"Content-Range": f"bytes */{len(body)}"})
    headers["Content-Range"] = f"bytes {start}-{end}/{len(body)}"
    return Response(body[start : end + 1], 206, headers, media_type)
