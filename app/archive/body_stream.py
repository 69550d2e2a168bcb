"""Read a long body from its connection, past the HTTP parser: parsing copies each byte several times in the event loop,
and httpcore reads few bytes at once, since heads can be many and small (see ``notifications/post``)."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from typing import Any, Final

import httpcore

from app.runtime.egress import EgressGuard

HEAD_BYTES: Final = 4096
_READ_BYTES: Final = 256 * 1024
"""What the event loop takes from a socket at once."""
_BLANK_LINE: Final = re.compile(rb"\n\r?\n")
"""What ends a head, as h11 reads it."""


class BodyStream(httpcore.AsyncNetworkStream):
    """A connection that gives the parser one head at a time, and nothing of what follows it. ``body`` reads that."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._unread = b""
        self._end = b""
        self._is_body = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Bytes for the parser."""
        data, self._unread = self._unread, b""
        if data:
            # Thousands of heads may have come at once: others have their turn between them.
            await asyncio.sleep(0)
        else:
            data = await self._stream.read(max_bytes if self._is_body else min(max_bytes, HEAD_BYTES), timeout)
        if self._is_body:
            return data
        end = _BLANK_LINE.search(self._end + data)
        if end is not None:
            length = end.end() - len(self._end)
            data, self._unread = data[:length], data[length:]
        self._end = b"" if end is not None else (self._end + data)[-2:]
        return data

    def end_head(self) -> None:
        """Give the parser the body too: it is chunked."""
        self._is_body = True

    async def body(self, length: int, timeout: float) -> AsyncIterator[bytes]:
        """So many bytes, as they come, after the parser was given all heads. ``timeout``: seconds for each read. Raises
        what httpcore raises."""
        piece, self._unread = self._unread[:length], b""
        while True:
            if piece:
                length -= len(piece)
                yield piece
            if not length:
                return
            piece = await self._stream.read(min(length, _READ_BYTES), timeout)
            if not piece:
                raise httpcore.RemoteProtocolError("the connection was closed in the middle of a body")

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> "BodyStream":
        return BodyStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class BodyGuard(EgressGuard):
    """The guard, with connections whose bodies can be read directly."""

    async def connect_tcp(self, *arguments: Any, **options: Any) -> BodyStream:
        return BodyStream(await super().connect_tcp(*arguments, **options))
