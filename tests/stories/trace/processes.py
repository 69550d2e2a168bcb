"""A gateway in the test's process that can be stopped without warning or stand still, on a clock with a fixed
beginning."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from app.database.connect import open_backend
from app.database.database import Database, Lane
from tests.support.gateway import Running, running_gateway
from tests.support.virtual_time import StillBackend, VirtualClock, VirtualLoop

BEGINNING: Final = datetime(2026, 12, 1, tzinfo=UTC)

T = TypeVar("T")


class TraceClock(VirtualClock):
    """The loop's clock, which begins at ``BEGINNING`` when it is made. It tells 10 ms at least: how many turns the loop
    takes, a microsecond each, hangs on threads."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__(loop)
        self._began = loop.elapsed

    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        return self.monotonic() - self._began

    def shown_s(self) -> float:
        """The same as ``now`` tells it."""
        return math.floor(self.elapsed_s() * 100 + 1e-4) / 100

    def now(self) -> datetime:
        return BEGINNING + timedelta(seconds=self.shown_s())


class MortalBackend(StillBackend):
    """A database that is out of reach while ``awake`` is not set: its process is frozen, or dead."""

    def __init__(self, url: str, loop: VirtualLoop) -> None:
        super().__init__(open_backend(url), loop)
        self.awake = asyncio.Event()
        self.awake.set()

    async def run(self, lane: Lane, fn: Callable[[sa.Connection], T], *, write: bool, whole: bool = True) -> T:
        await self.awake.wait()
        found = await super().run(lane, fn, write=write, whole=whole)
        await self.awake.wait()
        return found


@dataclass(frozen=True)
class Process:
    """A gateway with its loops."""

    running: Running
    backend: MortalBackend

    @property
    def is_alive(self) -> bool:
        return self.backend.awake.is_set()

    def freeze(self) -> None:
        """From now on nothing that it does is stored or read. What the kernel held for it is free, as if it were
        dead."""
        self.backend.awake.clear()
        lock = self.running.gateway.file_lock
        if lock is not None:
            lock.release()

    def thaw(self) -> None:
        """It goes on where it stood."""
        self.backend.awake.set()


@asynccontextmanager
async def process(database_url: str, clock: TraceClock, loop: VirtualLoop, **given: Any) -> AsyncIterator[Process]:
    """A started gateway, which is ended in order where it was not frozen."""
    backend = MortalBackend(database_url, loop)
    async with running_gateway(database_url, clock=clock, database=Database(backend), **given) as running:
        yield Process(running, backend)
        backend.awake.set()
