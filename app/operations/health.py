"""How the process and its work are: alive, ready, stuck."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from app.context import Context
from app.database import durability
from app.database.database import Database
from app.database.migrate import Schema, compare_schema
from app.errors import Unavailable
from app.limits import limits, model_holds
from app.limits.hold import Reason
from app.operations import survey
from app.operations.clock_skew import SkewWatch
from app.operations.warnings import Warnings
from app.rules.policy import Thresholds
from app.rules.status import TASK_FINAL, TaskStatus
from app.runtime import metrics

SURVEY_S: Final = 10.0
MOST_SERIES: Final = 20


WENT_BACK: Final = "clock_went_back"
_ALARMS: Final = (Reason.KEY_REJECTED, Reason.NO_POINTS, "clock_skew", WENT_BACK)
"""These wait for somebody to mend them; and while what was planned by a clock that has been set back since is still
to be planned again, it is due hours from now."""


@dataclass(slots=True)
class Health:
    """``loop_ages_s``: seconds since each loop of this process last ended a turn well."""

    context: Context
    loop_ages_s: Callable[[], dict[str, float]]
    skew: SkewWatch
    cautions: Warnings
    allowed: Thresholds = field(default_factory=Thresholds)
    draining: bool = False

    async def readiness(self) -> dict[str, Any]:
        """``ready``, what each check found, ``warnings``: what is not right although it is ready, and ``reason``: why
        the database is not reached."""
        checks = {"draining": "yes" if self.draining else "no", "database": "ok", "schema": "ok"}
        # A newer release has migrated while this process runs: it goes on until it is replaced. Were it not ready,
        # the first step of a rolling update would take every process out of the balancer at once.
        usable, reason = True, None
        try:
            schema, writable = await self.context.db.read(_look)
            checks["schema"], usable = schema.value, writable and schema is not Schema.OTHER
            if not writable:
                checks["database"], reason = "read-only", "the database takes no writes"
        except Unavailable as error:
            checks["database"], usable, reason = "unreachable", False, error.detail
        ready = usable and not self.draining
        return {"ready": ready, "checks": checks, "warnings": self.cautions.found(), "reason": reason}

    async def backlog(self) -> dict[str, Any]:
        """``stuck``, and the numbers: what is overdue, and which loops of this process do not turn."""
        ages_s = self.loop_ages_s()
        stalled = sorted(name for name, age_s in ages_s.items() if age_s > self.allowed.loop_stalled_s)
        still = await self._standing(self.context.db)
        counted = await self._overdue(self.context.db, still)
        models = await self._held_models(self.context.db)
        alarming = any(one["reason"] in _ALARMS for one in still.values()) or any(one["waiting"] for one in models)
        stuck = bool(stalled) or any(counted.values()) or alarming
        return {
            "stuck": stuck,
            **counted,
            "stalled_loops": stalled,
            "oldest_s": await self._oldest_s(self.context.db),
            "thresholds_s": {
                name.removesuffix("_s"): value for name, value in dataclasses.asdict(self.allowed).items()
            },
            "standing_still": still,
            # The vendor's own words are for admins.
            "held_models": [{name: one[name] for name in one if name != "detail"} for one in models],
            "clock_skew_s": round(self.skew.skew_s, 3),
        }

    def note_loops(self) -> None:
        """Bring the loops' gauge up to date."""
        for name, age_s in self.loop_ages_s().items():
            metrics.loop_heartbeat_age.labels(name).set(age_s)

    async def survey(self) -> float | None:
        """Count what is open, for the gauges. A turn of a loop, so that scraping costs no statement."""
        db = self.context.loops_db()
        for status, count in (await db.read(survey.open_tasks)).items():
            metrics.tasks.labels(status).set(count)
        for status, age_s in (await self._oldest_s(db)).items():
            metrics.oldest_task_age.labels(status).set(age_s)
        await self._survey_outbox(db)
        still = await self._standing(db)
        for name, count in (await self._overdue(db, still)).items():
            metrics.overdue.labels(name.removeprefix("overdue_").removeprefix("undelivered_")).set(count)
        metrics.standing_still.clear()
        for what, one in still.items():
            metrics.standing_still.labels(what, one["reason"]).set(1)
        self._note_models(await self._held_models(db))
        return SURVEY_S

    def _note_models(self, models: list[dict[str, Any]]) -> None:
        """One series for each model that is held longest; clients name models, and the others share one."""
        metrics.model_held_tasks.clear()
        for one in models[:MOST_SERIES]:
            metrics.model_held_tasks.labels(one["kind"], one["model"] or "").set(one["waiting"])
        if others := models[MOST_SERIES:]:
            metrics.model_held_tasks.labels("other", "other").set(sum(one["waiting"] for one in others))

    async def _held_models(self, db: Database) -> list[dict[str, Any]]:
        return await db.read(model_holds.overview, self.context.policy, self.context.clock.now())

    async def _overdue(self, db: Database, still: Mapping[str, Any]) -> dict[str, int]:
        """How much is stuck. While something stands still on purpose, what it holds is late but not stuck."""
        overdue = await db.read(survey.overdue, self.context.clock.now(), self.allowed)
        return {
            "overdue_queries": 0 if "query" in still else overdue.queries,
            "overdue_submissions": 0 if "submit" in still else overdue.submissions,
            "overdue_timers": overdue.timers,
            "undelivered_notifications": overdue.notifications,
        }

    async def _oldest_s(self, db: Database) -> dict[str, float]:
        """The age of the oldest task of each open status; 0 without one."""
        found, now = await db.read(survey.oldest), self.context.clock.now()
        statuses = [status for status in TaskStatus if status not in TASK_FINAL]
        return {one.value: round(max((now - found.get(one.value, now)).total_seconds(), 0), 3) for one in statuses}

    async def _survey_outbox(self, db: Database) -> None:
        found, now = await db.read(survey.outbox), self.context.clock.now()
        late_s = (now - found.first_due_at).total_seconds() if found.first_due_at is not None else 0.0
        metrics.outbox_pending.set(found.pending)
        metrics.outbox_oldest_due_age.set(max(late_s, 0))

    async def _standing(self, db: Database) -> dict[str, dict[str, Any]]:
        """What stands still: submissions and queries everywhere, or the loops of this process."""
        found = await db.read(_held)
        loops = self.skew.standing()
        return found if loops is None else found | {"loops": loops}


def _look(conn: sa.Connection) -> tuple[Schema, bool]:
    return compare_schema(conn), durability.takes_writes(conn)


def _held(conn: sa.Connection) -> dict[str, dict[str, Any]]:
    """What is held for all processes, why and since when."""
    found: dict[str, dict[str, Any]] = {}
    for name, state in limits.read(conn).items():
        hold_state = state.hold_state
        if state.operating.went_back_at is not None:
            found["plan"] = {"reason": WENT_BACK, "since": state.operating.went_back_at}
        if hold_state.by_hand is not None:
            found[name.value] = {"reason": "held_by_hand", "since": hold_state.by_hand_since}
        elif hold_state.hold is not None:
            hold = hold_state.hold
            found[name.value] = {"reason": hold.reason.value, "since": hold.since, "until": hold.until}
    return found
