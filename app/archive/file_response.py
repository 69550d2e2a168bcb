"""Answer a file of the store over HTTP: whole or one range of it, conditionally, in bounded memory (RFC 9110)."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from app.web.problems import Problem

_RANGE: Final = re.compile(r"(\d*)-(\d*)", re.ASCII)
_MOST_DIGITS: Final = 19

Read = Callable[[int, int], AsyncGenerator[bytes, None]]
"""``(start, length)`` → the bytes, piece by piece."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as it is answered. ``etag``: a strong validator, without quotes; ``name``: for people."""

    size: int
    media_type: str
    etag: str
    name: str
    read: Read


class FileResponse(Response):
    """One file. A slow reader holds one piece of it in memory, and no connection to a database or a store."""

    def __init__(self, file: StoredFile) -> None:
        super().__init__()
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        file, asked = self._file, Headers(scope=scope)
        etag = f'"{file.etag}"'
        headers = {
            "ETag": etag,
            "Accept-Ranges": "bytes",
            "Content-Disposition": disposition(file.name, file.media_type),
            "Cache-Control": "private, max-age=3600",
            # What somebody else made is never run as a page of ours.
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "sandbox",
        }
        if (match := asked.get("if-match")) is not None and not _matches_etag(match, etag):
            refusal = Problem(412, "precondition_failed", "The file is not the one that If-Match names.")
            await refusal(scope, receive, send)
            return
        if _matches_etag(asked.get("if-none-match", "").replace("W/", ""), etag):
            await Response(status_code=304, headers=headers)(scope, receive, send)
            return
        unit, _, wanted = asked.get("range", "").partition("=")
        status, start, length = 200, 0, file.size
        # Ranges are defined for GET alone; a unit that is not known is ignored, and several ranges may be (RFC 9110,
        # 14.2): they are answered with the whole file.
        is_one = unit.lower() == "bytes" and "," not in wanted
        if is_one and scope["method"] == "GET" and asked.get("if-range", etag) == etag:
            chosen = _chosen(wanted, file.size)
            if chosen is None:
                refusal = Problem(416, "range_not_satisfiable", "One range of bytes within the file can be asked for.")
                refusal.headers["Content-Range"] = f"bytes */{file.size}"
                await refusal(scope, receive, send)
                return
            start, length = chosen
            status = 206
            headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{file.size}"
        headers |= {"Content-Type": file.media_type, "Content-Length": str(length)}
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        head: Message = {"type": "http.response.start", "status": status, "headers": raw}
        if scope["method"] == "HEAD":
            async with aclosing(file.read(0, min(file.size, 1))) as pieces:
                await anext(pieces, b"")  # a file that is missing is one for HEAD too
            await send(head)
            await send({"type": "http.response.body", "body": b""})
            return
        await self._send_bytes(start, length, head, receive, send)

    async def _send_bytes(self, start: int, length: int, head: Message, receive: Receive, send: Send) -> None:
        """Send the head and so many bytes of the file, until its reader has gone."""
        # The server drops what is sent to a reader who has gone, and does not tell.
        gone = asyncio.create_task(_disconnected(receive))
        try:
            async with aclosing(self._file.read(start, length)) as pieces:
                # The first piece before the head: a store that fails is an error still, and no file that is cut short.
                first = await anext(pieces, b"")
                await send(head)
                await send({"type": "http.response.body", "body": first, "more_body": True})
                async for piece in pieces:
                    if gone.done():
                        return
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _matches_etag(text: str, etag: str) -> bool:
    """Whether a list of entity tags names this one, or any."""
    named = [one.strip() for one in text.split(",")]
    return etag in named or "*" in named


def disposition(name: str, media_type: str) -> str:
    """``Content-Disposition``: played in place where it is audio, else saved, under a readable name (RFC 6266)."""
    plain = "".join(char if char.isascii() and char not in '"\\%' else "_" for char in name)
    kind = "inline" if media_type.startswith("audio/") else "attachment"
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _chosen(text: str, size: int) -> tuple[int, int] | None:
    """The one range that is asked for, as start and length; None for none within the file."""
    found = _RANGE.fullmatch(text.strip())
    if found is None or found[1] == found[2] == "":
        return None
    first, last = (number.lstrip("0")[:_MOST_DIGITS] or "0" if number else "" for number in found.groups())
    if first == "":
        length = min(int(last), size)
        return (size - length, length) if length else None
    start = int(first)
    end = min(int(last), size - 1) if last else size - 1
    return (start, end - start + 1) if start <= end else None
