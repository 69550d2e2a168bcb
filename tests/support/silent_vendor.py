"""A vendor that gives no answer, or one that is too much, and the call that is made of it."""

import asyncio
import json
import socket
import ssl
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx

from app.tempolor.answers import NoAnswer, Response, SubmitAnswer
from app.tempolor.client import VendorClient
from app.tempolor.exchange import exchange
from app.tempolor.kinds import KINDS
from app.wiring import default_tls_context

Talk = Callable[[StreamReader, StreamWriter, bytearray], Awaitable[None]]
"""What a server does with one connection; what it was sent is added to the last."""

BODY = {"prompt": "slow pop ballad", "callback_url": "https://gw.example/callbacks/song/x"}
ACCEPTED = json.dumps({"status": 200000, "message": "", "request_id": "r", "data": {"item_ids": ["t2m_1"]}}).encode()
MOST_BYTES = 64 * 1024


async def post(
    base_url: str, *, timeout_s: float = 2.0, most_bytes: int = MOST_BYTES, **given: Any
) -> Response | NoAnswer:
    """One call of ``exchange``, by a client of its own."""
    given.setdefault("verify", default_tls_context())
    async with httpx.AsyncClient(base_url=base_url, trust_env=False, **given) as http:
        return await exchange(http, "/song/generate", BODY, timeout_s, most_bytes)


@asynccontextmanager
async def speaking(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, bytearray]]:
    """A server that does what it is told with each connection; yields its port and all that was sent to it."""
    heard = bytearray()
    talking: set[asyncio.Task[Any]] = set()

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        if (task := asyncio.current_task()) is not None:
            talking.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await talk(reader, writer, heard)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls) as server:
        yield server.sockets[0].getsockname()[1], heard
        for task in talking:
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)


def reset(writer: StreamWriter) -> None:
    """End a connection with RST."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def hang(reader: StreamReader, writer: StreamWriter, heard: bytearray) -> None:
    while piece := await reader.read(65_536):
        heard += piece


async def say_nothing(reader: StreamReader, writer: StreamWriter, heard: bytearray) -> None:
    """Take no byte from the socket at all."""
    await asyncio.sleep(30)


def closes_after(needed: bytes, ending: Callable[[StreamWriter], None] = lambda writer: None) -> Talk:
    async def talk(reader: StreamReader, writer: StreamWriter, heard: bytearray) -> None:
        while needed not in heard:
            heard += await reader.read(65_536)
        ending(writer)

    return talk


@asynccontextmanager
async def vendor_client(base_url: str, api_key: str = "Tempo-0123") -> AsyncIterator[VendorClient]:
    client = VendorClient(base_url, api_key, default_tls_context())
    try:
        yield client
    finally:
        await client.close()


async def submit(client: VendorClient, timeout_s: float = 2) -> SubmitAnswer:
    return await client.submit(
        KINDS["song.generate"], {"prompt": "x"}, "https://gw.example/callbacks/song/x", timeout_s
    )


def unused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
