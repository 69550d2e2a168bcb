"""A sandbox over real sockets, a caller that speaks to it, and a receiver of its callbacks."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from app.sandbox.config import SandboxConfig
from app.sandbox.run import running
from app.sandbox.state import Sandbox
from tests.support.plain_http import client as plain_client
from tests.support.virtual_time import now_s

SONG = {"prompt": "slow pop ballad, piano", "model": "tempolor-latest"}
PATHS: dict[str, tuple[str, dict[str, Any]]] = {
    "song.generate": ("/song/generate", SONG),
    "song.extend": ("/song/extend", {"item_id": "t2m_1", "start_time": 30}),
    "instrumental.generate": ("/instrumental/generate", {"prompt": "house, 120 BPM", "model": "TemPolor i4"}),
    "instrumental.extend": ("/instrumental/extend", {"item_id": "123", "start_time": 10}),
    "lyrics.generate": ("/lyrics/generate", {"prompt": "rain"}),
    "stems.create": ("/stems", {"url": "https://files.example/a.mp3"}),
    "midi.create": ("/midi", {"url": "https://files.example/a.mp3"}),
}
LIST_KEYS = {"song": "songs", "instrumental": "instrumentals", "lyrics": "lyrics", "stems": "stems", "midi": "midis"}


class Receiver:
    """Takes callbacks on a port of its own and answers as told."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.raw: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.answers: list[tuple[int, bytes]] = []
        self.wait_s = 0.0
        self.open = self.most_open = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {
                    name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)
                }
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                self.raw.append(body)
                self.times.append(now_s())
                self.headers.append(headers)
                self.bodies.append(json.loads(body) if body.startswith(b"{") else {})
                self.open += 1
                self.most_open = max(self.most_open, self.open)
                await asyncio.sleep(self.wait_s)
                self.open -= 1
                status, answer = self.answers.pop(0) if self.answers else (200, b"success")
                writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%s" % (status, len(answer), answer))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def items(self, key: str = "songs") -> list[dict[str, Any]]:
        return [item for body in self.bodies for item in body.get(key, [])]

    def events(self, key: str = "songs") -> list[str]:
        return [item.get("event", "") for item in self.items(key)]


class Caller:
    """A client of the vendor's API and of the control API."""

    def __init__(self, sandbox: Sandbox, client: httpx.AsyncClient, callback_url: str) -> None:
        self.sandbox = sandbox
        self.client = client
        self.callback_url = callback_url

    async def post(self, path: str, body: Any, **request: Any) -> httpx.Response:
        return await self.client.post(f"/open-apis/v1{path}", json=body, **request)

    async def call(self, path: str, body: Any) -> dict[str, Any]:
        answer = await self.post(path, body)
        assert answer.status_code == 200, answer.text
        parsed: dict[str, Any] = answer.json()
        return parsed

    async def submit(self, kind: str = "song.generate", **params: Any) -> list[str]:
        path, usual = PATHS[kind]
        answer = await self.call(path, {**usual, "callback_url": self.callback_url, **params})
        assert answer["status"] == 200000, answer
        item_ids: list[str] = answer["data"]["item_ids"]
        return item_ids

    async def query(self, family: str, *item_ids: str) -> list[dict[str, Any]]:
        answer = await self.call(f"/{family}/query", {"item_ids": list(item_ids)})
        assert answer["status"] == 200000, answer
        items: list[dict[str, Any]] = answer["data"][LIST_KEYS[family]]
        return items

    async def control(self, method: str, path: str, body: Any = None, expect: int = 200) -> Any:
        answer = await self.client.request(method, f"/_sandbox{path}", json=body)
        assert answer.status_code == expect, answer.text
        return answer.json()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    taken = Receiver()
    server = await asyncio.start_server(taken.serve, "127.0.0.1", 0)
    taken.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/callbacks/song/token-1"
    yield taken
    server.close()


@pytest.fixture
async def start(receiver: Receiver) -> AsyncIterator[Callable[..., Awaitable[Caller]]]:
    """Starts a sandbox with the given config fields; the clock runs four thousandfold unless said otherwise."""
    async with AsyncExitStack() as stack:

        async def begin(**config: Any) -> Caller:
            config = {"scale": 4000, **config}
            sandbox = await stack.enter_async_context(running(SandboxConfig.model_validate(config), now=now_s))
            client = await stack.enter_async_context(
                plain_client(sandbox.base_url, headers={"Authorization": sandbox.config.api_key}, timeout=5)
            )
            return Caller(sandbox, client, receiver.url)

        yield begin
