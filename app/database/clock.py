"""Read the database's clock, against which every process can compare its own."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from app.database import dialect

ASKED_TIMES: Final = 3
_TIME: Final = sa.select(sa.func.clock_timestamp(type_=sa.DateTime(timezone=True)))


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
