"""Learn how long callbacks take: counts per (kind, stage, bucket), gathered in memory, added up in the database over
all replicas, and read back as estimates.

A bucket's upper edge is 1.15 times the one before, from 1 s on. The estimate is the upper edge of the bucket
that holds the 99th percentile, and a callback is overdue a quarter after that: at most 1.44 times a steady
delay, so a lost one is noticed within twice its usual time.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

import sqlalchemy as sa

from app.database import dialect
from app.database.database import Database
from app.database.tables import delays
from app.rules.loaded_state import DelaySample
from app.tempolor.kinds import KINDS, overdue_default_s

GROWTH: Final = 1.15
ENOUGH_SAMPLES: Final = 50
MOST_SAMPLES: Final = 400
"""Above this, counts are halved, so that the recent past outweighs the old."""
LEAST_OVERDUE_S: Final = 20.0
"""The vendor recommends no query sooner than about 20 s after the submission."""
MARGIN: Final = 1.25
QUANTILE: Final = 0.99

FLUSH_S = 10.0

_KEY: Final = ("kind", "stage", "bucket")


def bucket_of(seconds: float) -> int:
    """The bucket of a delay; everything up to 1 s is in bucket 0."""
    return 0 if seconds <= 1 else math.ceil(round(math.log(seconds) / math.log(GROWTH), 9))


def upper_edge_s(bucket: int) -> float:
    return float(GROWTH**bucket)


def overdue_s(counts: Mapping[int, int], default_s: float) -> float:
    """Seconds after which a callback is overdue, from counts per bucket; ``default_s`` while they are too few."""
    if sum(counts.values()) < ENOUGH_SAMPLES:
        return max(default_s, LEAST_OVERDUE_S)
    return max(upper_edge_s(_quantile(counts, QUANTILE)) * MARGIN, LEAST_OVERDUE_S)


def _quantile(counts: Mapping[int, int], share: float) -> int:
    """The bucket that holds a quantile."""
    total, below = sum(counts.values()), 0
    for bucket in sorted(counts):
        below += counts[bucket]
        if below >= share * total:
            return bucket
    raise AssertionError("the last bucket holds every quantile")


def add(conn: sa.Connection, counts: Mapping[tuple[str, int, int], int], most: int) -> None:
    """Add counts per (kind, stage, bucket); where a stage has more than ``most``, its counts are halved."""
    if counts:
        insert = dialect.insert(conn, delays)
        added = insert.on_conflict_do_update(index_elements=_KEY, set_={"n": delays.c.n + insert.excluded.n})
        conn.execute(added, [dict(zip((*_KEY, "n"), (*key, n), strict=True)) for key, n in sorted(counts.items())])
    touched = {(kind, stage) for kind, stage, _ in counts}
    for kind, stage in sorted(touched):
        _halve(conn, kind, stage, most)


_ALL: Final = sa.select(delays)


def load(conn: sa.Connection) -> dict[tuple[str, int], dict[int, int]]:
    """Read all counts: by (kind, stage), then by bucket."""
    counts: dict[tuple[str, int], dict[int, int]] = {}
    for row in conn.execute(_ALL):
        counts.setdefault((row.kind, row.stage), {})[row.bucket] = row.n
    return counts


def _halve(conn: sa.Connection, kind: str, stage: int, most: int) -> None:
    of_stage = sa.and_(delays.c.kind == kind, delays.c.stage == stage)
    total = conn.scalar(sa.select(sa.func.sum(delays.c.n)).where(of_stage)) or 0
    if total > most:
        conn.execute(delays.update().where(of_stage).values(n=delays.c.n // 2))
        conn.execute(delays.delete().where(of_stage, delays.c.n == 0))


class Delays:
    """The learned delays: this process's samples, and the counts of all processes. Losing the last seconds' samples in
    a crash costs nothing but them."""

    def __init__(self) -> None:
        self._pending: Counter[tuple[str, int, int]] = Counter()
        self._counts: dict[tuple[str, int], dict[int, int]] = {}
        self._estimates: dict[tuple[str, int], float] = {}

    def note(self, delay_samples: Iterable[DelaySample]) -> None:
        """Take samples, once their transaction is committed."""
        for arrival in delay_samples:
            self._pending[(arrival.kind, arrival.stage, bucket_of(arrival.delay_s))] += 1

    def overdue_s(self, kind: str, stage: int) -> float:
        """Seconds after which the next callback of an item at this stage is overdue."""
        key = (kind, stage)
        if key not in self._estimates:
            self._estimates[key] = overdue_s(self._counts.get(key, {}), overdue_default_s(kind))
        return self._estimates[key]

    def until_playable_s(self, kind: str) -> tuple[float, float] | None:
        """From when to when after it was sent the first callback of eight in ten tasks comes, in seconds: that makes
        them playable. None while too few of their kind were timed."""
        counts = self._counts.get((kind, 0), {})
        if sum(counts.values()) < ENOUGH_SAMPLES:
            return None
        earliest = _quantile(counts, 0.1)
        return upper_edge_s(earliest - 1) if earliest else 0.0, upper_edge_s(_quantile(counts, 0.9))

    def longest_s(self) -> float:
        """The longest of all overdue times."""
        learned = [self.overdue_s(kind, stage) for kind, stage in self._counts]
        return max([*learned, *(max(kind.overdue_s, LEAST_OVERDUE_S) for kind in KINDS.values())])

    async def flush(self, db: Database) -> None:
        """Write the samples, in a transaction of their own, and read what all processes have learned."""
        pending, self._pending = self._pending, Counter()
        if pending:
            try:
                await db.write(add, pending, MOST_SAMPLES)
            except BaseException:
                self._pending.update(pending)
                raise
        self._counts = await db.read(load)
        self._estimates.clear()
