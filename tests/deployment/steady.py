"""A steady load of callbacks: so many each second, whether or not the earlier ones were answered."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import httpx

from tests.chaos.load import EVENTS, Answer, Callback
from tests.chaos.processes import client


class Steady:
    """Open loop: a slow answer delays nobody. ``answers`` is what came of each delivery, status 0 where the
    connection broke; nothing is sent twice, so each fault is seen."""

    def __init__(self, url: str, per_s: float, *, verify: bool = True) -> None:
        self.answers: list[Answer] = []
        self._url = url
        self._verify = verify
        self._every_s = 1 / per_s
        self._name = uuid4().hex
        self._open: set[asyncio.Task[None]] = set()

    @property
    def acknowledged(self) -> list[Callback]:
        return [answer.callback for answer in self.answers if answer.acknowledged]

    def others(self) -> Counter[tuple[int, str]]:
        """Every answer that was not what the vendor wants to hear."""
        return Counter((answer.status, answer.text) for answer in self.answers if not answer.acknowledged)

    async def run(self) -> None:
        """Send until canceled."""
        async with client(self._url, verify=self._verify) as api:
            number, next_at = 0, time.monotonic()
            try:
                while True:
                    item_id, event = f"t2m_{self._name}_{number // len(EVENTS)}", EVENTS[number % len(EVENTS)]
                    number += 1
                    task = asyncio.create_task(self._post(api, Callback(None, item_id, event)))
                    self._open.add(task)
                    task.add_done_callback(self._open.discard)
                    next_at += self._every_s
                    await asyncio.sleep(max(next_at - time.monotonic(), 0))
            finally:
                await asyncio.gather(*self._open)

    async def _post(self, api: httpx.AsyncClient, callback: Callback) -> None:
        began_at = time.monotonic()
        status, text = 0, ""
        try:
            got = await api.post(callback.path, content=callback.body)
            status, text = got.status_code, got.text
        except httpx.TransportError as error:
            text = type(error).__name__
        self.answers.append(Answer(callback, status, began_at, time.monotonic(), text, None))


@asynccontextmanager
async def steady_load(url: str, per_s: float, *, verify: bool = True) -> AsyncIterator[Steady]:
    """Callbacks to ``url`` until the block ends; what is under way then comes to its end."""
    steady = Steady(url, per_s, verify=verify)
    sending = asyncio.create_task(steady.run())
    try:
        yield steady
    finally:
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending
