"""Limits of one process, shared fairly by clients: a bounded number of places, and a queue of one place for each."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from weakref import WeakValueDictionary

from app.errors import Unavailable
from app.runtime import metrics


class FairQueue:
    """Of one process. Whoever stands in front may try for as long as it likes; the next ones wait without a poll.
    A client that comes again stands behind every other that waits."""

    def __init__(self) -> None:
        self._front = asyncio.Lock()
        # A client's lock lives as long as somebody waits for it or holds it.
        self._of_client: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def front(self, client_name: str) -> AsyncIterator[None]:
        """Wait to be in front, as this client, and stay there for as long as the block lasts."""
        own = self._of_client.setdefault(client_name, asyncio.Lock())
        async with own, self._front:
            yield


RETRY_AFTER_S = 5.0


class ConcurrencyLimit:
    """``most`` places in this process, of which one client gets at most ``share`` (0–1). ``what`` says what for."""

    def __init__(self, what: str, most: int, share: float) -> None:
        self._what = what
        self._most = most
        self._most_of_one = max(1, int(most * share))
        self._taken: Counter[str] = Counter()

    def enter(self, client_name: str) -> None:
        """Take a place. Raises ``Unavailable`` if there is none."""
        if self._taken.total() >= self._most:
            raise Unavailable(f"too many {self._what} are open", RETRY_AFTER_S)
        if self._taken[client_name] >= self._most_of_one:
            raise Unavailable(f"this client has too many {self._what} open", RETRY_AFTER_S)
        self._taken[client_name] += 1
        metrics.watchers.labels(self._what).inc()

    def leave(self, client_name: str) -> None:
        """Give a place back."""
        self._taken[client_name] -= 1
        if not self._taken[client_name]:
            del self._taken[client_name]
        metrics.watchers.labels(self._what).dec()

    @contextmanager
    def place(self, client_name: str) -> Iterator[None]:
        """A place for as long as the block lasts. Raises ``Unavailable``."""
        self.enter(client_name)
        try:
            yield
        finally:
            self.leave(client_name)
