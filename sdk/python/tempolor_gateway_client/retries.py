"""When to try again what failed for a reason that passes: exponentially later, with jitter, for a bounded time."""

import asyncio
import random
from dataclasses import dataclass

from tempolor_gateway_client.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Retries:
    """``total_s``: no new attempt begins later than this after the first failed; 0 turns retries off.
    ``first_s``: the first pause at most, doubled each time up to ``most_s``. What the gateway asks for in a
    ``Retry-After`` is waited first."""

    total_s: float = 60.0
    first_s: float = 0.25
    most_s: float = 5.0


class Outage:
    """The attempts since the last success. Made at the first failure."""

    def __init__(self, retries: Retries) -> None:
        self._now = asyncio.get_running_loop().time
        self._end = self._now() + retries.total_s
        self._next_s = retries.first_s
        self._most_s = retries.most_s

    async def pause(self, error: Unavailable) -> None:
        """Wait until the next attempt. Raises ``error`` if that would be too late."""
        pause_s = (error.retry_after_s or 0.0) + self._next_s * random.uniform(0.5, 1.0)
        self._next_s = min(2 * self._next_s, self._most_s)
        if self._now() + pause_s > self._end:
            raise error
        await asyncio.sleep(pause_s)
