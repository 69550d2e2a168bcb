"""A balancer as it stands before replicas: it passes connections on, and asks each of them whether it is ready."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx

from tests.chaos.front import Front

POLL_S = 0.5
"""How often a balancer looks; two bad looks in a row take a replica out, one good look takes it in."""
BAD_LOOKS = 2


class Balancer(Front):
    """Passes each connection on to the next replica that is ready. Connections that are open stay where they are:
    it does not know HTTP. ``passed`` counts connections by port; ``ready`` is who has its turn, ``left_at`` when
    (on the monotonic clock) one lost it; ``turned_away`` counts connections that found nobody."""

    def __init__(self, ports: Sequence[int]) -> None:
        super().__init__(ports)
        self.all = list(ports)
        self.ready: set[int] = set()
        self.passed: Counter[int] = Counter()
        self.left_at: dict[int, float] = {}
        self.turned_away = 0
        self._bad: Counter[int] = Counter()

    async def watch(self) -> None:
        """Look at everybody, for ever; at each by itself, so that a slow one delays no other's notice."""
        await asyncio.gather(*(self._watch_one(port) for port in self.all))

    async def _watch_one(self, port: int) -> None:
        async with httpx.AsyncClient(timeout=5, trust_env=False, verify=False) as api:
            while True:
                await self._look(api, port)
                await asyncio.sleep(POLL_S)

    async def _look(self, api: httpx.AsyncClient, port: int) -> None:
        try:
            good = (await api.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
        except httpx.HTTPError:
            good = False
        self._bad[port] = 0 if good else self._bad[port] + 1
        if good:
            self.ready.add(port)
        elif self._bad[port] >= BAD_LOOKS and port in self.ready:
            self.ready.discard(port)
            self.left_at[port] = time.monotonic()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        candidates = sorted(self.ready)
        for _ in candidates:
            self._turn += 1
            port = candidates[self._turn % len(candidates)]
            with contextlib.suppress(OSError):
                behind = await asyncio.open_connection("127.0.0.1", port)
                self.passed[port] += 1
                return behind
        self.turned_away += 1
        return None


@asynccontextmanager
async def balancing(port: int, ports: Sequence[int]) -> AsyncIterator[Balancer]:
    """Listen on ``port`` for the replicas behind ``ports``."""
    balancer = Balancer(ports)
    server = await asyncio.start_server(balancer.pass_on, "127.0.0.1", port)
    watching = asyncio.create_task(balancer.watch())
    try:
        yield balancer
    finally:
        watching.cancel()
        server.close()
        await balancer.stop()
