"""Requests that wait for a task: each is answered when the task is as it wants it, or when its time is up."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from enum import StrEnum
from itertools import islice
from typing import Final
from uuid import UUID

from app.clients.key_store import HeldKey
from app.errors import NotFound, Unauthenticated, Unavailable
from app.rules.client import Client
from app.rules.status import TASK_FINAL, TaskStatus
from app.runtime.concurrency_limit import ConcurrencyLimit
from app.tempolor.kinds import FAMILIES
from app.watching.current import BATCH, Current
from app.watching.store import Head

GUARD_S: Final = 15.0
"""How much longer than it asked for a request waits at most, should nobody answer it."""


class Until(StrEnum):
    """What a request waits for."""

    PLAYABLE = "playable"
    FINAL = "final"


class _Waiter:
    """A request that waits. ``due``: it is to be answered with the task as it is. ``known``: it was looked up once."""

    __slots__ = ("answer", "client", "due", "known", "until")

    def __init__(self, client: Client, until: Until, *, due: bool) -> None:
        self.client = client
        self.until = until
        self.due = due
        self.known = False
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Waits:
    """``look_up`` is called for a task that has to be looked up soon."""

    def __init__(self, current: Current, places: ConcurrencyLimit, look_up: Callable[[UUID], None]) -> None:
        self._current = current
        self._places = places
        self._look_up = look_up
        self._waiting: dict[UUID, set[_Waiter]] = {}
        self._draining = False

    @property
    def task_ids(self) -> Collection[UUID]:
        """The tasks that are waited for."""
        return self._waiting.keys()

    async def wait(self, task_id: UUID, client: Client, wait_s: float, until: Until) -> bytes:
        """The task as JSON: as soon as it is as wanted, or as it is when the time is up or the process drains.
        Raises ``NotFound``, ``Unavailable``, ``Unauthenticated`` (the key ended meanwhile)."""
        with self._places.place(client.name):
            waiter = _Waiter(client, until, due=self._draining)
            self._waiting.setdefault(task_id, set()).add(waiter)
            timer = asyncio.get_running_loop().call_later(wait_s, self._end, task_id, waiter)
            self._look_up(task_id)
            try:
                async with asyncio.timeout(wait_s + GUARD_S):
                    return await waiter.answer
            except TimeoutError:
                raise Unavailable("the task could not be read in time") from None
            finally:
                timer.cancel()
                self._leave(task_id, waiter)

    async def answer(self, woken: Collection[UUID], heads: Mapping[UUID, Head]) -> None:
        """Answer those who wait for these tasks and have waited enough. Raises ``Unavailable``."""
        ready: dict[UUID, list[_Waiter]] = {}
        for task_id in woken & self._waiting.keys():
            for waiter in self._waiting[task_id]:
                head = heads.get(task_id)
                if head is None or not (waiter.client.is_admin or waiter.client.name == head.client_name):
                    waiter.fail(NotFound("there is no such task"))
                elif waiter.due or _is_reached(head, waiter.until):
                    ready.setdefault(task_id, []).append(waiter)
                else:
                    waiter.known = True
        rest = iter(ready)
        while some := {task_id: heads[task_id].version for task_id in islice(rest, BATCH)}:
            found = await self._current.at_least(some)
            for task_id in some:
                for waiter in ready[task_id]:
                    if task_id not in found:
                        waiter.fail(NotFound("there is no such task"))
                    elif not waiter.answer.done():
                        waiter.answer.set_result(found[task_id].body)

    def fail(self, woken: Iterable[UUID], error: Exception) -> None:
        """The tasks could not be looked up: who must be answered now gets this error, the others wait on."""
        for task_id in woken:
            for waiter in self._waiting.get(task_id, ()):
                if waiter.due or not waiter.known:
                    waiter.fail(error)

    def keys(self) -> set[HeldKey]:
        """The clients whose requests wait, each with the key by which it came."""
        return {(one.client.name, one.client.key) for waiters in self._waiting.values() for one in waiters}

    def end_keys(self, ended: Collection[HeldKey]) -> None:
        """These keys have ended."""
        for waiters in self._waiting.values():
            for waiter in waiters:
                if (waiter.client.name, waiter.client.key) in ended:
                    waiter.fail(Unauthenticated("nobody has this API key"))

    def drain(self) -> None:
        """Have all answered with the task as it is, from now on."""
        self._draining = True
        for task_id, waiters in self._waiting.items():
            for waiter in waiters:
                self._end(task_id, waiter)

    def close(self) -> None:
        """Nobody looks anything up any more."""
        for waiters in self._waiting.values():
            for waiter in waiters:
                waiter.fail(Unavailable("the gateway is stopping"))

    def _end(self, task_id: UUID, waiter: _Waiter) -> None:
        waiter.due = True
        self._look_up(task_id)

    def _leave(self, task_id: UUID, waiter: _Waiter) -> None:
        waiters = self._waiting[task_id]
        waiters.discard(waiter)
        if not waiters:
            del self._waiting[task_id]


def _is_reached(head: Head, until: Until) -> bool:
    if head.status in TASK_FINAL:
        return True
    # What has no extras is final when it is playable.
    has_extras = bool(FAMILIES[head.family].shape.sub_statuses)
    return until is Until.PLAYABLE and has_extras and head.status is TaskStatus.MAIN_SUCCEEDED
