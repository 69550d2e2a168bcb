"""Heartbeats of workers: in which time the vendor could be asked is known to all replicas, and survives a restart."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import sqlalchemy as sa
import structlog

from app.database.database import Database
from app.limits import shared_limits
from app.limits.shared_limits import Limit
from app.rules.downtime import Absences, Availability, Heartbeat, beat
from app.runtime.clock import Clock
from app.tasks import timeline

BEAT_S: Final = 2.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Beat:
    """When this process gave its last heartbeat, by both clocks."""

    at: datetime
    monotonic: float


class Timekeeper:
    """Give this process's heartbeats. Call ``beat`` before anything that the clock decides."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last_beat: _Beat | None = None
        self.availability = Availability()

    async def beat(self, db: Database) -> None:
        """Give a heartbeat, if it is time for one or the clock was set; ``availability`` is what is known then. Raises
        ``Unavailable``."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        last, sign = self._last_beat, Heartbeat(now)
        if last is not None:
            passed_s = (now - last.at).total_seconds()
            if 0 <= passed_s < BEAT_S:
                return
            sign = Heartbeat(now, last.at, passed_s - (monotonic - last.monotonic))
        before, self.availability = await db.write(_keep, sign)
        self._last_beat = _Beat(now, monotonic)
        _tell(before, self.availability, now)

    async def planned_again(self, db: Database) -> None:
        """Note that nothing is planned any more as before the clock was set back. Raises ``Unavailable``."""
        await db.write(_note_planned)
        self.availability = replace(self.availability, went_back_at=None)


def absences(conn: sa.Connection, now: datetime) -> Absences:
    """Read in which time nobody could ask, as far as it is known."""
    return shared_limits.read(conn)[Limit.QUERY].availability.absences_until(now)


def _keep(conn: sa.Connection, sign: Heartbeat) -> tuple[Availability, Availability]:
    """Store a heartbeat under the lock of the query limit. The first one ever: an earlier release gave none, and the
    last thing that happened shows when somebody was there."""
    limit = shared_limits.lock_one(conn, Limit.QUERY)
    before = limit.availability
    if before.beat_at is None:
        before = replace(before, beat_at=timeline.newest_at(conn))
    after = beat(before, sign)
    shared_limits.save(conn, Limit.QUERY, replace(limit, availability=after))
    return before, after


def _note_planned(conn: sa.Connection) -> None:
    limit = shared_limits.lock_one(conn, Limit.QUERY)
    shared_limits.save(conn, Limit.QUERY, replace(limit, availability=replace(limit.availability, went_back_at=None)))


def _tell(before: Availability, after: Availability, now: datetime) -> None:
    if after.went_back_at is not None and before.beat_at is not None and before.went_back_at != after.went_back_at:
        log.warning("clock.went_back", seconds=round((before.beat_at - now).total_seconds(), 3))
    elif after.absences != before.absences:
        last = after.absences[-1]
        event = "clock.set_forward" if last.jumped else "operating.resumed"
        log.warning(event, away_s=round((last.until - last.since).total_seconds(), 3))
