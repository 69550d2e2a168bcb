"""Retention: what ended long ago is deleted, in small transactions with pauses, so that nobody notices.

The loop runs in every worker; over all of them one transaction at a time deletes, and who finds another at it leaves
it its turn. By hand (``purge``) the same is done to its end.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeVar

import sqlalchemy as sa

from app.audit.audit import Action, By, note
from app.context import Context
from app.database import compact
from app.database.database import Database
from app.limits.signs_of_life import absences
from app.operations import retention_store
from app.operations.retention_store import Kind, Page, Place
from app.rules.operating import absent_s
from app.runtime import metrics
from app.runtime.clock import Clock

T = TypeVar("T")

EVERY_S: Final = 15.0
"""Between two passes over what is old."""
TURN_S: Final = 1.0
"""What one turn of the loop takes at most, and a statement more."""
MOST_ROWS: Final = 100
LEAST_ROWS: Final = 10
TRANSACTION_S: Final = 0.02
"""A transaction that took longer makes the next ones smaller."""
REST: Final = 3.0
"""Pause after each transaction, in times of what it took: at most a quarter of the time is spent deleting."""
KEYS_KEPT: Final = timedelta(hours=24)
"""Idempotency keys, and the tasks that they may name, are kept so long whatever else is said."""
COUNTED: Final = 10
"""Rows that are looked at in one transaction where they are only counted, in times of those that are deleted."""
BUSY_S: Final = 0.05


@dataclass(slots=True)
class Pace:
    """How many rows the next transaction deletes, ``most`` at most, by how long those before took."""

    most: int = MOST_ROWS
    rows: int = field(init=False)

    def __post_init__(self) -> None:
        self.rows = self.most

    def note(self, took_s: float) -> None:
        """A transaction took so long."""
        if took_s > TRANSACTION_S:
            self.rows = max(self.rows // 2, min(LEAST_ROWS, self.most))
        else:
            self.rows = min(self.rows * 2, self.most)


@dataclass(slots=True)
class Pass:
    """One way through everything that is old: which kind is at hand, and where in it. Nothing is taken twice."""

    cutoff: datetime
    now: datetime
    deleted: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(Kind, 0))
    kinds: list[Kind] = field(default_factory=lambda: list(Kind))
    after: Place | None = None

    def note(self, page: Page) -> None:
        """A page was done."""
        self.deleted[self.kinds[0]] += page.deleted
        self.after = page.after
        if page.ended:
            self.after = None
            self.kinds.pop(0)


class Retainer:
    """Deletes what is old. ``step`` is called by its loop. ``days`` 0: nothing is ever deleted."""

    def __init__(self, context: Context, days: float) -> None:
        self._context = context
        self._db = context.loops_db()
        self._days = days
        self._pace = Pace()
        self._pass: Pass | None = None

    async def step(self) -> float | None:
        """One turn. Returns 0 if there is more to do, None to idle."""
        clock = self._context.clock
        end = clock.monotonic() + TURN_S
        at_hand = self._pass or await self._begin_now()
        while at_hand is not None and at_hand.kinds:
            if clock.monotonic() >= end:
                self._pass = at_hand
                return 0
            if not await _delete_page(self._db, clock, at_hand, self._pace):
                self._pass = None
                return None
        self._pass = None
        if not await _compact(self._db, clock, end):
            return 0
        await self._db.write(compact.truncate_log)
        return None

    async def _begin_now(self) -> Pass | None:
        """A pass over what is old by the time that has really passed: what a clock that is set forward makes look
        old is not deleted for it. By hand the clock is believed."""
        now = self._context.clock.now()
        at_hand = _begin(now, self._days)
        if at_hand is None:
            return None
        away = await self._db.read(absences, now)
        jumped_s = absent_s(away, min(at_hand.cutoff, now - KEYS_KEPT), jumped_only=True)
        return _begin(now - timedelta(seconds=jumped_s), self._days)


async def purge(
    db: Database, clock: Clock, by: By, days: float, *, dry_run: bool, rows: int = MOST_ROWS
) -> dict[str, int]:
    """Delete everything that ended more than so many days ago, or count it; rows by table. It works beside servers,
    as gently as their own loops, ``rows`` at once at most. Who does it is recorded before the first row goes. Raises
    ``Unavailable``."""
    at_hand = _begin(clock.now(), days, all_kept=False)
    if at_hand is not None and not dry_run:
        await note(db, clock, by, Action.PURGE, older_than_days=days)
    pace = Pace(rows)
    while at_hand is not None and at_hand.kinds:
        if dry_run:
            at_hand.note(await db.read(_count, at_hand, rows * COUNTED))
        elif not await _delete_page(db, clock, at_hand, pace):
            await clock.sleep(BUSY_S)
    if not dry_run:
        while not await _compact(db, clock, clock.monotonic() + TURN_S):
            pass
        await db.write(compact.truncate_log)
    deleted = at_hand.deleted if at_hand is not None else dict.fromkeys(Kind, 0)
    return {kind.value: n for kind, n in deleted.items()}


def _begin(now: datetime, days: float, *, all_kept: bool = True) -> Pass | None:
    """``all_kept``: 0 days stand for ever. So long ago that no calendar has it: nothing is that old."""
    if days == 0 and all_kept:
        return None
    try:
        return Pass(now - timedelta(days=days), now)
    except (OverflowError, ValueError):
        return None


async def _delete_page(db: Database, clock: Clock, at_hand: Pass, pace: Pace) -> bool:
    """Delete one page, and rest. False if another process is at it."""
    kind = at_hand.kinds[0]
    page = await _rested(db, clock, pace, lambda conn: _delete(conn, at_hand, pace.rows))
    if page is None:
        return False
    metrics.purged_rows.labels(kind.value).inc(page.deleted)
    at_hand.note(page)
    return True


async def _compact(db: Database, clock: Clock, end: float) -> bool:
    """Give free space back until a time; whether that was all."""
    while clock.monotonic() < end:
        if not await _rested(db, clock, Pace(), compact.compact):
            return True
    return False


async def _rested(db: Database, clock: Clock, pace: Pace, fn: Callable[[sa.Connection], T]) -> T:
    started = clock.monotonic()
    result = await db.write(fn)
    took_s = clock.monotonic() - started
    pace.note(took_s)
    await clock.sleep(took_s * REST)
    return result


def _delete(conn: sa.Connection, at_hand: Pass, rows: int) -> Page | None:
    if not retention_store.only_one(conn):
        return None
    kind = at_hand.kinds[0]
    return retention_store.purge(conn, kind, _cutoff_of(conn, kind, at_hand), at_hand.after, rows)


def _count(conn: sa.Connection, at_hand: Pass, rows: int) -> Page:
    kind = at_hand.kinds[0]
    return retention_store.count(conn, kind, _cutoff_of(conn, kind, at_hand), at_hand.after, rows)


def _cutoff_of(conn: sa.Connection, kind: Kind, at_hand: Pass) -> datetime:
    """A task does not go before an idempotency key that may name it: what was written since the oldest stays."""
    if kind is Kind.KEYS:
        return min(at_hand.cutoff, at_hand.now - KEYS_KEPT)
    if kind is Kind.TASKS:
        return min(at_hand.cutoff, retention_store.oldest_key_at(conn) or at_hand.cutoff)
    return at_hand.cutoff
