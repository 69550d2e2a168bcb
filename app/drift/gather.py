"""Keeping drift: gathered in memory, flushed every few seconds in a transaction of its own, so that a callback pays
for a dictionary alone. A process that is killed forgets the last seconds."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from app.database.database import Database
from app.drift import drift_rows
from app.drift.drift_rows import OTHERS, Key, Seen
from app.rules.timing import rfc3339
from app.runtime import metrics
from app.tempolor.drift import Found, Sort

MOST_PENDING: Final = 1000
"""Names that are gathered between two flushes; beyond, they are only counted."""


_counter: Final = lru_cache(metrics.drift.labels)


class Drift:
    """What this process heard since its last flush. ``redact``: names come from outside too. ``kept_days``: what was
    not seen for so long is forgotten, 0: never."""

    def __init__(self, redact: Callable[[str], str], kept_days: float) -> None:
        self._redact = redact
        self._kept = timedelta(days=kept_days)
        self._pending: dict[Key, Seen] = {}

    def note(self, found: Iterable[Found], now: datetime) -> None:
        """Take what was found in one message."""
        for one in found:
            if one.sort is not Sort.NETWORK:  # each callback comes from one, known or not
                _counter(one.sort.value).inc()
            seen = self._pending.get(one)
            if seen is None:
                self._note_new(one, now)
            else:
                self._pending[one] = Seen(seen.times + 1, seen.first_seen_at, now)

    async def flush(self, db: Database, now: datetime) -> None:
        """Write what was gathered. Raises ``Unavailable``, and keeps it then."""
        pending, self._pending = self._pending, {}
        if not pending:
            return
        try:
            await db.write(drift_rows.add, pending, now - self._kept if self._kept else None)
        except BaseException:
            for key, seen in self._pending.items():
                pending[key] = pending[key].joined(seen) if key in pending else seen
            self._pending = pending
            raise

    def _note_new(self, one: Found, now: datetime) -> None:
        key: Key = (one.sort.value, one.family, self._redact(one.name))
        if len(self._pending) >= MOST_PENDING:
            key = (one.sort.value, "", OTHERS)
        seen = Seen(1, now, now)
        self._pending[key] = self._pending[key].joined(seen) if key in self._pending else seen


async def listed(db: Database, sort: str | None = None) -> list[dict[str, Any]]:
    """All that is kept, what was seen last first."""
    return [
        {
            "sort": row.sort,
            "family": row.family or None,
            "name": row.name,
            "first_seen_at": rfc3339(row.first_seen_at),
            "last_seen_at": rfc3339(row.last_seen_at),
            "count": row.times,
        }
        for row in await db.read(drift_rows.listed, sort)
    ]
