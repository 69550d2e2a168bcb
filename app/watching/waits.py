"""Long polls: requests that wait for a task, answered when it has reached what they wait for, or when time is up."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from enum import StrEnum
from itertools import islice
from typing import Final
from uuid import UUID

from app.clients.key_store import ClientKey
from app.errors import NotFound, Unauthenticated, Unavailable
from app.rules.client import Client
from app.rules.status import TASK_FINAL, TaskStatus
from app.runtime.concurrency_limit import ConcurrencyLimit
from app.tempolor.kinds import FAMILIES
from app.watching.current_documents import BATCH, Current
from app.watching.store import Head

GUARD_S: Final = 15.0
"""How much longer than its wait a request is held at most, should nothing answer it."""
LATEST_ANSWER_S: Final = 58.0
"""No request is held for longer, whatever it asked for. Proxies give up after 60 s, and take a process that lets them
wait for so long out of their turn."""


class Until(StrEnum):
    """What a request waits for."""

    PLAYABLE = "playable"
    FINAL = "final"


class _Waiter:
    """A request that waits. ``due``: it is to be answered with the task as it is. ``looked_up``: its task was read
    once."""

    __slots__ = ("answer", "client", "due", "looked_up", "until")

    def __init__(self, client: Client, until: Until, *, due: bool) -> None:
        self.client = client
        self.until = until
        self.due = due
        self.looked_up = False
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Waits:
    """The requests that wait in this process: ``waiting``, by the task. ``look_up`` is called for a task that has to be
    read soon."""

    def __init__(self, current: Current, places: ConcurrencyLimit, look_up: Callable[[UUID], None]) -> None:
        self._current = current
        self._places = places
        self._look_up = look_up
        self.waiting: dict[UUID, set[_Waiter]] = {}
        self._draining = False

    async def wait(
        self, task_id: UUID, client: Client, wait_s: float, until: Until, latest_s: float = LATEST_ANSWER_S
    ) -> bytes:
        """Wait until the task has reached ``until``, or until the time is up or the process drains; return it as JSON.
        Raises ``NotFound``, ``Unavailable`` (after ``latest_s`` at the latest), ``Unauthenticated`` (the key ended
        meanwhile)."""
        with self._places.place(client.name):
            waiter = _Waiter(client, until, due=self._draining)
            self.waiting.setdefault(task_id, set()).add(waiter)
            timer = asyncio.get_running_loop().call_later(wait_s, self._end, task_id, waiter)
            self._look_up(task_id)
            try:
                async with asyncio.timeout(min(wait_s + GUARD_S, latest_s)):
                    return await waiter.answer
            except TimeoutError:
                raise Unavailable("the task could not be read in time") from None
            finally:
                timer.cancel()
                self._leave(task_id, waiter)

    async def answer(self, woken: Collection[UUID], heads: Mapping[UUID, Head]) -> None:
        """Answer requests whose task has reached what they wait for, or that are due. Raises ``Unavailable``."""
        ready: dict[UUID, list[_Waiter]] = {}
        for task_id in woken & self.waiting.keys():
            for waiter in self.waiting[task_id]:
                head = heads.get(task_id)
                if head is None or not (waiter.client.is_admin or waiter.client.name == head.client_name):
                    waiter.fail(NotFound("there is no such task"))
                elif waiter.due or _is_reached(head, waiter.until):
                    ready.setdefault(task_id, []).append(waiter)
                else:
                    waiter.looked_up = True
        rest = iter(ready)
        while batch := list(islice(rest, BATCH)):
            # Not from the cache: the answer is the task as it is now, also in what changes without a version.
            states = await self._current.read(batch)
            for task_id in batch:
                for waiter in ready[task_id]:
                    if task_id not in states:
                        waiter.fail(NotFound("there is no such task"))
                    elif not waiter.answer.done():
                        waiter.answer.set_result(states[task_id].body)

    def fail(self, woken: Iterable[UUID], error: Exception) -> None:
        """Fail requests that must be answered now with this error, since their tasks could not be read; the others
        wait on."""
        for task_id in woken:
            for waiter in self.waiting.get(task_id, ()):
                if waiter.due or not waiter.looked_up:
                    waiter.fail(error)

    def keys(self) -> set[ClientKey]:
        """The API keys by which waiting requests came."""
        return {(waiter.client.name, waiter.client.key) for waiters in self.waiting.values() for waiter in waiters}

    def end_keys(self, ended: Collection[ClientKey]) -> None:
        """Fail requests whose API key has ended."""
        for waiters in self.waiting.values():
            for waiter in waiters:
                if (waiter.client.name, waiter.client.key) in ended:
                    waiter.fail(Unauthenticated("no client has this API key"))

    def drain(self) -> None:
        """Answer all with the task as it is, from now on."""
        self._draining = True
        for task_id, waiters in self.waiting.items():
            for waiter in waiters:
                self._end(task_id, waiter)

    def close(self) -> None:
        """Fail all that still wait: no task is read any more."""
        for waiters in self.waiting.values():
            for waiter in waiters:
                waiter.fail(Unavailable("the gateway is stopping"))

    def _end(self, task_id: UUID, waiter: _Waiter) -> None:
        waiter.due = True
        self._look_up(task_id)

    def _leave(self, task_id: UUID, waiter: _Waiter) -> None:
        waiters = self.waiting[task_id]
        waiters.discard(waiter)
        if not waiters:
            del self.waiting[task_id]


def _is_reached(head: Head, until: Until) -> bool:
    if head.status in TASK_FINAL:
        return True
    # What has no extras is final when it is playable.
    has_extras = bool(FAMILIES[head.family].shape.sub_statuses)
    return until is Until.PLAYABLE and has_extras and head.status is TaskStatus.MAIN_SUCCEEDED
