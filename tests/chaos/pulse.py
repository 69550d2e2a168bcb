"""A steady beat of callbacks and submissions, one at a time, and how long each took: who else is busy, and how much."""

import asyncio
import time
from dataclasses import dataclass, field
from itertools import count
from types import TracebackType

import httpx

from tests.chaos.load import TOKENS
from tests.chaos.processes import client


def p99(seconds: list[float]) -> float:
    """The 99th percentile."""
    return sorted(seconds)[int(len(seconds) * 0.99)]


@dataclass
class Pulse:
    """Posts callbacks that name no file, and submissions, until the block ends. Times are those of the monotonic
    clock; ``refused``: answers that were others than they should be."""

    url: str
    every_s: float = 0.02
    submit_every_s: float = 0.5
    callbacks: list[tuple[float, float]] = field(default_factory=list)
    submissions: list[tuple[float, float]] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def __aenter__(self) -> "Pulse":
        self._api = client(self.url)
        self._ending = asyncio.Event()
        self._tasks = [asyncio.create_task(one) for one in (self._call_back(), self._submit())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        await asyncio.gather(*self._tasks)
        await self._api.aclose()

    def seconds(self, since: float, until: float | None = None) -> list[float]:
        """How long the callbacks took that were posted in a time."""
        end = until or time.monotonic()
        return [took for at, took in self.callbacks if since <= at < end]

    async def _call_back(self) -> None:
        path = f"/callbacks/lyrics/{TOKENS.sign('lyrics', None)}"
        for number in count():
            item = {"item_id": f"pulse_{id(self)}_{number}", "status": "running"}
            self.callbacks.append(await self._post(path, {"lyrics": [item]}, 200))
            if await self._ends_within(self.every_s):
                return

    async def _submit(self) -> None:
        while True:
            task = {"kind": "lyrics.generate", "params": {"prompt": "rain"}}
            self.submissions.append(await self._post("/v1/tasks", task, 202))
            if await self._ends_within(self.submit_every_s):
                return

    async def _post(self, path: str, body: object, status: int) -> tuple[float, float]:
        began_at = time.monotonic()
        try:
            answer = await self._api.post(path, json=body)
            if answer.status_code != status:
                self.refused.append((answer.status_code, answer.text))
        except httpx.TransportError as error:
            self.refused.append((0, type(error).__name__))
        return began_at, time.monotonic() - began_at

    async def _ends_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._ending.wait(), seconds)
        except TimeoutError:
            return False
        return True
