"""What is not right although everything works: told at the start, looked at each minute, shown by `/readyz`.

A database that does not keep what it confirmed, callback secrets that open tasks still need and that were taken
away, a clock that is off. None of them makes a process unready: another one would be no better.
"""

from typing import Any, Final

import structlog

from app.context import Context
from app.database import durability
from app.operations.clock_skew import Level, SkewWatch
from app.runtime import metrics
from app.tasks import task_rows

LOOK_S: Final = 60.0
LOOP_S: Final = 10.0
"""Between two turns of its loop, of which most do nothing: one that slept for a minute would be taken for stalled."""

log = structlog.get_logger(__name__)


class Warnings:
    """Looks at each ``step``, a turn of a loop, once a minute; at the first one at once."""

    def __init__(self, context: Context, skew: SkewWatch) -> None:
        self._context = context
        self._skew = skew
        self._looked_at: float | None = None
        self._unsafe: list[str] = []
        self._unreachable = 0

    async def step(self) -> float | None:
        """Look, if it is time, and tell what is found for as long as it is so. Raises ``Unavailable``, and then what
        was found last stands."""
        now = self._context.clock.monotonic()
        if self._looked_at is not None and now - self._looked_at < LOOK_S:
            return LOOP_S
        db = self._context.loops_db()
        self._unsafe = await db.read(durability.unsafe_settings)
        self._unreachable = await db.read(task_rows.count_open_signed_otherwise, self._context.tokens.key_ids)
        self._looked_at = now
        for setting in durability.SETTINGS:
            metrics.database_unsafe.labels(setting).set(setting in self._unsafe)
        metrics.callback_secret_missing.set(self._unreachable)
        if self._unsafe:
            log.warning("database.unsafe", off=self._unsafe, danger="what was acknowledged can be lost")
        if self._unreachable:
            log.warning(
                "callback_secrets.missing",
                open_tasks=self._unreachable,
                remedy="put the secret back behind the first one until they have ended",
            )
        return LOOP_S

    def found(self) -> list[dict[str, Any]]:
        """What is to be told now: a stable ``code`` and words for people."""
        said = [("database_unsafe", f"PostgreSQL runs with {name} off") for name in self._unsafe]
        if self._unreachable:
            # Counted up to a thousand.
            text = f"open tasks whose callbacks are refused, since their secret was taken away: {self._unreachable}"
            said.append(("callback_secret_missing", text))
        if self._skew.level is not Level.GOOD:
            stops = "; the loops of this process stand still" if self._skew.stops_loops() else ""
            said.append(("clock_skew", f"the clock is {self._skew.skew_s:+.1f} s off the database's{stops}"))
        return [{"code": code, "detail": detail} for code, detail in said]
