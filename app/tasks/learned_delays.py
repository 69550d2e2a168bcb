"""Learning how long callbacks take: samples gathered in memory, flushed to the database, read back as estimates."""

from collections import Counter
from collections.abc import Iterable

from app.database.database import Database
from app.rules.loaded import Arrival
from app.rules.timing import LEAST_OVERDUE_S, MOST_SAMPLES, bucket_of, overdue_s
from app.tasks import delays
from app.tempolor.kinds import KINDS, overdue_default_s

FLUSH_S = 10.0


class Delays:
    """What this process has learned and heard of the others' learning. Losing the last seconds' samples in a
    crash costs nothing but them."""

    def __init__(self) -> None:
        self._pending: Counter[tuple[str, int, int]] = Counter()
        self._counts: dict[tuple[str, int], dict[int, int]] = {}
        self._estimates: dict[tuple[str, int], float] = {}

    def note(self, arrivals: Iterable[Arrival]) -> None:
        """Take samples, once their transaction is committed."""
        for arrival in arrivals:
            self._pending[(arrival.kind, arrival.stage, bucket_of(arrival.delay_s))] += 1

    def overdue_s(self, kind: str, stage: int) -> float:
        """Seconds after which the next callback of an item at this stage is overdue."""
        key = (kind, stage)
        if key not in self._estimates:
            self._estimates[key] = overdue_s(self._counts.get(key, {}), overdue_default_s(kind))
        return self._estimates[key]

    def longest_s(self) -> float:
        """The longest of all these times."""
        learned = [self.overdue_s(kind, stage) for kind, stage in self._counts]
        return max([*learned, *(max(kind.overdue_s, LEAST_OVERDUE_S) for kind in KINDS.values())])

    async def flush(self, db: Database) -> None:
        """Write the samples, in a transaction of their own, and read what all processes have learned."""
        pending, self._pending = self._pending, Counter()
        if pending:
            try:
                await db.write(delays.add, pending, MOST_SAMPLES)
            except BaseException:
                self._pending.update(pending)
                raise
        self._counts = await db.read(delays.load)
        self._estimates.clear()
