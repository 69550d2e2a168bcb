"""Following tasks over Server-Sent Events: reconnects by itself, and tells each version once."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator
from typing import Final, Self

from tempolor_gateway_client import results
from tempolor_gateway_client.errors import Unavailable, UnexpectedAnswer
from tempolor_gateway_client.results import Task
from tempolor_gateway_client.retries import Outage
from tempolor_gateway_client.sse import Event
from tempolor_gateway_client.transport import Transport

MOST_REMEMBERED: Final = 10_000
"""Tasks of which a stream remembers what it told."""
RECONNECT_S: Final = 1.0
"""The pause before a new connection after one that brought nothing, unless the gateway says another."""


class Seen:
    """The newest version of each task that was told; beyond ``most``, the longest untouched are forgotten."""

    def __init__(self, most: int = MOST_REMEMBERED) -> None:
        self._versions: dict[str, int] = {}
        self._most = most

    def is_new(self, task: Task) -> bool:
        """Whether it is newer than all before; it counts as told from now on."""
        if task.version <= self._versions.get(task.id, 0):
            return False
        self._versions.pop(task.id, None)
        self._versions[task.id] = task.version
        if len(self._versions) > self._most:
            del self._versions[next(iter(self._versions))]
        return True


class TaskStream:
    """The tasks of a stream, until the gateway says that there is no more. An outage that is longer than the retries
    allow raises ``Unavailable``; other errors (a revoked key) are raised at once.

    ``position``: up to where everything was told, for another stream to go on from; what is told while it is read may
    be told again."""

    def __init__(self, transport: Transport, path: str, position: str | None = None) -> None:
        self.position = position
        self._transport = transport
        self._path = path
        self._tasks = self._follow()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Task:
        return await anext(self._tasks)

    async def aclose(self) -> None:
        """Give the connection back."""
        await self._tasks.aclose()

    async def _follow(self) -> AsyncGenerator[Task, None]:
        seen = Seen()
        pause_s = RECONNECT_S
        outage: Outage | None = None
        while True:
            is_open = brought = False
            try:
                async with self._transport.stream(self._path, self.position) as events:
                    if events is None:
                        return
                    is_open, outage = True, None
                    async for event in events:
                        task = _task_in(event)
                        if task is not None and seen.is_new(task):
                            brought = True
                            yield task
                        self.position = event.id or self.position
                        pause_s = event.retry_s or pause_s
            except Unavailable as error:
                if not is_open:
                    outage = outage or Outage(self._transport.retries)
                    await outage.pause(error)
                    continue
            # A stream that ended after it told something may have ended for good: that is asked at once.
            if not brought:
                await asyncio.sleep(pause_s * random.uniform(1.0, 1.5))


def _task_in(event: Event) -> Task | None:
    if event.type != "task" or event.data is None:
        return None
    try:
        document = json.loads(event.data)
    except ValueError as error:
        raise UnexpectedAnswer("an event is not JSON", code="unexpected_answer") from error
    return results.read(results.task, document)
