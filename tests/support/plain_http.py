"""HTTP/1.1 below httpx for clients of the tests: one connection for each call at a time, kept open for the next one.

httpx's own transport takes most of a call's time for locks, scopes and a parser in Python, which a product needs that
speaks to strangers over any event loop, TLS and proxies.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import httptools
import httpx

AT_ONCE: Final = 100
"""Connections of one client, as many as httpx has by default."""
UNREAD: Final = 64 * 1024
"""Bytes of an answer that are read before anybody asks for them."""
_CUT_SHORT: Final = "peer closed connection without sending complete message body"


class PlainHttp(httpx.AsyncBaseTransport):
    """The transport of one ``httpx.AsyncClient``, for ``http`` alone."""

    def __init__(self) -> None:
        self._idle: dict[tuple[str, int], list[_Connection]] = defaultdict(list)
        self._places = asyncio.Semaphore(AT_ONCE)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert request.url.scheme == "http", "clients of the tests use TLS with httpx's own transport"
        times = request.extensions.get("timeout", {})
        await self._places.acquire()
        connection = None
        try:
            connection = await self._connect((request.url.host, request.url.port or 80), times.get("connect"))
            await connection.send(request, times.get("write"))
            await connection.wait(lambda: connection.has_head, times.get("read"), httpx.ReadTimeout)
        except BaseException:
            self._places.release()
            if connection is not None:
                await connection.end()
            raise
        return httpx.Response(
            connection.status,
            headers=connection.headers,
            stream=_Body(self, connection, times.get("read")),
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": connection.reason},
        )

    async def _connect(self, place: tuple[str, int], timeout_s: float | None) -> "_Connection":
        idle = self._idle[place]
        while idle:
            if not (connection := idle.pop()).is_over:
                return connection
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                _, connection = await loop.create_connection(lambda: _Connection(place), *place)
        except TimeoutError as error:
            raise httpx.ConnectTimeout(str(error)) from error
        except OSError as error:
            raise httpx.ConnectError(str(error)) from error
        return connection

    async def release(self, connection: "_Connection") -> None:
        """Whoever read an answer needs no more of it."""
        self._places.release()
        if connection.is_over or not connection.is_whole:
            await connection.end()
        else:
            self._idle[connection.place].append(connection)

    async def aclose(self) -> None:
        for idle in self._idle.values():
            for connection in idle:
                await connection.end()
        self._idle.clear()


class _Body(httpx.AsyncByteStream):
    def __init__(self, transport: PlainHttp, connection: "_Connection", timeout_s: float | None) -> None:
        self._transport = transport
        self._connection: _Connection | None = connection
        self._timeout_s = timeout_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self._connection is not None and (piece := await self._connection.read(self._timeout_s)):
            yield piece

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._transport.release(connection)


class _Connection(asyncio.Protocol):
    """A connection, and what its parser has found of the answer to the last request."""

    _transport: asyncio.Transport

    def __init__(self, place: tuple[str, int]) -> None:
        self.place = place
        self.is_over = False
        self._fault: httpx.TransportError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._may_write = True
        self._begin("GET")

    def _begin(self, method: str) -> None:
        self.status, self.reason = 0, b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.has_head = self.is_whole = False
        self._is_head = method == "HEAD"
        self._body = bytearray()
        self._parser = httptools.HttpResponseParser(self)

    # --- a request

    async def send(self, request: httpx.Request, timeout_s: float | None) -> None:
        """Send a request, as much of it as is taken: whoever refuses a body need not have read it."""
        self._begin(request.method)
        head = b"%s %s HTTP/1.1\r\n" % (request.method.encode(), request.url.raw_path)
        head += b"".join(b"%s: %s\r\n" % header for header in request.headers.raw) + b"\r\n"
        if isinstance(request.stream, httpx.ByteStream):
            await self._write(head + b"".join(request.stream), timeout_s)
            return
        assert isinstance(request.stream, httpx.AsyncByteStream)
        await self._write(head, timeout_s)
        is_chunked = "transfer-encoding" in request.headers
        async for piece in request.stream:
            if piece:
                await self._write(b"%x\r\n%s\r\n" % (len(piece), piece) if is_chunked else piece, timeout_s)
                await asyncio.sleep(0)
        if is_chunked:
            await self._write(b"0\r\n\r\n", timeout_s)

    async def _write(self, data: bytes, timeout_s: float | None) -> None:
        if not self.is_over:
            self._transport.write(data)
            if not self._may_write:
                await self.wait(lambda: self._may_write or self.is_over, timeout_s, httpx.WriteTimeout)

    # --- an answer

    async def read(self, timeout_s: float | None) -> bytes:
        """The next bytes of the answer's body; none at its end."""
        await self.wait(lambda: bool(self._body) or self.is_whole, timeout_s, httpx.ReadTimeout)
        piece = bytes(self._body)
        self._body.clear()
        if len(piece) >= UNREAD and not self.is_over:
            self._transport.resume_reading()
        return piece

    async def wait(
        self, is_so: Callable[[], bool], timeout_s: float | None, late: type[httpx.TimeoutException]
    ) -> None:
        """Wait until something is so. Raises ``late``, and what ended the connection before."""
        if is_so():
            return
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                while not is_so():
                    if self._fault is not None:
                        raise self._fault
                    self._waiter = loop.create_future()
                    await self._waiter
        except TimeoutError as error:
            raise late(str(error)) from error

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def end(self) -> None:
        """Close the connection; what has not been read by then is not read."""
        self.is_over = True
        self._transport.close()
        await asyncio.sleep(0)
        self._transport.abort()

    # --- what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self.is_whole:
            # Nobody has asked for anything.
            self.is_over = True
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fault = httpx.RemoteProtocolError(str(error))
            self.is_over = True
        if len(self._body) >= UNREAD:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._over(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._over(exc)

    def _over(self, error: Exception | None) -> None:
        self.is_over = True
        names = {name.lower() for name, _ in self.headers}
        if self.has_head and error is None and not names & {b"content-length", b"transfer-encoding"}:
            self.is_whole = True
        if self._fault is None and error is not None:
            self._fault = httpx.ReadError(str(error))
        elif self._fault is None:
            text = _CUT_SHORT if self.has_head else "Server disconnected without sending a response."
            self._fault = httpx.RemoteProtocolError(text)
        self._wake()

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        self._wake()

    # --- what the parser calls

    def on_status(self, status: bytes) -> None:
        self.reason += status

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self.has_head = self.status >= 200
        if self.has_head and self._is_head:
            self._is_answered()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self.has_head:
            self._is_answered()
        else:
            # "100 Continue", before the answer itself.
            self.headers, self.reason = [], b""

    def _is_answered(self) -> None:
        self.is_whole = True
        self.is_over = self.is_over or not self._parser.should_keep_alive()


def client(base_url: str, **given: Any) -> httpx.AsyncClient:
    """A client of a server on this machine; otherwise as ``httpx.AsyncClient``."""
    return httpx.AsyncClient(base_url=base_url, transport=PlainHttp(), trust_env=False, **given)
