"""A clock that runs faster, so that the vendor's minutes pass in seconds and every rule keeps its own numbers."""

import asyncio
import time
from datetime import datetime, timedelta

from app.runtime.clock import Clock
from tests.support.virtual_time import utc_now, virtual_loop


class ScaledClock(Clock):
    """``scale`` seconds pass in one. ``skip`` lets time pass at once, ``set`` makes it wrong (or right again)."""

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale
        # Kept, since it is also looked at from threads, which have no loop.
        loop = virtual_loop()
        self._time = loop.time if loop else time.monotonic
        self._origin = self._time()
        self._start = utc_now()
        self._skipped = 0.0
        self._set_by = 0.0

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.monotonic() + self._set_by)

    def monotonic(self) -> float:
        return (self._time() - self._origin) * self.scale + self._skipped

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.scale)

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        return await super().wait(event, seconds / self.scale)

    def skip(self, seconds: float) -> None:
        """Let time pass at once, as for a process that is frozen meanwhile."""
        self._skipped += seconds

    def set(self, seconds: float) -> None:
        """Set the clock forward (or back) by so much; no time passes."""
        self._set_by += seconds
