"""What happened in a stretch of time, for plots: tasks by outcome and how long they took, callbacks, queries.

Each statement reads one stretch by an index, and at most ``MOST_ROWS`` rows of it. Of a stretch in which more happened
the beginning is read, and what was counted there is taken for the whole.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeVar
from uuid import UUID

import sqlalchemy as sa

from app.database import dialect
from app.database.tables import ASKED, callbacks, tasks, timeline
from app.rules.filters import first_id_of, milliseconds
from app.rules.status import TASK_FINAL, TaskStatus
from app.rules.task import Submission

K = TypeVar("K")

MOST_ROWS: Final = 10_000
_USABLE: Final = (TaskStatus.MAIN_SUCCEEDED.value, TaskStatus.SUCCEEDED.value, TaskStatus.PART_FAILED.value)
_OPEN: Final = [status.value for status in TaskStatus if status not in TASK_FINAL]
_FOUND: Final = (*_USABLE, TaskStatus.FAILED.value)
_TENTHS: Final = ((600, 1), (6_000, 10))
"""Durations are told apart by tenths of a second up to a minute, by seconds up to ten minutes, then by ten seconds: so
many different ones at most does a stretch have."""


@dataclass(slots=True)
class Arrivals:
    """Tasks that were accepted in a stretch of time. ``outcomes``: how many are in each status now. ``playable_s`` and
    ``final_s``: how many took so many seconds, from their acceptance on. ``is_sample``: they are estimates."""

    outcomes: dict[str, float] = field(default_factory=dict)
    playable_s: dict[float, float] = field(default_factory=dict)
    final_s: dict[float, float] = field(default_factory=dict)
    is_sample: bool = False

    @property
    def open(self) -> float:
        """How many have not ended."""
        return sum(self.outcomes.get(status, 0) for status in _OPEN)

    @property
    def pending(self) -> float:
        """How many have not ended, and are not playable."""
        return self.open - self.outcomes.get(TaskStatus.MAIN_SUCCEEDED, 0)


@dataclass(slots=True)
class Contacts:
    """What the vendor told in a stretch of time. ``callbacks``: distinct bodies. ``queries``: answers to queries, one
    for each task asked about; ``found`` of them brought a result that no callback had brought."""

    callbacks: float = 0
    queries: float = 0
    found: float = 0
    is_sample: bool = False


def arrivals(
    conn: sa.Connection, client_name: str | None, start: datetime, end: datetime, most_rows: int = MOST_ROWS
) -> Arrivals:
    """Read what became of the tasks accepted from ``start`` until ``end``, of one client or of all. Tasks that somebody
    else submitted to the vendor are left out."""
    within = sa.and_(tasks.c.id >= first_id_of(start), tasks.c.id < first_id_of(end))
    if client_name is not None:
        within = sa.and_(within, tasks.c.client_name == client_name)
    lags = [
        sa.func.round(dialect.seconds_between(conn, tasks.c.created_at, at) * 10).label(name)
        for name, at in (("playable", tasks.c.playable_at), ("final", tasks.c.finished_at))
    ]
    read = sa.select(tasks.c.id, tasks.c.status, tasks.c.submission, *lags)
    found = read.where(within).order_by(tasks.c.id).limit(most_rows).cte("found")
    ours, status = found.c.submission != Submission.EXTERNAL.value, found.c.status
    nothing = sa.cast(sa.null(), sa.Integer)
    told = sa.union_all(
        _counted(found, "outcome", status, nothing, ours),
        _counted(found, "playable", sa.literal(""), _coarse(found.c.playable), sa.and_(ours, status.in_(_USABLE))),
        _counted(found, "final", sa.literal(""), _coarse(found.c.final), sa.and_(ours, status.in_(_FOUND))),
        _counted(found, "read", sa.literal(""), nothing, sa.true()),
    )
    rows = conn.execute(told).all()
    rate = _rate(conn, tasks.c.id, within, sum(row.n for row in rows if row.what == "read"), most_rows, start, end)
    seen = Arrivals(is_sample=rate > 1)
    for what, name, tenths, count in rows:
        if what == "outcome":
            seen.outcomes[name] = count * rate
        elif tenths is not None:
            (seen.playable_s if what == "playable" else seen.final_s)[tenths / 10] = count * rate
    return seen


def contacts(conn: sa.Connection, start: datetime, end: datetime, most_rows: int = MOST_ROWS) -> Contacts:
    """Count callbacks and answers to queries from ``start`` until ``end``."""
    within = sa.and_(callbacks.c.id >= first_id_of(start), callbacks.c.id < first_id_of(end))
    some = sa.select(callbacks.c.id).where(within).order_by(callbacks.c.id).limit(most_rows).subquery()
    received = conn.scalar(sa.select(sa.func.count()).select_from(some)) or 0
    rate = _rate(conn, callbacks.c.id, within, received, most_rows, start, end)
    # No more than the query rate allows.
    moved_to = timeline.c.detail["status"][1].as_string().label("moved_to")
    asked = sa.and_(ASKED, timeline.c.at >= start, timeline.c.at < end)
    answers = sa.select(moved_to).where(asked).order_by(timeline.c.at).limit(most_rows).subquery()
    found = sa.func.count(sa.case((answers.c.moved_to.in_(_FOUND), 1)))
    row = conn.execute(sa.select(sa.func.count(), found).select_from(answers)).one()
    return Contacts(received * rate, row[0], row[1], rate > 1 or row[0] == most_rows)


def _counted(found: sa.CTE, what: str, name: Any, tenths: Any, condition: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """How many rows there are of each name, or of each duration."""
    columns = (sa.literal(what).label("what"), name.label("name_"), tenths.label("tenths_"), sa.func.count().label("n"))
    return sa.select(*columns).select_from(found).where(condition).group_by("name_", "tenths_")


def _coarse(tenths: sa.ColumnElement[float]) -> sa.ColumnElement[int]:
    steps = sa.case(*((tenths < below, step) for below, step in _TENTHS), else_=100)
    return sa.cast(sa.func.round(tenths / steps) * steps, sa.Integer)


def _rate(
    conn: sa.Connection,
    ids: sa.ColumnElement[UUID],
    within: sa.ColumnElement[bool],
    count: int,
    most_rows: int,
    start: datetime,
    end: datetime,
) -> float:
    """How many times as long a stretch is as the part of it that was read; 1 where all was."""
    if count < most_rows:
        return 1.0
    last: UUID = conn.execute(sa.select(ids).where(within).order_by(ids).offset(most_rows - 1).limit(1)).scalar_one()
    read_ms = max((last.int >> 80) - milliseconds(start), 1)
    return max((milliseconds(end) - milliseconds(start)) / read_ms, 1.0)


def merged(parts: Iterable[Arrivals]) -> Arrivals:
    """Several stretches as one."""
    whole = Arrivals()
    for part in parts:
        _add(whole.outcomes, part.outcomes)
        _add(whole.playable_s, part.playable_s)
        _add(whole.final_s, part.final_s)
        whole.is_sample = whole.is_sample or part.is_sample
    return whole


def quantile(durations: Mapping[float, float], share: float, unknown: float = 0) -> float | None:
    """The duration within which a share (0–1) of them lies, by nearest rank; None without any. ``unknown``: so many
    more last longer than all of these; None where it is among those."""
    wanted, passed = share * (sum(durations.values()) + unknown), 0.0
    for duration in sorted(durations):
        passed += durations[duration]
        if passed >= wanted:
            return duration
    return None


def _add(into: dict[K, float], counts: Mapping[K, float]) -> None:
    for key, count in counts.items():
        into[key] = into.get(key, 0) + count
