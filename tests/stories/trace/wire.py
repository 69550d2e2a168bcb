"""HTTP inside the test's loop, one request a connection: a server that answers as a script says, and a client that
costs little."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What a request gets. ``label``: how the record names it. ``cut``: the connection breaks instead."""

    label: str
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


@dataclass(frozen=True)
class Response:
    """What a gateway answers."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


Answer = Callable[[Request], Awaitable[Reply]]


@contextlib.asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[int]:
    """Serve on a port of its own, which is yielded."""
    open_: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await _exchange(reader, writer, answer)
        finally:
            open_.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(open_):
            task.cancel()
        await asyncio.gather(*open_, return_exceptions=True)


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
    head = await _head(reader)
    body = await reader.readexactly(int(head.fields.get("content-length", "0")))
    reply = await answer(Request(head.first.split(" ")[1], head.fields, body))
    if reply.cut:
        writer.transport.abort()
        return
    lines = {"Content-Length": str(len(reply.body)), "Connection": "close"} | reply.headers
    first = f"HTTP/1.1 {reply.status} -\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(first.encode() + b"\r\n" + reply.body)
    await writer.drain()


async def call(
    port: int, method: str, path: str, headers: dict[str, str] | None = None, content: bytes = b""
) -> Response:
    """One request to a server of this machine."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = {"Host": f"127.0.0.1:{port}", "Connection": "close", "Content-Length": str(len(content))} | (headers or {})
    first = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(first.encode() + b"\r\n" + content)
    head = await _head(reader)
    body = await reader.readexactly(int(head.fields.get("content-length", "0")))
    writer.close()
    return Response(int(head.first.split(" ")[1]), head.fields, body)


@dataclass(frozen=True)
class _Head:
    first: str
    fields: dict[str, str]


async def _head(reader: asyncio.StreamReader) -> _Head:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    return _Head(first, {name.lower(): value for name, value in (line.split(": ", 1) for line in lines if line)})
