"""Health of the process and its work: readiness, and the backlog of stuck work."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from app.app_context import Context
from app.database import dialect
from app.database.schema_revision import Schema, compare_schema
from app.errors import Unavailable
from app.limits import model_holds, shared_limits
from app.limits.hold import Reason
from app.operations import backlog_counts
from app.operations.backlog_counts import Thresholds
from app.operations.clock_skew import SkewWatch
from app.operations.readiness_warnings import ReadinessWarnings
from app.rules.policy import Policy
from app.rules.status import TASK_FINAL, TaskStatus
from app.runtime import metrics

SURVEY_S: Final = 10.0
MOST_SERIES: Final = 20


WENT_BACK: Final = "clock_went_back"
NO_DISPATCHER: Final = "no_process_dispatches"
_ALARMS: Final = (Reason.KEY_REJECTED, Reason.NO_POINTS, "clock_skew", WENT_BACK)
"""Holds that count as stuck. The first three wait for somebody to fix them; and what was planned by a clock that has
been set back since is due hours from now, until it is planned again."""


@dataclass(slots=True)
class Health:
    """Answers `/readyz` and `/backlog`, and sets their gauges. ``loop_ages_s``: heartbeat ages of the loops, seconds
    since an iteration of each was due that has not ended well yet."""

    context: Context
    loop_ages_s: Callable[[], dict[str, float]]
    skew: SkewWatch
    readiness_warnings: ReadinessWarnings
    thresholds: Thresholds = field(default_factory=Thresholds)
    draining: bool = False
    started_at: datetime = field(init=False)
    _beat_at: datetime | None = field(init=False, default=None)
    _looks: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.started_at = self.context.clock.now()

    async def readiness(self) -> dict[str, Any]:
        """Check readiness: ``ready``, the result of each check, ``warnings``, and ``reason``: why the database cannot
        be used."""
        checks = {"draining": "yes" if self.draining else "no", "database": "ok", "schema": "ok"}
        # A schema that a newer release has migrated leaves the process ready until it is replaced. Were it not, the
        # first step of a rolling update would take every process out of the balancer at once.
        usable, reason = True, None
        try:
            schema, writable = await self.context.db.read(_check_database)
            checks["schema"], usable = schema.value, writable and schema is not Schema.OTHER
            if not writable:
                checks["database"], reason = "read-only", "the database takes no writes"
        except Unavailable as error:
            checks["database"], usable, reason = "unreachable", False, error.detail
        ready = usable and not self.draining
        return {"ready": ready, "checks": checks, "warnings": self.readiness_warnings.current(), "reason": reason}

    async def backlog(self) -> dict[str, Any]:
        """Count overdue work and stalled loops of this process; ``stuck``: somebody should act."""
        ages_s = self.loop_ages_s()
        stalled = sorted(name for name, age_s in ages_s.items() if age_s > self.thresholds.loop_stalled_s)
        now = self.context.clock.now()
        found = await self.context.db.read(_read, self.thresholds, self.context.policy, now)
        holds, models = self._holds(found), found.models
        overdue, oldest_s = _overdue(found, holds), _oldest_s(found, now)
        # Without a dispatcher nothing is stuck as long as nothing is queued.
        alarms = _ALARMS if oldest_s[TaskStatus.QUEUED] == 0 else (*_ALARMS, NO_DISPATCHER)
        alarming = any(hold["reason"] in alarms for hold in holds.values()) or any(model["waiting"] for model in models)
        stuck = bool(stalled) or any(overdue.values()) or alarming
        return {
            "stuck": stuck,
            **overdue,
            "stalled_loops": stalled,
            "oldest_s": oldest_s,
            "thresholds_s": {
                name.removesuffix("_s"): value for name, value in dataclasses.asdict(self.thresholds).items()
            },
            "standing_still": holds,
            # The vendor's own words are for admins.
            "held_models": [{name: model[name] for name in model if name != "detail"} for model in models],
            "clock_skew_s": round(self.skew.skew_s, 3),
        }

    def note_loops(self) -> None:
        """Set the gauge of heartbeat ages."""
        for name, age_s in self.loop_ages_s().items():
            metrics.loop_heartbeat_age.labels(name).set(age_s)

    async def survey(self) -> float | None:
        """Count what is open, for the gauges. A loop iteration, so that scraping costs no statement."""
        now = self.context.clock.now()
        found, open_tasks, outbox = await self.context.loops_db().read(
            _read_all, self.thresholds, self.context.policy, now
        )
        for status, count in open_tasks.items():
            metrics.tasks.labels(status).set(count)
        for status, age_s in _oldest_s(found, now).items():
            metrics.oldest_task_age.labels(status).set(age_s)
        late_s = (now - outbox.first_due_at).total_seconds() if outbox.first_due_at is not None else 0.0
        metrics.outbox_pending.set(outbox.pending)
        metrics.outbox_oldest_due_age.set(max(late_s, 0))
        # Looks are counted, not seconds: a clock that is set, or a machine that was asleep, silences nobody.
        self._looks += 1
        holds = self._holds(found)
        for name, count in _overdue(found, holds).items():
            metrics.overdue.labels(name.removeprefix("overdue_").removeprefix("undelivered_")).set(count)
        metrics.standing_still.clear()
        for what, hold in holds.items():
            metrics.standing_still.labels(what, hold["reason"]).set(1)
        self._note_models(found.models)
        return SURVEY_S

    def _note_models(self, models: list[dict[str, Any]]) -> None:
        """Set one series for each of the models held longest; the others share one, since clients name models."""
        metrics.model_held_tasks.clear()
        for model in models[:MOST_SERIES]:
            metrics.model_held_tasks.labels(model["kind"], model["model"] or "").set(model["waiting"])
        if others := models[MOST_SERIES:]:
            metrics.model_held_tasks.labels("other", "other").set(sum(model["waiting"] for model in others))

    def _holds(self, found: "_Found") -> dict[str, dict[str, Any]]:
        """What is on hold: submissions and queries of all processes, all work where no process dispatches, or the loops
        of this one."""
        holds = dict(found.holds)
        if (paused := self.skew.paused()) is not None:
            holds["loops"] = paused
        if found.beat_at != self._beat_at:
            self._beat_at, self._looks = found.beat_at, 0
        if self._looks * SURVEY_S > self.thresholds.loop_stalled_s:
            holds["workers"] = {"reason": NO_DISPATCHER, "since": found.beat_at or self.started_at}
        return holds


_READ_ONLY: Final = sa.select(sa.func.current_setting("transaction_read_only", type_=sa.Text))


@dataclass(frozen=True, slots=True)
class _Found:
    """What one reading found: what is on hold for all processes, and the last sign of life of any; overdue work; when
    the oldest task of each open status was accepted; the models that are held."""

    holds: dict[str, dict[str, Any]]
    beat_at: datetime | None
    overdue: backlog_counts.Overdue
    oldest_at: dict[str, datetime]
    models: list[dict[str, Any]]


def _read(conn: sa.Connection, thresholds: Thresholds, policy: Policy, now: datetime) -> _Found:
    return _Found(
        *_shared_holds(conn),
        backlog_counts.overdue(conn, now, thresholds),
        backlog_counts.oldest(conn),
        model_holds.overview(conn, policy, now),
    )


def _read_all(
    conn: sa.Connection, thresholds: Thresholds, policy: Policy, now: datetime
) -> tuple[_Found, dict[str, int], backlog_counts.Outbox]:
    """Read also how many tasks of each open status there are, and the outbox."""
    return _read(conn, thresholds, policy, now), backlog_counts.open_tasks(conn), backlog_counts.outbox(conn)


def _overdue(found: _Found, holds: Mapping[str, Any]) -> dict[str, int]:
    """Overdue work. What a hold keeps back is late, but not overdue."""
    return {
        "overdue_queries": 0 if "query" in holds else found.overdue.queries,
        "overdue_submissions": 0 if "submit" in holds else found.overdue.submissions,
        "overdue_timers": found.overdue.timers,
        "undelivered_notifications": found.overdue.notifications,
    }


def _oldest_s(found: _Found, now: datetime) -> dict[str, float]:
    """The age of the oldest task of each open status; 0 without one."""
    names = [status.value for status in TaskStatus if status not in TASK_FINAL]
    return {name: round(max((now - found.oldest_at.get(name, now)).total_seconds(), 0), 3) for name in names}


def _check_database(conn: sa.Connection) -> tuple[Schema, bool]:
    """Compare the schema; and read whether anything can be stored: not on a standby, nor on a server that is set to
    read only."""
    writable = not dialect.is_postgresql(conn) or conn.scalar(_READ_ONLY) == "off"
    return compare_schema(conn), writable


def _shared_holds(conn: sa.Connection) -> tuple[dict[str, dict[str, Any]], datetime | None]:
    """What is on hold for all processes, why and since when; and the last sign of life of any process that works the
    queue: each gives one every two seconds, in the row of a limit."""
    holds: dict[str, dict[str, Any]] = {}
    beat_at: datetime | None = None
    for name, state in shared_limits.read(conn).items():
        hold_state = state.hold_state
        beat_at = state.availability.beat_at or beat_at
        if state.availability.went_back_at is not None:
            holds["plan"] = {"reason": WENT_BACK, "since": state.availability.went_back_at}
        if hold_state.by_hand is not None:
            holds[name.value] = {"reason": "held_by_hand", "since": hold_state.by_hand_since}
        elif hold_state.hold is not None:
            hold = hold_state.hold
            holds[name.value] = {"reason": hold.reason.value, "since": hold.since, "until": hold.until}
    return holds, beat_at
