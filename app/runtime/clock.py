"""Clock and ids (UUIDv7), passed in wherever they are needed, so that a test can use its own."""

import asyncio
import random
import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from app.rules.times import to_us


class Clock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never go back, from an arbitrary start."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait for an event, ``seconds`` at most; returns whether it was set."""
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return False
        return True


_SET_BACK: Final = 30_000 << 12
"""How far ids may be ahead of the clock: half of the time by which an id may be later than what it names (see
``tasks/task_rows``)."""


class Ids:
    """UUIDv7 (RFC 9562): time-ordered, and monotonic within the process also inside one millisecond."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._lock = threading.Lock()
        # Ids are unique, not secret: a generator that is seeded once spares each of them a system call.
        self._random = random.Random(secrets.token_bytes(32))
        self._last = 0

    def __call__(self) -> UUID:
        """Make an id."""
        with self._lock:
            # 48 bits of milliseconds and 12 of a counter that starts anew each millisecond, as one number.
            now = to_us(self._now()) // 1000 << 12
            # After the clock was set back they follow it, or they would be far from the time that they encode.
            self._last = now if self._last - now > _SET_BACK else max(now, self._last + 1)
            last = self._last
        high = (last >> 12) << 16 | 0x7000 | (last & 0xFFF)
        low = 1 << 63 | self._random.getrandbits(62)
        return UUID(int=high << 64 | low)


def first_id_of(at: datetime, slack_s: float = 0) -> UUID:
    """The smallest UUIDv7 of a millisecond, ``slack_s`` later: a bound for lists by time."""
    return UUID(int=max(to_us(at) // 1000 + int(slack_s * 1000), 0) << 80)
