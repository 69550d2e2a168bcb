"""Run background loops: a supervisor that restarts one after an exception, with heartbeats, and the tasks that an
iteration starts and does not wait for.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

import structlog

from app.errors import Unavailable
from app.runtime import metrics
from app.runtime.clock import Clock

T = TypeVar("T")


BACK_OFF_S: Final = (0.1, 10.0)

log = structlog.get_logger(__name__)

Step = Callable[[], Awaitable[float | None]]
"""One iteration of a loop. Returns seconds until the next one; None to sleep until woken, or for the idle time."""


class Background(Generic[T]):
    """Background tasks. ``failed`` is called with the exception of one that raised, ``ended`` after each."""

    def __init__(self, failed: Callable[[BaseException], None], ended: Callable[[], None] = lambda: None) -> None:
        self._tasks: set[asyncio.Task[T]] = set()
        self._failed = failed
        self._ended = ended

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[asyncio.Task[T]]:
        return iter(self._tasks)

    def start(self, call: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Start a task."""
        task = asyncio.create_task(call, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    async def any_ended(self) -> None:
        """Wait until a task has ended."""
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    async def finish(self, timeout_s: float) -> None:
        """Wait for the tasks under way, ``timeout_s`` at most."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)

    def _task_ended(self, task: asyncio.Task[T]) -> None:
        self._tasks.discard(task)
        self._ended()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)


@dataclass(slots=True)
class Loop:
    """A background loop. ``idle_s``: its longest rest between two iterations. ``delay_s``: before the first. While
    ``paused`` is true it does nothing, and is not late. ``due_at``: when an iteration is due that has not ended well
    yet, by the monotonic clock."""

    name: str
    step: Step
    idle_s: float = math.inf
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    paused: Callable[[], bool] = lambda: False
    delay_s: float = 0.0
    due_at: float = 0.0


class Supervisor:
    """Runs loops until it is stopped, and restarts those that raise, with back-off."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._loops: list[Loop] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    def start(self, loop: Loop) -> None:
        """Start a loop."""
        loop.due_at = self._clock.monotonic() + loop.delay_s
        self._loops.append(loop)
        self._tasks.append(asyncio.create_task(self._run(loop), name=f"loop {loop.name}"))

    def ages_s(self) -> dict[str, float]:
        """Seconds since an iteration of each loop was due that has not ended well yet; 0 while it rests."""
        now = self._clock.monotonic()
        return {loop.name: max(now - loop.due_at, 0.0) for loop in self._loops}

    async def stop(self, grace_s: float) -> None:
        """Stop all loops. An iteration that is under way may end within ``grace_s``, or what it has just claimed would
        be left to its lease; then it is cancelled, and its transaction rolled back."""
        self._stopping = True
        for loop in self._loops:
            loop.wake.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, loop: Loop) -> None:
        pause_s, waiting = BACK_OFF_S[0], False
        await self._rest(loop, loop.delay_s)
        while not self._stopping:
            try:
                loop.wake.clear()
                wait_s = None if loop.paused() else await loop.step()
            except Unavailable as error:
                if not waiting:
                    log.warning("loop.waits", loop=loop.name, reason=str(error))
                waiting = True
            except Exception as error:
                metrics.loop_restarts.labels(loop.name).inc()
                log.error("loop.failed", loop=loop.name, exc_info=error)
            else:
                pause_s = BACK_OFF_S[0]
                if waiting:
                    log.warning("loop.goes_on", loop=loop.name)
                waiting = False
                await self._rest(loop, loop.idle_s if wait_s is None else min(wait_s, loop.idle_s))
                continue
            await self._clock.sleep(pause_s)
            pause_s = min(pause_s * 2, BACK_OFF_S[1])

    async def _rest(self, loop: Loop, rest_s: float) -> None:
        """Wait until the next iteration is due, or the loop is woken."""
        loop.due_at = self._clock.monotonic() + rest_s
        if rest_s > 0 and not self._stopping and await self._clock.wait(loop.wake, rest_s):
            loop.due_at = self._clock.monotonic()
