"""Let time act on tasks: lapsed leases, unconfirmed submissions, passed deadlines. What time does to each is decided in
the rules; here the due tasks are found and the change is applied."""

from datetime import datetime
from typing import Final
from uuid import UUID

import sqlalchemy as sa

from app.app_context import Context
from app.database.tables import tasks
from app.limits.heartbeats import absences
from app.reconcile.replan_after_clock_change import Replanner
from app.rules.transition import Change
from app.tasks.apply import Effects, apply

BATCH: Final = 100
_DUE_TIMERS: Final = (
    sa.select(tasks.c.id)
    .where(tasks.c.timer_due_at <= sa.bindparam("now"))
    .order_by(tasks.c.timer_due_at, tasks.c.id)
    .limit(sa.bindparam("most"))
)


class Expiry:
    """Let time act. ``step`` is called by its loop."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._replanner = Replanner(context)

    async def step(self) -> float | None:
        """Act on the tasks whose timers are due; first plan again what was planned by a clock that has been set back
        since. Returns 0 if there may be more, None to idle."""
        context = self._context
        db = context.loops_db()
        await context.timekeeper.beat(db)
        if context.timekeeper.availability.went_back_at is not None and not await self._replanner.step():
            return 0
        effects = await db.write(tick, context, context.clock.now())
        context.committed(effects)
        if effects.changed:
            context.wakes.reconcile.set()
        return 0 if len(effects.results) == BATCH else None


def tick(conn: sa.Connection, context: Context, now: datetime) -> Effects:
    """Apply the passing of time to at most a batch of due tasks; those that others hold are left for later."""
    due = _due_timers(conn, now, BATCH)
    if not due:
        return Effects()
    away = absences(conn, now)
    changes = [Change(now, None, task_id, absences=away) for task_id in due]
    return apply(conn, changes, context.rules, skip_locked=True)


def _due_timers(conn: sa.Connection, now: datetime, limit: int) -> list[UUID]:
    """Read tasks whose timer is due, the most overdue first."""
    return list(conn.scalars(_DUE_TIMERS, {"now": now, "most": limit}))
