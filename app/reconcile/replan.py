"""The clock was set back: what was planned before lies hours ahead, and is planned again.

No due time lies further ahead than the longest interval of its kind; one that does was written by the clock as it was.
It is brought back in small transactions, by whoever comes first, and again by the next one if that one dies.
"""

from dataclasses import replace
from datetime import datetime
from typing import Final

import sqlalchemy as sa
import structlog

from app.context import Context
from app.limits import breakers, limits, model_breaker
from app.limits import hold as holds
from app.limits.model_holds import PARKED_S
from app.limits.signs_of_life import absences
from app.notifications.deliver import SCHEDULE_S
from app.reconcile import replan_store
from app.reconcile.replan_store import Cursor
from app.rules.policy import Policy
from app.rules.timing import JITTER, later
from app.rules.transition import Change
from app.submissions.settle import BACK_OFF_S
from app.tasks.apply import Applied, apply

BATCH: Final = 100
TURN_S: Final = 1.0

log = structlog.get_logger(__name__)


class Replanner:
    """Plans again, some of it at each ``step``, a turn of a loop."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._after: Cursor | None = None

    async def step(self) -> bool:
        """Go on for a moment. Whether all is done."""
        clock, db = self._context.clock, self._context.loops_db()
        end = clock.monotonic() + TURN_S
        await db.write(_bring_limits_back, self._context, clock.now())
        for bring in (_bring_questions, _bring_submissions, _bring_letters):
            while await db.write(bring, self._context, clock.now()):
                if clock.monotonic() >= end:
                    return False
        while page := await db.read(replan_store.timers, self._after, BATCH):
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


def _bring_limits_back(conn: sa.Connection, context: Context, now: datetime) -> None:
    next_at = later(now, 1 / context.policy.query_rate_per_s)
    for name, state in limits.lock(conn, limits.ALL).items():
        not_before_at = min(state.not_before_at, next_at) if state.not_before_at is not None else None
        hold_state = holds.set_back(state.hold_state, now)
        limits.save(conn, name, replace(state, hold_state=hold_state, not_before_at=not_before_at))
    for key, breaker in breakers.held(conn).items():
        breakers.save(conn, key, model_breaker.set_back(breaker, now))


def _bring_questions(conn: sa.Connection, context: Context, now: datetime) -> int:
    reach_s = longest_question_s(context.policy, context.delays.longest_s())
    return replan_store.questions(conn, now, later(now, reach_s), later(now, context.policy.lease_s), BATCH)


def longest_question_s(policy: Policy, longest_overdue_s: float) -> float:
    """How far ahead the next question about an item may be planned."""
    silence_s = longest_overdue_s if policy.first_after_s is None else policy.first_after_s
    return max(silence_s, policy.max_interval_s * (1 + JITTER), policy.settle_after_s, policy.lease_s)


def _bring_submissions(conn: sa.Connection, _context: Context, now: datetime) -> int:
    return replan_store.submissions(conn, now, later(now, BACK_OFF_S[1]), later(now, PARKED_S), BATCH)


def _bring_letters(conn: sa.Connection, context: Context, now: datetime) -> int:
    lease_s = context.policy.lease_s
    waits_s = (lease_s, *(max(wait_s * (1 + JITTER), lease_s) for wait_s in SCHEDULE_S))
    return replan_store.letters(conn, [later(now, wait_s) for wait_s in waits_s], BATCH)


def _look_at(conn: sa.Connection, context: Context, page: list[Cursor], now: datetime) -> Applied:
    away = absences(conn, now)
    return apply(conn, [Change(now, None, task_id, absences=away) for _, task_id in page], context.rules)
