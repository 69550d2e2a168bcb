"""Concurrency limits of one process, shared fairly by clients, and a queue in which clients take turns."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from weakref import WeakValueDictionary

from app.errors import Unavailable
from app.runtime import metrics

RETRY_AFTER_S = 5.0


class FairQueue:
    """A queue of one process: the front one may try for as long as it likes, the others wait without polling. Clients
    take turns: a client's next request stands behind every other client that waits."""

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


class ConcurrencyLimit:
    """Limits a process to ``most`` places, of which one client gets at most ``share`` (0–1). ``what``: what they are
    for, in errors and metrics."""

    def __init__(self, what: str, most: int, share: float) -> None:
        self._what = what
        self._most = most
        self._most_per_client = max(1, int(most * share))
        self._taken: Counter[str] = Counter()

    def enter(self, client_name: str) -> None:
        """Take a place. Raises ``Unavailable`` if there is none."""
        if self._taken.total() >= self._most:
            raise Unavailable(f"too many {self._what} are open", RETRY_AFTER_S)
        if self._taken[client_name] >= self._most_per_client:
            raise Unavailable(f"this client has too many {self._what} open", RETRY_AFTER_S)
        self._taken[client_name] += 1
        metrics.watchers.labels(self._what).inc()

    def leave(self, client_name: str) -> None:
        """Release a place."""
        self._taken[client_name] -= 1
        if not self._taken[client_name]:
            del self._taken[client_name]
        metrics.watchers.labels(self._what).dec()

    @contextmanager
    def place(self, client_name: str) -> Iterator[None]:
        """Have a place for as long as the block lasts. Raises ``Unavailable``."""
        self.enter(client_name)
        try:
            yield
        finally:
            self.leave(client_name)
