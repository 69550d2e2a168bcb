"""Bytes as they are, to a server of the test's own limits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Self

from app.main import listen, make_server
from app.web.connections import Limits
from tests.support.gateway import Running


@asynccontextmanager
async def served(gateway: Running, limits: Limits) -> AsyncIterator[int]:
    """The gateway's whole HTTP on a port of its own, with these limits; the port."""
    listener = listen("127.0.0.1", 0)
    server = make_server(gateway.gateway.app(), host="127.0.0.1", port=0, limits=limits)
    serving = asyncio.create_task(server.serve([listener]))
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.001)
    try:
        yield int(listener.getsockname()[1])
    finally:
        server.should_exit = True
        await serving


class Line:
    """One connection. Used in ``async with``."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def send(self, data: bytes) -> None:
        """Write. Raises OSError once the other side has closed."""
        self._writer.write(data)
        await self._writer.drain()

    def send_no_more(self) -> None:
        """Close this side; the other's answers are still read."""
        self._writer.write_eof()

    async def read(self, size: int = 65536, timeout_s: float = 10) -> bytes:
        """What comes next, nothing if the other side has closed. Raises TimeoutError."""
        try:
            return await asyncio.wait_for(self._reader.read(size), timeout_s)
        except ConnectionError:
            return b""

    async def rest(self, timeout_s: float = 10) -> bytes:
        """All that comes until the other side closes. Raises TimeoutError if it does not."""
        parts: list[bytes] = []
        async with asyncio.timeout(timeout_s):
            while part := await self.read(timeout_s=timeout_s):
                parts.append(part)
        return b"".join(parts)

    async def trickle(self, data: bytes, every_s: float, timeout_s: float) -> float:
        """Send a byte at a time, again and again, until the other side has closed; the seconds that it took. Raises
        TimeoutError."""
        started = asyncio.get_running_loop().time()
        closed = asyncio.ensure_future(self.rest(timeout_s))
        try:
            async with asyncio.timeout(timeout_s):
                while not closed.done():
                    for byte in data:
                        with suppress(OSError):
                            await self.send(bytes([byte]))
                        await asyncio.wait([closed], timeout=every_s)
                        if closed.done():
                            break
            self.heard = await closed
        finally:
            closed.cancel()
        return asyncio.get_running_loop().time() - started


def status_of(answer: bytes) -> int:
    """The status of an answer."""
    return int(answer.split(b" ", 2)[1])


async def answers_of(line: Line, count: int, timeout_s: float = 20) -> list[bytes]:
    """So many answers, one after the other, each with its head and the body that its length announces."""
    found: list[bytes] = []
    heard = b""
    async with asyncio.timeout(timeout_s):
        while len(found) < count:
            head, gap, rest = heard.partition(b"\r\n\r\n")
            size = _length_of(head) if gap else 0
            if gap and len(rest) >= size:
                found.append(head + gap + rest[:size])
                heard = rest[size:]
            elif part := await line.read(timeout_s=timeout_s):
                heard += part
            else:
                raise AssertionError(f"closed after {len(found)} answers: {heard!r}")
    assert heard == b""
    return found


def _length_of(head: bytes) -> int:
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return int(lengths[0].partition(b":")[2]) if lengths else 0
