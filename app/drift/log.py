"""Count drift: unknown fields, statuses and codes that the vendor sent.

Gathered in memory and flushed every few seconds in a transaction of its own, so that a callback pays for a dictionary
alone; a process that is killed loses the last seconds. Bounded in rows, added up over all replicas.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from app.database import dialect
from app.database.database import Database
from app.database.tables import drift
from app.rules.times import rfc3339
from app.runtime import metrics
from app.tempolor.drift import DriftKind, Finding

MOST_ROWS: Final = 1000
MOST_PER_SORT: Final = 250
"""So that a flood of names of one sort leaves room for the others."""
MOST_PENDING: Final = 1000
"""Names that are gathered between two flushes; beyond, they are only counted."""
OTHERS: Final = "(others)"
"""The name of a sort's overflow row."""

_counter: Final = lru_cache(metrics.drift.labels)

Key = tuple[str, str, str]
"""Sort, family, name."""


class Sightings(NamedTuple):
    """How often a name was seen, and when first and last."""

    times: int
    first_seen_at: datetime
    last_seen_at: datetime

    def joined(self, other: "Sightings") -> "Sightings":
        return Sightings(
            self.times + other.times,
            min(self.first_seen_at, other.first_seen_at),
            max(self.last_seen_at, other.last_seen_at),
        )


def add(conn: sa.Connection, sightings: Mapping[Key, Sightings], forget_before: datetime | None) -> None:
    """Add sightings to the stored ones. Names that were not seen since a time are deleted; those for which there is no
    room then are counted in the overflow row of their sort."""
    c = drift.c
    if forget_before is not None:
        conn.execute(drift.delete().where(c.last_seen_at < forget_before))
    rows_kept = conn.execute(sa.select(c.sort, c.family, c.name).where(c.name != OTHERS))
    kept = {(row.sort, row.family, row.name) for row in rows_kept}
    per_sort = Counter(sort for sort, _, _ in kept)
    rows: dict[Key, Sightings] = {}
    for key, seen in sightings.items():
        has_room = len(kept) < MOST_ROWS and per_sort[key[0]] < MOST_PER_SORT
        if key not in kept and has_room:
            kept.add(key)
            per_sort[key[0]] += 1
        row_key = key if key in kept else (key[0], "", OTHERS)
        rows[row_key] = rows[row_key].joined(seen) if row_key in rows else seen
    if not rows:
        return
    statement = dialect.insert(conn, drift)
    new = statement.excluded
    changes = {
        "times": c.times + new.times,
        "first_seen_at": sa.case((new.first_seen_at < c.first_seen_at, new.first_seen_at), else_=c.first_seen_at),
        "last_seen_at": sa.case((new.last_seen_at > c.last_seen_at, new.last_seen_at), else_=c.last_seen_at),
    }
    conn.execute(
        statement.on_conflict_do_update(index_elements=["sort", "family", "name"], set_=changes),
        # Two processes that write the same rows must meet at the same one first.
        [
            {"sort": sort, "family": family, "name": name, **seen._asdict()}
            for (sort, family, name), seen in sorted(rows.items())
        ],
    )


def all_rows(conn: sa.Connection, sort: str | None) -> list[Any]:
    """Read all rows, or those of one sort; what was seen last comes first."""
    statement = sa.select(drift).order_by(drift.c.last_seen_at.desc(), drift.c.sort, drift.c.family, drift.c.name)
    if sort is not None:
        statement = statement.where(drift.c.sort == sort)
    return list(conn.execute(statement))


class Drift:
    """Gather the drift that this process saw until the next flush. ``redact``: names come from outside too.
    ``kept_days``: what was not seen for so long is deleted, 0: never."""

    def __init__(self, redact: Callable[[str], str], kept_days: float) -> None:
        self._redact = redact
        self._kept = timedelta(days=kept_days)
        self._pending: dict[Key, Sightings] = {}

    def note(self, names: Iterable[Finding], now: datetime) -> None:
        """Note the unknown names of one message."""
        for name in names:
            if name.sort is not DriftKind.NETWORK:  # each callback comes from one, known or not
                _counter(name.sort.value).inc()
            seen = self._pending.get(name)
            if seen is None:
                self._note_new(name, now)
            else:
                self._pending[name] = Sightings(seen.times + 1, seen.first_seen_at, now)

    async def flush(self, db: Database, now: datetime) -> None:
        """Write what was gathered, in a transaction of its own. Raises ``Unavailable``, and keeps it then."""
        pending, self._pending = self._pending, {}
        if not pending:
            return
        try:
            await db.write(add, pending, now - self._kept if self._kept else None)
        except BaseException:
            for key, seen in self._pending.items():
                pending[key] = pending[key].joined(seen) if key in pending else seen
            self._pending = pending
            raise

    def _note_new(self, unknown: Finding, now: datetime) -> None:
        key: Key = (unknown.sort.value, unknown.family, self._redact(unknown.name))
        if len(self._pending) >= MOST_PENDING:
            key = (unknown.sort.value, "", OTHERS)
        seen = Sightings(1, now, now)
        self._pending[key] = self._pending[key].joined(seen) if key in self._pending else seen


async def listed(db: Database, sort: str | None = None) -> list[dict[str, Any]]:
    """Read the drift as documents, what was seen last first."""
    return [
        {
            "sort": row.sort,
            "family": row.family or None,
            "name": row.name,
            "first_seen_at": rfc3339(row.first_seen_at),
            "last_seen_at": rfc3339(row.last_seen_at),
            "count": row.times,
        }
        for row in await db.read(all_rows, sort)
    ]
