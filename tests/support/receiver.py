"""A receiver of notifications on a real socket, which answers what a test tells it to, byte for byte."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from app.notifications.post import WebhookSender
from app.runtime.egress import EgressPolicy
from app.runtime.signing import Signed
from app.wiring import default_tls_context

CERTIFICATE = Path(__file__).with_name("receiver.pem")
"""Self-signed, for the name ``receiver.test`` alone, from 2020 to 2120; with its key, which protects nothing."""
MESSAGE = Signed({"webhook-id": "0192-a"}, b'{"type":"task.succeeded"}')

Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


def plain(status_line: str, *headers: str, body: bytes = b"") -> Reply:
    """An ordinary answer."""
    lines = [f"HTTP/1.1 {status_line}", f"Content-Length: {len(body)}", *headers, "", ""]

    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join(lines).encode("latin-1") + body)

    return reply


def raw(content: bytes) -> Reply:
    """Any bytes, then the end of the connection."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(content)

    return reply


def endless(head: bytes, piece: bytes, every_s: float = 0.0) -> Reply:
    """A beginning, then the same piece for ever."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(every_s)

    return reply


OK = plain("200 OK", body=b"thanks")


@dataclass
class Receiver:
    """What a receiver saw. ``connections`` counts those that were made; ``left`` is set once one is over."""

    port: int = 0
    connections: int = 0
    targets: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, host: str = "127.0.0.1", path: str = "/hook", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    async def take(self, reader: asyncio.StreamReader) -> None:
        """Read one request and note it."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)}
        self.targets.append(head[0].split(" ")[1])
        self.headers.append(headers)
        self.bodies.append(await reader.readexactly(int(headers.get("content-length", "0"))))


@asynccontextmanager
async def receiving(
    reply: Reply = OK, tls: ssl.SSLContext | None = None, hosts: tuple[str, ...] = ("127.0.0.1",)
) -> AsyncIterator[Receiver]:
    """A receiver that listens on one port of all ``hosts``."""
    seen = Receiver()
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await seen.take(reader)
                await reply(writer)
                await writer.drain()
            seen.left.set()
        finally:
            writer.close()

    async with await asyncio.start_server(serve, hosts[0], 0, ssl=tls) as server, AsyncExitStack() as others:
        seen.port = server.sockets[0].getsockname()[1]
        for host in hosts[1:]:
            await others.enter_async_context(await asyncio.start_server(serve, host, seen.port, ssl=tls))
        yield seen
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


@contextmanager
def calling(*, allow_private: bool = True, networks: Sequence[str] = (), **given: Any) -> Iterator[WebhookSender]:
    """A sender that may reach this machine, unless told otherwise."""
    policy = EgressPolicy(allow_private, tuple(map(ip_network, networks)))
    caller = WebhookSender(policy, **{"timeout_s": 5.0, "tls": default_tls_context(), **given})
    try:
        yield caller
    finally:
        caller.close()


class Resolver:
    """A name server that a test makes up: the addresses of its next answer, the last one over and over."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(
        self, host: str, port: int, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        self.asked.append(host)
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [(0, type, proto, "", (address, port)) for address in addresses]
