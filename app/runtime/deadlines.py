"""Many waits of the same length, and one timer for all of them.

A timer of the loop for each callback, or a time-out context, costs more than to hash its body.
"""

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Deadlines(Generic[T]):
    """Gives up whatever is still here ``patience_s`` after it came. All have the same patience, so they come due in
    the order in which they came, and only the first needs a timer. Belongs to one event loop."""

    def __init__(self, patience_s: float, give_up: Callable[[T], None]) -> None:
        self._patience_s = patience_s
        self._give_up = give_up
        self._due: dict[T, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, one: T) -> None:
        """It comes now; if it is here already, its patience begins anew."""
        loop = asyncio.get_running_loop()
        self._due.pop(one, None)
        self._due[one] = loop.time() + self._patience_s
        self._watch()

    def remove(self, one: T) -> None:
        """It is done. Nothing happens if it was given up before."""
        self._due.pop(one, None)

    def _watch(self) -> None:
        if self._timer is None and self._due:
            first = next(iter(self._due.values()))
            self._timer = asyncio.get_running_loop().call_at(first, self._look)

    def _look(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        try:
            for one in [one for one, due in self._due.items() if due <= now]:
                self.remove(one)
                self._give_up(one)
        finally:
            self._watch()
