"""What goes on beside a loop: calls that its turns begin and do not wait for."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """Tasks that are kept until they end. ``failed`` is told of one that raised, ``ended`` of each."""

    def __init__(self, failed: Callable[[BaseException], None], ended: Callable[[], None] = lambda: None) -> None:
        self._tasks: set[asyncio.Task[T]] = set()
        self._failed = failed
        self._ended = ended

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[asyncio.Task[T]]:
        return iter(self._tasks)

    def start(self, call: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Begin one."""
        task = asyncio.create_task(call, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    async def any_ended(self) -> None:
        """Wait until one of them has ended."""
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    async def finish(self, timeout_s: float) -> None:
        """Wait for those that are under way, at most so long."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)

    def _over(self, task: asyncio.Task[T]) -> None:
        self._tasks.discard(task)
        self._ended()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)
