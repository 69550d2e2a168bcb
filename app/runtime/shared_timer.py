"""Time out many waits of the same length with one timer.

A timer of the event loop for each callback, or a time-out context, costs more than to hash its body.
"""

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Deadlines(Generic[T]):
    """Calls ``give_up`` for each waiter that is not removed within ``timeout_s``. All have the same time-out, so they
    expire in the order in which they were added, and only the first needs a timer. Belongs to one event loop."""

    def __init__(self, timeout_s: float, give_up: Callable[[T], None]) -> None:
        self._timeout_s = timeout_s
        self._give_up = give_up
        self._due: dict[T, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, waiter: T) -> None:
        """Start a waiter's time-out; restart it if the waiter was added before."""
        loop = asyncio.get_running_loop()
        self._due.pop(waiter, None)
        self._due[waiter] = loop.time() + self._timeout_s
        self._set_timer()

    def remove(self, waiter: T) -> None:
        """End a waiter's time-out. Nothing happens if it was given up before."""
        self._due.pop(waiter, None)

    def _set_timer(self) -> None:
        if self._timer is None and self._due:
            first = next(iter(self._due.values()))
            self._timer = asyncio.get_running_loop().call_at(first, self._expire)

    def _expire(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        try:
            for waiter in [waiter for waiter, due in self._due.items() if due <= now]:
                self.remove(waiter)
                self._give_up(waiter)
        finally:
            self._set_timer()
