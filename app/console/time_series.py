"""Time series for the plots: what happened in each of the last intervals, of which most are read once.

An interval that is over and of which every task has ended changes no more. One that may change is read again when it
has grown a twentieth older, so that the newest are followed closely, and all together cost little.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, TypeVar

from app.operations.history import Interval

T = TypeVar("T")

LEAST_AGE_S: Final = 5.0
SHARE: Final = 1 / 20
BATCH: Final = 6
"""Intervals that are read in one transaction."""
SETTLED: Final = timedelta(seconds=40)
"""After its end an interval may still get what was begun in it: a transaction that takes its time, an id that is ahead
of the clock."""


@dataclass(frozen=True, slots=True)
class Span:
    """What a plot spans: so many intervals of so many seconds."""

    name: str
    count: int
    interval_s: int

    def starts(self, now: datetime) -> list[datetime]:
        """When each interval begins, the oldest first. They keep to the clock, and now lies in the last."""
        last = int(now.timestamp()) // self.interval_s
        first = last - self.count + 1
        return [datetime.fromtimestamp(number * self.interval_s, UTC) for number in range(first, last + 1)]

    @property
    def interval(self) -> timedelta:
        return timedelta(seconds=self.interval_s)


HOUR: Final = Span("hour", 30, 120)
DAY: Final = Span("day", 48, 1800)


@dataclass(slots=True)
class _Read(Generic[T]):
    value: T
    at: datetime
    may_change: bool


class Series(Generic[T]):
    """The values of the intervals of a span. ``read``: reads some, each from its start to its end, in one transaction.
    ``is_open``: whether the value of one that is over may change still."""

    def __init__(
        self,
        span: Span,
        read: Callable[[list[Interval]], Awaitable[list[T]]],
        is_open: Callable[[T], bool],
    ) -> None:
        self.span = span
        self._read = read
        self._is_open = is_open
        self._known: dict[datetime, _Read[T]] = {}

    async def look(self, now: datetime, is_late: Callable[[], bool]) -> list[tuple[datetime, T | None]]:
        """The intervals, oldest first; None for one that was not read yet. Reads those that are due, the newest first,
        until ``is_late``, but some in any case; the others are for the next look. Raises ``Unavailable``."""
        starts = self.span.starts(now)
        self._known = {start: self._known[start] for start in starts if start in self._known}
        due = [start for start in reversed(starts) if self._is_due(start, now)]
        for place in range(0, len(due), BATCH):
            if place and is_late():
                break
            some = [(start, start + self.span.interval) for start in due[place : place + BATCH]]
            for (start, end), value in zip(some, await self._read(some), strict=True):
                self._known[start] = _Read(value, now, now < end + SETTLED or self._is_open(value))
        return [(start, self._known[start].value if start in self._known else None) for start in starts]

    def _is_due(self, start: datetime, now: datetime) -> bool:
        known = self._known.get(start)
        if known is None:
            return True
        passed_s = (now - known.at).total_seconds()
        least_s = max(LEAST_AGE_S, (now - start).total_seconds() * SHARE)
        # One that was read later than now: the clock was set back since.
        return known.may_change and not 0 <= passed_s < least_s
