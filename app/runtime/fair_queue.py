"""A line for what is scarce: one of each client stands in it, and the clients come in their order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


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
