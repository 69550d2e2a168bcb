"""What stands between a client and the gateway and breaks: a TCP proxy, and a server that answers by rote."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

PIECE_BYTES = 65536


@dataclass
class Proxy:
    """Passes bytes on to ``upstream`` (a port; None: nobody is there). ``lose``: how many answers are still to be
    lost, after the gateway gave them. ``heads``: the first bytes of each connection's first request."""

    port: int = 0
    upstream: int | None = None
    lose: int = 0
    connections: int = 0
    heads: list[str] = field(default_factory=list)
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Break all connections."""
        for writer in self._open:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.upstream is None:
            writer.transport.abort()
            return
        to_gateway = None
        self._open.add(writer)
        try:
            from_gateway, to_gateway = await asyncio.open_connection("127.0.0.1", self.upstream)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._requests(reader, to_gateway))
                group.create_task(self._answers(from_gateway, writer))
        except* (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(writer)
            for one in (writer, to_gateway):
                if one is not None:
                    one.transport.abort()

    async def _requests(self, reader: asyncio.StreamReader, to_gateway: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE_BYTES):
            self.heads.append(piece.partition(b"\r\n\r\n")[0].decode("latin-1"))
            to_gateway.write(piece)
        raise ConnectionError

    async def _answers(self, from_gateway: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await from_gateway.read(PIECE_BYTES):
            if self.lose:
                self.lose -= 1
                break
            writer.write(piece)
        raise ConnectionError


@asynccontextmanager
async def proxied(url: str | None = None, *, lose: int = 0) -> AsyncIterator[Proxy]:
    """A proxy in front of a gateway, which loses so many answers."""
    proxy = Proxy(upstream=int(url.rpartition(":")[2]) if url else None, lose=lose)
    async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as server:
        proxy.port = server.sockets[0].getsockname()[1]
        yield proxy
        proxy.cut()


def answer(status_line: str, body: str = "", *headers: str) -> bytes:
    """An answer's bytes."""
    head = [f"HTTP/1.1 {status_line}", f"Content-Length: {len(body.encode())}", *headers, "", ""]
    return "\r\n".join(head).encode() + body.encode()


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server whose connections each get the next of these answers, the last one over and over; its URL and the
    requests that it got."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            requests.append(await reader.read(PIECE_BYTES))
            writer.write(answers[min(len(requests), len(answers)) - 1])
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", requests
