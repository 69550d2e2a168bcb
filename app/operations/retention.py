"""Retention: delete rows that ended long ago, in small transactions with pauses.

The loop runs in every worker. An advisory lock lets one transaction at a time delete, over all of them; a worker that
does not get it tries again later. ``purge`` does the same by hand, to its end.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeVar

import sqlalchemy as sa

from app.app_context import Context
from app.audit.audit import Action, Actor, append_now
from app.database import compact
from app.database.database import Database
from app.limits.heartbeats import absences
from app.operations import retention_store
from app.operations.retention_store import Keyset, Kind, Page
from app.rules.downtime import absent_s
from app.runtime import metrics
from app.runtime.clock import Clock

T = TypeVar("T")

EVERY_S: Final = 60.0
"""Between two sweeps over old rows."""
STEP_S: Final = 1.0
"""What one iteration of the loop takes at most, and a statement more."""
MOST_ROWS: Final = 100
LEAST_ROWS: Final = 10
TRANSACTION_S: Final = 0.02
"""A transaction that took longer makes the next ones smaller."""
REST: Final = 3.0
"""Pause after each transaction, in times of what it took: as a rule at most a quarter of the time is spent deleting."""
KEYS_KEPT: Final = timedelta(hours=24)
"""Idempotency keys, and the tasks that they may name, are kept at least so long."""
COUNTED: Final = 10
"""Rows that one transaction reads where they are only counted, in times of those that are deleted."""
LONGEST_REST_S: Final = 5.0
"""A transaction that waited long for another process's lock is no reason to rest long."""
BUSY_S: Final = 0.05


def rest_s(took_s: float) -> float:
    """How long to pause after a transaction that took so long."""
    return min(took_s * REST, LONGEST_REST_S)


@dataclass(slots=True)
class Pace:
    """Adapts how many rows a transaction deletes, ``most`` at most, to how long the transactions before took."""

    most: int = MOST_ROWS
    rows: int = field(init=False)

    def __post_init__(self) -> None:
        self.rows = self.most

    def note(self, took_s: float) -> float:
        """Adapt to a transaction that took so long; returns the seconds to rest after it."""
        if took_s > TRANSACTION_S:
            self.rows = max(self.rows // 2, min(LEAST_ROWS, self.most))
        else:
            self.rows = min(self.rows * 2, self.most)
        return rest_s(took_s)


@dataclass(slots=True)
class Sweep:
    """One sweep over old rows of all kinds: the first of ``kinds`` is under way, and has come to ``after``."""

    cutoff: datetime
    now: datetime
    deleted: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(Kind, 0))
    kinds: list[Kind] = field(default_factory=lambda: list(Kind))
    after: Keyset | None = None

    def note(self, page: Page) -> None:
        """Count a page, and move on behind it."""
        self.deleted[self.kinds[0]] += page.deleted
        self.after = page.after
        if page.ended:
            self.after = None
            self.kinds.pop(0)


class Retainer:
    """Deletes old rows. ``step`` is called by its loop. ``days`` 0: nothing is ever deleted."""

    def __init__(self, context: Context, days: float) -> None:
        self._context = context
        self._db = context.loops_db()
        self._days = days
        self._pace = Pace()
        self._sweep: Sweep | None = None

    async def step(self) -> float | None:
        """A loop iteration. Returns 0 if there is more to do, None to idle."""
        clock = self._context.clock
        end = clock.monotonic() + STEP_S
        sweep = self._sweep or await self._begin_now()
        while sweep is not None and sweep.kinds:
            if clock.monotonic() >= end:
                self._sweep = sweep
                return 0
            if not await _delete_page(self._db, clock, sweep, self._pace):
                self._sweep = None
                return None
        self._sweep = None
        if not await _compact(self._db, clock, end):
            return 0
        await self._db.write(compact.truncate_log)
        return None

    async def _begin_now(self) -> Sweep | None:
        """Begin a sweep over what is old by the time that has really passed: a clock that was set forward deletes
        nothing early. ``purge`` by hand believes the clock."""
        now = self._context.clock.now()
        sweep = _begin(now, self._days)
        if sweep is None:
            return None
        gaps = await self._db.read(absences, now)
        jumped_s = absent_s(gaps, min(sweep.cutoff, now - KEYS_KEPT), jumped_only=True)
        return _begin(now - timedelta(seconds=jumped_s), self._days)


async def purge(
    db: Database, clock: Clock, actor: Actor, days: float, *, dry_run: bool, rows: int = MOST_ROWS
) -> dict[str, int]:
    """Delete everything that ended more than so many days ago, or count it; returns rows by table. Runs beside servers,
    as gently as their own loops, ``rows`` at once at most. The act is audited before the first row is deleted. Raises
    ``Unavailable``."""
    sweep = _begin(clock.now(), days, all_kept=False)
    if sweep is not None and not dry_run:
        await append_now(db, clock, actor, Action.PURGE, older_than_days=days)
    pace = Pace(rows)
    while sweep is not None and sweep.kinds:
        if dry_run:
            sweep.note(await db.read(_count, sweep, rows * COUNTED))
        elif not await _delete_page(db, clock, sweep, pace):
            await clock.sleep(BUSY_S)
    if not dry_run:
        while not await _compact(db, clock, clock.monotonic() + STEP_S):
            pass
        await db.write(compact.truncate_log)
    deleted = sweep.deleted if sweep is not None else dict.fromkeys(Kind, 0)
    return {kind.value: n for kind, n in deleted.items()}


def _begin(now: datetime, days: float, *, all_kept: bool = True) -> Sweep | None:
    """Begin a sweep; None where nothing can be old enough. ``all_kept``: 0 days stand for ever."""
    if days == 0 and all_kept:
        return None
    try:
        return Sweep(now - timedelta(days=days), now)
    except (OverflowError, ValueError):  # before the first date of the calendar
        return None


async def _delete_page(db: Database, clock: Clock, sweep: Sweep, pace: Pace) -> bool:
    """Delete one page, and pause. False if another process is deleting."""
    kind = sweep.kinds[0]
    page = await _write_and_pause(db, clock, pace, lambda conn: _delete(conn, sweep, pace.rows))
    if page is None:
        return False
    metrics.purged_rows.labels(kind.value).inc(page.deleted)
    sweep.note(page)
    return True


async def _compact(db: Database, clock: Clock, end: float) -> bool:
    """Release free space of the file until a time; true if none is left."""
    while clock.monotonic() < end:
        if not await _write_and_pause(db, clock, Pace(), compact.compact):
            return True
    return False


async def _write_and_pause(db: Database, clock: Clock, pace: Pace, fn: Callable[[sa.Connection], T]) -> T:
    started = clock.monotonic()
    result = await db.write(fn)
    await clock.sleep(pace.note(clock.monotonic() - started))
    return result


def _delete(conn: sa.Connection, sweep: Sweep, rows: int) -> Page | None:
    if not retention_store.try_lock(conn):
        return None
    kind = sweep.kinds[0]
    return retention_store.purge(conn, kind, _cutoff_of(conn, kind, sweep), sweep.after, rows)


def _count(conn: sa.Connection, sweep: Sweep, rows: int) -> Page:
    kind = sweep.kinds[0]
    return retention_store.count(conn, kind, _cutoff_of(conn, kind, sweep, counting=True), sweep.after, rows)


def _cutoff_of(conn: sa.Connection, kind: Kind, sweep: Sweep, *, counting: bool = False) -> datetime:
    """The cutoff of a kind. Tasks that finished since the oldest idempotency key was written stay, since it may name
    them. ``counting``: the keys that go before them are still there."""
    keys_cutoff = min(sweep.cutoff, sweep.now - KEYS_KEPT)
    if kind is Kind.KEYS:
        return keys_cutoff
    if kind is Kind.TASKS:
        oldest_key_at = retention_store.oldest_key_at(conn, keys_cutoff if counting else None)
        return min(sweep.cutoff, oldest_key_at or sweep.cutoff)
    return sweep.cutoff
