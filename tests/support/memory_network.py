"""Connections inside one event loop that need no socket: what one end writes, the other end's protocol is given.

As with TCP, bytes arrive in order and after the call that wrote them; a reader that pauses makes the writer pause; an
orderly end arrives as EOF, an abort as a reset.
"""

import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, Final

Factory = Callable[[], asyncio.BaseProtocol]

HIGH_WATER: Final = 64 * 1024
KERNEL: Final = 64 * 1024
"""Bytes that need no reader: a connection that is closed ends when no more than so many are unread."""
PIECE: Final = 256 * 1024
"""What a protocol is given at once at most, as asyncio's own transports do."""
_END: Final = b""


class _Socket:
    """What is asked of a transport's socket: who is at its ends, and whether there is something to be read."""

    family = socket.AF_INET

    def __init__(self, transport: "MemoryTransport", here: tuple[str, int], there: tuple[str, int]) -> None:
        self._transport = transport
        self.getsockname = lambda: here
        self.getpeername = lambda: there

    def setsockopt(self, *_option: Any) -> None:
        """There is nothing to set."""

    def getsockopt(self, level: int, option: int) -> int:
        """Whether the connection is broken already; nothing else is kept."""
        return errno.ECONNRESET if (level, option) == _ERROR and self._transport.is_reset else 0

    def fileno(self) -> int:
        """A descriptor that polls as this connection's would."""
        return _READABLE if self._transport.has_unread else _QUIET


def _pipe(content: bytes) -> int:
    read_end, write_end = os.pipe()
    os.write(write_end, content)
    return read_end


_ERROR: Final = (socket.SOL_SOCKET, socket.SO_ERROR)
_QUIET: Final = _pipe(b"")
_READABLE: Final = _pipe(b"x")


class MemoryTransport(asyncio.Transport):
    """One end of a connection. ``join`` makes a pair of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, here: tuple[str, int], there: tuple[str, int]) -> None:
        super().__init__({"sockname": here, "peername": there, "socket": _Socket(self, here, there)})
        self._loop = loop
        self._peer: MemoryTransport
        self._protocol: asyncio.Protocol
        self._inbox: deque[bytes] = deque()
        self._size = 0
        self._high, self._low = HIGH_WATER, HIGH_WATER // 4
        self._paused = self._writer_paused = self._scheduled = False
        self._closing = self._lost = self._eof_sent = False
        self.is_reset = False

    @property
    def has_unread(self) -> bool:
        """Whether bytes or an end wait for the protocol."""
        return bool(self._inbox) or self._closing

    # --- writing

    def write(self, data: Any) -> None:
        if self._closing or self._eof_sent or not data:
            return
        if self._peer._lost:
            self._loop.call_soon(self._lose, BrokenPipeError("the peer has gone"))
            return
        self._peer._take(bytes(data))
        if self.get_write_buffer_size() > self._high and not self._writer_paused:
            self._writer_paused = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        if not self._eof_sent and not self._closing:
            self._eof_sent = True
            self._peer._take(_END)

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return self._peer._size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = HIGH_WATER if high is None else high
        self._low = self._high // 4 if low is None else low

    # --- reading

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._schedule()

    def is_reading(self) -> bool:
        return not self._paused and not self._closing

    def _take(self, data: bytes) -> None:
        if self._lost:
            return
        self._inbox.append(data)
        self._size += len(data)
        self._schedule()

    def _schedule(self) -> None:
        if self._inbox and not self._paused and not self._scheduled and not self._lost:
            self._scheduled = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._scheduled = False
        if self._paused or self._lost or not self._inbox:
            return
        data = self._inbox.popleft()
        while data and self._inbox and self._inbox[0] and len(data) + len(self._inbox[0]) <= PIECE:
            data += self._inbox.popleft()
        if len(data) > PIECE:
            self._inbox.appendleft(data[PIECE:])
            data = data[:PIECE]
        self._size -= len(data)
        self._peer._drained()
        if data and not self._closing:
            self._protocol.data_received(data)
        elif not data and not (self._protocol.eof_received() and not self._closing):
            self.close()
        self._schedule()

    def _drained(self) -> None:
        if self._closing and not self._lost and self.get_write_buffer_size() <= KERNEL:
            self._loop.call_soon(self._lose, None)
        if self._writer_paused and self.get_write_buffer_size() <= self._low:
            self._writer_paused = False
            self._protocol.resume_writing()

    # --- the end

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """What was written still arrives. The end waits for what a kernel would not take on."""
        if self._closing:
            return
        self.write_eof()
        self._closing = True
        if self.get_write_buffer_size() <= KERNEL:
            self._loop.call_soon(self._lose, None)

    def abort(self) -> None:
        self._closing = True
        if not self._lost:
            self._loop.call_soon(self._lose, None)
            self._loop.call_soon(self._peer._lose, ConnectionResetError("the peer reset the connection"))

    def _lose(self, error: Exception | None) -> None:
        if not self._lost:
            self._lost = self._closing = True
            self.is_reset = error is not None
            self._inbox.clear()
            self._size = 0
            self._protocol.connection_lost(error)
            # Whoever waits to write more learns with its next bytes that nobody takes them.
            self._peer._drained()

    # --- the protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol  # type: ignore[assignment]

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol


class MemoryServer(asyncio.AbstractServer):
    """What listens at a port of one loop. ``sockets`` are bound and not listened on: they reserve the port."""

    def __init__(self, loop: asyncio.AbstractEventLoop, factory: Factory, sockets: list[Any]) -> None:
        self._loop = loop
        self._factory = factory
        self.sockets = tuple(sockets)
        self.serving = True

    @property
    def ports(self) -> set[int]:
        return {sock.getsockname()[1] for sock in self.sockets}

    def connect(self, factory: Factory, host: str, port: int, client_port: int) -> tuple[Any, asyncio.BaseProtocol]:
        """A new connection to this server; the client's end."""
        here, there = (host, port), ("127.0.0.1", client_port)
        client = MemoryTransport(self._loop, there, here)
        server = MemoryTransport(self._loop, here, there)
        client._peer, server._peer = server, client
        ends = []
        for transport, make in ((client, factory), (server, self._factory)):
            protocol = make()
            transport.set_protocol(protocol)
            ends.append(protocol)
        ends[1].connection_made(server)
        ends[0].connection_made(client)
        return client, ends[0]

    def close(self) -> None:
        if self.serving:
            self.serving = False
            for sock in self.sockets:
                sock.close()
            self.sockets = ()

    def is_serving(self) -> bool:
        return self.serving

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    async def start_serving(self) -> None:
        self.serving = True

    async def serve_forever(self) -> None:
        await self._loop.create_future()

    async def wait_closed(self) -> None:
        return
