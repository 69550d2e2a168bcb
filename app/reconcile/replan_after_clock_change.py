"""Plan again what was planned by a clock that has been set back since, and lies hours ahead.

No due time lies further ahead than the longest interval of its kind; one that does was written by the clock as it was.
It is brought back in small transactions, by whoever comes first, and again by the next one if that one dies.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
import structlog

from app.app_context import Context
from app.database import dialect
from app.database.tables import items, notifications, tasks
from app.limits import breaker_rows, model_breaker, shared_limits
from app.limits import hold as holds
from app.limits.heartbeats import absences
from app.limits.parked_tasks import PARKED_S
from app.notifications.deliver import SCHEDULE_S
from app.reconcile import claims
from app.rules.policy import Policy
from app.rules.schedule import JITTER
from app.rules.times import later
from app.rules.transition import Change
from app.submissions.outcomes import BACK_OFF_S
from app.tasks.apply import Effects, apply

BATCH: Final = 100
ITERATION_S: Final = 1.0
"""How long one step goes on; the next one goes on from there."""

Cursor = tuple[datetime, UUID]

log = structlog.get_logger(__name__)


class Replanner:
    """Plan again, some of it at each ``step``, an iteration of a loop."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._after: Cursor | None = None

    async def step(self) -> bool:
        """Plan again for ``ITERATION_S``. Returns whether all is done."""
        clock, db = self._context.clock, self._context.loops_db()
        end = clock.monotonic() + ITERATION_S
        await db.write(_bring_limits_back, self._context, clock.now())
        for bring in (_bring_questions, _bring_submissions, _bring_notifications):
            while await db.write(bring, self._context, clock.now()):
                if clock.monotonic() >= end:
                    return False
        while page := await db.read(_timers, self._after):
            self._context.committed(await db.write(_look_at, self._context, page, clock.now()))
            self._after = page[-1]
            if clock.monotonic() >= end:
                return False
        self._after = None
        await self._context.timekeeper.planned_again(db)
        self._context.wakes.dispatch.set()
        self._context.wakes.reconcile.set()
        self._context.wakes.notify.set()
        log.warning("clock.planned_again")
        return True


def longest_question_s(policy: Policy, longest_overdue_s: float) -> float:
    """How far ahead the next question about an item may be planned."""
    silence_s = longest_overdue_s if policy.first_after_s is None else policy.first_after_s
    return max(silence_s, policy.max_interval_s * (1 + JITTER), policy.settle_after_s, policy.lease_s)


def _bring_limits_back(conn: sa.Connection, context: Context, now: datetime) -> None:
    next_at = later(now, 1 / context.policy.query_rate_per_s)
    for name, state in shared_limits.lock_all(conn).items():
        not_before_at = min(state.not_before_at, next_at) if state.not_before_at is not None else None
        hold_state = holds.set_back(state.hold_state, now)
        shared_limits.save(conn, name, replace(state, hold_state=hold_state, not_before_at=not_before_at))
    for key, breaker in breaker_rows.find_open(conn).items():
        breaker_rows.save(conn, key, model_breaker.set_back(breaker, now))


def _bring_questions(conn: sa.Connection, context: Context, now: datetime) -> int:
    """Make a batch of questions that are due later than they can be planned due now; those that somebody asks, when
    that lease ends. Returns how many there were."""
    reach_s = longest_question_s(context.policy, context.delays.longest_s())
    table = items.c
    far = (
        sa.select(table.family, table.item_id, table.query_leased_until)
        .where(table.query_due_at > later(now, reach_s))
        .order_by(table.query_due_at.desc())
        .limit(BATCH)
    )
    rows = conn.execute(dialect.locked(far, of=items, skip=True)).all()
    leased = [(row.family, row.item_id) for row in rows if row.query_leased_until is not None]
    claims.lease(conn, leased, later(now, context.policy.lease_s))
    for row in rows:
        if row.query_leased_until is None:
            named = sa.and_(table.family == row.family, table.item_id == row.item_id)
            conn.execute(items.update().where(named).values(query_due_at=now))
    return len(rows)


def _bring_submissions(conn: sa.Connection, _context: Context, now: datetime) -> int:
    """Make a batch of queued tasks that are due later than a back-off lasts (parked ones: than they are parked) due
    now. Returns how many there were."""
    due_at = tasks.c.dispatch_due_at
    reach, parked_reach = later(now, BACK_OFF_S[1]), later(now, PARKED_S)
    too_far = sa.and_(due_at > reach, sa.or_(tasks.c.parked_as.is_(None), due_at > parked_reach))
    far = sa.select(tasks.c.id).where(too_far).order_by(due_at.desc(), tasks.c.id.desc()).limit(BATCH)
    chosen = list(conn.scalars(dialect.locked(far, of=tasks, skip=True)))
    if chosen:
        rows_chosen = dialect.any_of(conn, tasks.c.id, chosen)
        conn.execute(tasks.update().where(rows_chosen).values(dispatch_due_at=now, not_before_at=None))
    return len(chosen)


def _bring_notifications(conn: sa.Connection, context: Context, now: datetime) -> int:
    """Make a batch of notifications that are due later than the wait after their number of attempts due then. Returns
    how many there were."""
    lease_s = context.policy.lease_s
    waits_s = (lease_s, *(max(wait_s * (1 + JITTER), lease_s) for wait_s in SCHEDULE_S))
    table = notifications.c
    last = len(waits_s) - 1
    for attempts, wait_s in enumerate(waits_s):
        reach = later(now, wait_s)
        so_many = table.attempts == attempts if attempts < last else table.attempts >= last
        far = sa.select(table.id).where(table.due_at > reach, so_many).order_by(table.due_at.desc()).limit(BATCH)
        chosen = list(conn.scalars(dialect.locked(far, of=notifications, skip=True)))
        if chosen:
            rows_chosen = dialect.any_of(conn, table.id, chosen)
            conn.execute(notifications.update().where(rows_chosen).values(due_at=reach))
            return len(chosen)
    return 0


def _timers(conn: sa.Connection, after: Cursor | None) -> list[Cursor]:
    """Read a batch of the next tasks that the clock has still to look at, the latest first, each with when."""
    due_at, task_id = tasks.c.timer_due_at, tasks.c.id
    statement = sa.select(due_at, task_id).where(due_at.is_not(None)).order_by(due_at.desc(), task_id.desc())
    if after is not None:
        bound: Any = sa.tuple_(
            *(sa.literal(value, column.type) for value, column in zip(after, (due_at, task_id), strict=True))
        )
        statement = statement.where(sa.tuple_(due_at, task_id) < bound)
    return [(row.timer_due_at, row.id) for row in conn.execute(statement.limit(BATCH))]


def _look_at(conn: sa.Connection, context: Context, page: list[Cursor], now: datetime) -> Effects:
    away = absences(conn, now)
    return apply(conn, [Change(now, None, task_id, absences=away) for _, task_id in page], context.rules)
