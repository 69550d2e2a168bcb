"""Watch the clock skew between this process and the database, and pause the loops while it is too large.

All replicas write leases, due times and deadlines by their own clocks. One whose clock is off takes the others'
leases for lapsed, or has its own taken: a task is given up while its answer is under way, an item is asked about by
two. So with too much skew the loops pause until it is good again; what comes in is stored all the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa
import structlog

from app.app_context import Context
from app.database import dialect
from app.runtime import metrics

WARN_S: Final = 2.0
STOP_S: Final = 10.0
MEASURE_S: Final = 10.0
AGAIN_S: Final = 2.0
"""How soon a clock that stops the loops is measured again."""
ASKED_TIMES: Final = 3
_TIME: Final = sa.select(sa.func.clock_timestamp(type_=sa.DateTime(timezone=True)))

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The database's time ``at``, read between two readings of our own clock."""

    before: datetime
    at: datetime
    after: datetime

    @property
    def round_trip_s(self) -> float:
        return (self.after - self.before).total_seconds()

    @property
    def skew_s(self) -> float:
        """Seconds by which our clock is ahead of the database's, below 0 if it is behind; off by half the round
        trip at most."""
        return (self.before - self.at).total_seconds() + self.round_trip_s / 2


class Level(StrEnum):
    GOOD = "good"
    OFF = "off"
    TOO_FAR_OFF = "too_far_off"


class SkewWatch:
    """Measures the skew at each ``step``, a loop iteration. Until the first one the clock is taken to be good."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._since: datetime | None = None
        self._measured: Comparison | None = None
        self._measured_at = 0.0
        self.skew_s = 0.0
        self.level = Level.GOOD

    async def step(self) -> float | None:
        """Measure the skew, report it, and decide whether the loops may run. Raises ``Unavailable``, and then the last
        decision stands."""
        comparison = await self._context.loops_db().read(compare, self._context.clock.now)
        if comparison is None:
            return MEASURE_S
        self._measured, self._measured_at = comparison, self._context.clock.monotonic()
        self.skew_s = comparison.skew_s
        metrics.clock_skew.set(self.skew_s)
        before, self.level = self.level, _level(self.skew_s)
        if self.level is not before:
            self._since = comparison.after
            _log_level(self.level, round(self.skew_s, 3))
        return AGAIN_S if self.stops_loops() else MEASURE_S

    def stops_loops(self) -> bool:
        """Whether the clock is too far off for the loops to run, or was set since it was measured: then it is measured
        first."""
        return self.level is Level.TOO_FAR_OFF or self._was_set()

    def _was_set(self) -> bool:
        if self._measured is None:
            return False
        clock = self._context.clock
        passed_s = (clock.now() - self._measured.after).total_seconds()
        return abs(passed_s - (clock.monotonic() - self._measured_at)) >= STOP_S

    def paused(self) -> dict[str, Any] | None:
        """Why the loops of this process are paused and since when (by its own clock), if they are."""
        return {"reason": "clock_skew", "since": self._since} if self.level is Level.TOO_FAR_OFF else None


def compare(conn: sa.Connection, now: Callable[[], datetime]) -> Comparison | None:
    """Read the database's clock a few times, and return the quickest comparison, which is the most exact one.
    None on SQLite, whose clock is ours."""
    if not dialect.is_postgresql(conn):
        return None
    # The time of the statement, not that of the transaction, which is when the connection began it.
    return min((_read(conn, now) for _ in range(ASKED_TIMES)), key=lambda one: one.round_trip_s)


def _read(conn: sa.Connection, now: Callable[[], datetime]) -> Comparison:
    before = now()
    at: datetime = conn.execute(_TIME).scalar_one()
    return Comparison(before, at, now())


def _level(skew_s: float) -> Level:
    if abs(skew_s) >= STOP_S:
        return Level.TOO_FAR_OFF
    return Level.OFF if abs(skew_s) >= WARN_S else Level.GOOD


def _log_level(level: Level, skew_s: float) -> None:
    match level:
        case Level.TOO_FAR_OFF:
            log.error("clock.loops_stand_still", skew_s=skew_s, limit_s=STOP_S, remedy="set this machine's clock")
        case Level.OFF:
            log.warning("clock.off", skew_s=skew_s, loops_stop_at_s=STOP_S)
        case Level.GOOD:
            log.warning("clock.good_again", skew_s=skew_s)
