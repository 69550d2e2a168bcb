"""Readiness warnings: faults that leave a process ready, checked at the start and each minute, shown by `/readyz`.

A database that may lose what it confirmed, callback secrets that open tasks still need and that were removed, a public
URL that does not lead here, a clock that is off. None of them makes a process unready: another one would be no better.
"""

from collections.abc import Iterable
from typing import Any, Final

import sqlalchemy as sa
import structlog

from app.app_context import Context
from app.database import dialect
from app.database.tables import tasks
from app.operations.clock_skew import Level, SkewWatch
from app.operations.self_check import SelfCheck
from app.runtime import metrics

CHECK_S: Final = 60.0
SETTINGS: Final = ("fsync", "full_page_writes", "synchronous_commit")
"""Each of them off means that a commit which was confirmed can be lost, or the whole database, when the machine
stops (PostgreSQL's documentation, "Write Ahead Log"). G1 does not hold then."""
_LOOK: Final = sa.select(sa.column("name", sa.Text)).select_from(sa.table("pg_settings"))
_SIGNED_OTHERWISE: Final = sa.select(sa.func.count()).select_from(
    sa.select(tasks.c.id)
    .where(
        tasks.c.timer_due_at.is_not(None),
        tasks.c.callback_key_id.not_in(sa.bindparam("key_ids", expanding=True)),
    )
    .limit(1000)
    .subquery()
)

log = structlog.get_logger(__name__)


class ReadinessWarnings:
    """Checks at each ``step``, a loop iteration."""

    def __init__(self, context: Context, skew: SkewWatch, self_check: SelfCheck | None = None) -> None:
        self._context = context
        self._skew = skew
        self._self_check = self_check
        self._unsafe: list[str] = []
        self._unreachable = 0

    async def step(self) -> float | None:
        """Check, and log each fault for as long as it lasts. Raises ``Unavailable``, and then the result of the last
        check stands."""
        db = self._context.loops_db()
        self._unsafe = await db.read(unsafe_settings)
        self._unreachable = await db.read(_count_open_signed_otherwise, self._context.tokens.key_ids)
        for setting in SETTINGS:
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
        return CHECK_S

    def current(self) -> list[dict[str, Any]]:
        """The warnings of the last check: a stable ``code``, and a ``detail`` for people."""
        warnings = [("database_unsafe", f"PostgreSQL runs with {name} off") for name in self._unsafe]
        if self._unreachable:
            # Counted up to a thousand.
            text = f"open tasks whose callbacks are refused, since their secret was taken away: {self._unreachable}"
            warnings.append(("callback_secret_missing", text))
        if self._self_check is not None and self._self_check.fault is not None:
            text = f"TemPolor will not reach you: {self._context.public_url} {self._self_check.fault}"
            warnings.append(("callbacks_unreachable", text))
        if self._skew.level is not Level.GOOD:
            stops = "; the loops of this process stand still" if self._skew.stops_loops() else ""
            warnings.append(("clock_skew", f"the clock is {self._skew.skew_s:+.1f} s off the database's{stops}"))
        return [{"code": code, "detail": detail} for code, detail in warnings]


def unsafe_settings(conn: sa.Connection) -> list[str]:
    """Read which of ``SETTINGS`` are off for this session, by name. None on SQLite, where we set ``synchronous``
    ourselves."""
    if not dialect.is_postgresql(conn):
        return []
    off = sa.and_(sa.column("name", sa.Text).in_(SETTINGS), sa.column("setting", sa.Text) == "off")
    return sorted(conn.scalars(_LOOK.where(off)))


def _count_open_signed_otherwise(conn: sa.Connection, key_ids: Iterable[str]) -> int:
    """Count open tasks whose callback URL was signed with a secret that is not among these (0–1000, counted no
    further)."""
    return conn.scalar(_SIGNED_OTHERWISE, {"key_ids": list(key_ids)}) or 0
