"""Answer a GET as its reader wants it: 304 where it has the same already (``ETag``, ``If-None-Match``), else gzip.

Only JSON that is answered in one piece, and only reads: an answer with a secret in it is one to a POST, and would tell
its length compressed beside what somebody else chose.
"""

import asyncio
import gzip
import hashlib
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LEAST_BYTES: Final = 1024
"""Less is not made smaller by much."""
BESIDE_LOOP_BYTES: Final = 64 * 1024
"""What is larger is compressed in a thread: a page of megabytes takes some 50 ms."""
LEVEL: Final = 4


class Representations:
    """The middleware. What is no JSON, no 200, or comes in pieces passes through untouched."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope)
        start: Message | None = None

        async def represent(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_json(message):
                start = message
            elif start is not None and message["type"] == "http.response.body":
                held, start = start, None
                body = message.get("body", b"")
                if not message.get("more_body", False):
                    body = await _represent(asked, held, body)
                await send(held)
                await send({**message, "body": body})
            else:
                await send(message)

        await self._app(scope, receive, represent)


async def _represent(asked: Headers, start: Message, body: bytes) -> bytes:
    """Complete the head of an answer, and return its body as it is sent."""
    headers = MutableHeaders(raw=list(start["headers"]))
    # Weak: the same document in two encodings has one tag.
    etag = f'W/"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
    headers["etag"] = etag
    headers.add_vary_header("Accept-Encoding")
    if _matches(asked.get("if-none-match", ""), etag):
        start["status"] = 304
        body = b""
        del headers["content-length"], headers["content-type"]
    else:
        if len(body) >= LEAST_BYTES and accepts_gzip(asked.get("accept-encoding", "")):
            if len(body) > BESIDE_LOOP_BYTES:
                body = await asyncio.to_thread(gzip.compress, body, LEVEL, mtime=0)
            else:
                body = gzip.compress(body, LEVEL, mtime=0)
            headers["content-encoding"] = "gzip"
        headers["content-length"] = str(len(body))
    start["headers"] = headers.raw
    return body


def _is_json(start: Message) -> bool:
    if start["status"] != 200:
        return False
    headers = Headers(raw=start["headers"])
    return headers.get("content-type", "").startswith("application/json") and "content-encoding" not in headers


def _matches(if_none_match: str, etag: str) -> bool:
    """Whether a reader names this tag; compared weakly, as RFC 9110 says of If-None-Match."""
    named = {one.strip().removeprefix("W/") for one in if_none_match.split(",")}
    return "*" in named or etag.removeprefix("W/") in named


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether a reader takes gzip, by its ``Accept-Encoding``."""
    for offer in accept_encoding.lower().split(","):
        coding, _, quality = offer.partition(";")
        if coding.strip() in ("gzip", "x-gzip", "*"):
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
