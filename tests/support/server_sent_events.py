"""Reading Server-Sent Events as a client does: the id is kept also from blocks without data."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Event:
    """``type`` is "" for a block without data. ``comments``: heartbeats."""

    type: str
    id: str | None
    data: Any
    comments: tuple[str, ...] = ()


class Events:
    """An open stream. ``last_id`` is what to resume with."""

    def __init__(self, response: httpx.Response, last_id: str | None) -> None:
        self.response = response
        self.last_id = last_id
        self._blocks = self._read()

    async def _read(self) -> AsyncIterator[Event]:
        fields: dict[str, str] = {}
        comments: list[str] = []
        async for line in self.response.aiter_lines():
            if line.startswith(":"):
                comments.append(line[1:].strip())
            elif line:
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")
            elif fields or comments:
                self.last_id = fields.get("id", self.last_id)
                data = json.loads(fields["data"]) if "data" in fields else None
                yield Event(fields.get("event", "message") if data else "", fields.get("id"), data, tuple(comments))
                fields, comments = {}, []

    def blocks(self) -> AsyncIterator[Event]:
        """Everything that comes."""
        return self._blocks

    async def next(self) -> dict[str, Any]:
        """The next task. Raises ``StopAsyncIteration`` at the end of the stream."""
        while True:
            event = await anext(self._blocks)
            if event.type == "task":
                return event.data

    async def tasks(self) -> AsyncIterator[dict[str, Any]]:
        """The tasks until the stream ends."""
        async for event in self._blocks:
            if event.type == "task":
                yield event.data


@asynccontextmanager
async def stream(
    api: httpx.AsyncClient, path: str, last_id: str | None = None, headers: dict[str, str] | None = None
) -> AsyncIterator[Events]:
    """Open a stream."""
    given = dict(headers or {}) | ({"Last-Event-ID": last_id} if last_id is not None else {})
    async with api.stream("GET", path, headers=given, timeout=30) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Events(response, last_id)
