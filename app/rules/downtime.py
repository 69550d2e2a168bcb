"""Availability: the time in which the gateway could ask. Waits that end in a verdict count only that.

While no process runs, all of them are frozen or the database is away, nobody can ask the vendor; and a clock that is
set forward lets no time pass at all. Each worker gives a sign of life every few seconds, in a row that all replicas
share; where signs were missing for longer than ``STEP_S``, the rest of the silence is an absence.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple

from app.rules.times import later

STEP_S: Final = 5.0
"""Of a gap between two heartbeats no more than this counts as time in which the vendor could be asked."""
MOST_ABSENCES: Final = 100
"""The latest are kept. With the bound even a wait that is always interrupted ends."""
BACK_S: Final = 30.0
"""A sign of life that lies further ahead was given before the clock was set back: replicas' clocks differ by less, or
their loops stand still."""


class Absence(NamedTuple):
    """Nobody could ask from ``since`` to ``until``. ``jumped``: it is no time at all, the clock was set forward."""

    since: datetime
    until: datetime
    jumped: bool


Absences = tuple[Absence, ...]


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A heartbeat of one worker. ``last_at``: when it gave its last one; ``stepped_s``: by how much its clock has been
    set forward since (below 0: back)."""

    at: datetime
    last_at: datetime | None = None
    stepped_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Availability:
    """When the vendor could be asked. ``beat_at``: the last heartbeat of any worker. ``went_back_at``: the clock was
    set back, and what had been planned before is still to be looked at."""

    beat_at: datetime | None = None
    absences: Absences = ()
    went_back_at: datetime | None = None

    def absences_until(self, now: datetime) -> Absences:
        """All absences up to now. A silence that no worker has reported yet may be a clock that was set forward."""
        if self.beat_at is None or later(self.beat_at, 2 * STEP_S) >= now:
            return self.absences
        return (*self.absences, Absence(later(self.beat_at, STEP_S), now, jumped=True))


def beat(before: Availability, heartbeat: Heartbeat) -> Availability:
    """Apply a heartbeat."""
    now, beat_at = heartbeat.at, before.beat_at
    if beat_at is not None and beat_at > later(now, BACK_S):
        past = (absence for absence in before.absences if absence.since < now)
        absences = tuple(absence._replace(until=min(absence.until, now)) for absence in past)
        return Availability(now, absences, went_back_at=now)
    signs = [at for at in (beat_at, heartbeat.last_at) if at is not None and at <= now]
    last_sign_at = max(signs, default=now)
    if beat_at is None or beat_at < now:
        before = replace(before, beat_at=now)
    if later(last_sign_at, STEP_S) >= now:
        return before
    absence = Absence(later(last_sign_at, STEP_S), now, jumped=heartbeat.stepped_s > STEP_S)
    return replace(before, absences=(*before.absences, absence)[-MOST_ABSENCES:])


def absent_s(absences: Sequence[Absence], since: datetime, *, jumped_only: bool = False) -> float:
    """Sum the seconds since a time in which nobody could ask; or only those by which the clock was set forward."""
    if not absences:
        return 0.0
    return sum(
        max((absence.until - max(absence.since, since)).total_seconds(), 0.0)
        for absence in absences
        if absence.jumped or not jumped_only
    )
