"""Learn how long callbacks take: counts per (kind, stage, bucket), gathered in memory, added up in the database over
all replicas, and read back as estimates.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

import sqlalchemy as sa

from app.database import dialect
from app.database.database import Database
from app.database.tables import delays
from app.rules.learned_timing import LEAST_OVERDUE_S, MOST_SAMPLES, bucket_of, overdue_s, usual_range_s
from app.rules.loaded_state import DelaySample
from app.tempolor.kinds import KINDS, overdue_default_s

Stage = tuple[str, int]

_KEY: Final = ("kind", "stage", "bucket")


def add(conn: sa.Connection, counts: Mapping[tuple[str, int, int], int], most: int) -> None:
    """Add counts per (kind, stage, bucket); where a stage has more than ``most``, its counts are halved."""
    if counts:
        insert = dialect.insert(conn, delays)
        added = insert.on_conflict_do_update(index_elements=_KEY, set_={"n": delays.c.n + insert.excluded.n})
        conn.execute(added, [dict(zip((*_KEY, "n"), (*key, n), strict=True)) for key, n in sorted(counts.items())])
    touched = {(kind, stage) for kind, stage, _ in counts}
    for kind, stage in sorted(touched):
        _halve(conn, kind, stage, most)


def load(conn: sa.Connection) -> dict[Stage, dict[int, int]]:
    """Read all counts: by (kind, stage), then by bucket."""
    counts: dict[Stage, dict[int, int]] = {}
    for row in conn.execute(sa.select(delays)):
        counts.setdefault((row.kind, row.stage), {})[row.bucket] = row.n
    return counts


def _halve(conn: sa.Connection, kind: str, stage: int, most: int) -> None:
    of_stage = sa.and_(delays.c.kind == kind, delays.c.stage == stage)
    total = conn.scalar(sa.select(sa.func.sum(delays.c.n)).where(of_stage)) or 0
    if total > most:
        conn.execute(delays.update().where(of_stage).values(n=delays.c.n // 2))
        conn.execute(delays.delete().where(of_stage, delays.c.n == 0))


FLUSH_S = 10.0


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
        """From when to when after it was sent a task's first callback usually comes, in seconds: that makes it
        playable. None while too few of its kind were timed."""
        return usual_range_s(self._counts.get((kind, 0), {}))

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
