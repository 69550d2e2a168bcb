"""What happened in an interval of time, for plots: tasks by outcome and how long they took, callbacks, queries.

Each statement reads one interval by an index, and at most ``MOST_ROWS`` rows of it. Of one in which more happened
the beginning is read, and what was counted there is taken for the whole.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, Final, TypeVar
from uuid import UUID

import sqlalchemy as sa

from app.database import dialect
from app.database.tables import ASKED, callbacks, tasks, timeline
from app.rules.status import TASK_FINAL, TaskStatus
from app.rules.task import Submission
from app.rules.times import to_us
from app.runtime.clock import first_id_of

K = TypeVar("K")
T = TypeVar("T")
Interval = tuple[datetime, datetime]
"""From its start until its end, which is not in it any more."""

MOST_ROWS: Final = 10_000
_USABLE: Final = (TaskStatus.MAIN_SUCCEEDED.value, TaskStatus.SUCCEEDED.value, TaskStatus.PART_FAILED.value)
_OPEN: Final = [status.value for status in TaskStatus if status not in TASK_FINAL]
_FOUND: Final = (*_USABLE, TaskStatus.FAILED.value)
_TENTHS: Final = ((600, 1), (6_000, 10))
"""Durations are told apart by tenths of a second up to a minute, by seconds up to ten minutes, then by ten seconds: so
many different ones at most does an interval have."""


@dataclass(slots=True)
class Arrivals:
    """Tasks that were accepted in an interval. ``outcomes``: how many are in each status now. ``playable_s`` and
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
    """What came from the vendor in an interval. ``callbacks``: distinct bodies. ``queries``: answers to queries, one
    for each task asked about; ``found`` of them brought a result that no callback had brought."""

    callbacks: float = 0
    queries: float = 0
    found: float = 0
    is_sample: bool = False


def arrivals(
    conn: sa.Connection, start: datetime, end: datetime, client_name: str | None = None, most_rows: int = MOST_ROWS
) -> Arrivals:
    """Read what became of the tasks accepted from ``start`` until ``end``, of one client or of all. Tasks that somebody
    else submitted to the vendor are left out."""
    given = {"first": first_id_of(start), "end": first_id_of(end), "client": client_name, "most": most_rows}
    of_client = client_name is not None
    rows = conn.execute(_arrivals(of_client, dialect.is_postgresql(conn)), given).all()
    rate = 1.0
    if sum(row.n for row in rows if row.what == "read") >= most_rows:
        rate = _rate(conn.scalar(_last(_ids(tasks.c.id, of_client)), given), start, end)
    seen = Arrivals(is_sample=rate > 1)
    for what, name, tenths, count in rows:
        if what == "outcome":
            seen.outcomes[name] = count * rate
        elif tenths is not None:
            (seen.playable_s if what == "playable" else seen.final_s)[tenths / 10] = count * rate
    return seen


def contacts(conn: sa.Connection, start: datetime, end: datetime, most_rows: int = MOST_ROWS) -> Contacts:
    """Count callbacks and answers to queries from ``start`` until ``end``."""
    given = {"first": first_id_of(start), "end": first_id_of(end), "most": most_rows}
    received, rate = conn.scalar(_RECEIVED, given) or 0, 1.0
    if received >= most_rows:
        rate = _rate(conn.scalar(_last(_ids(callbacks.c.id)), given), start, end)
    asked, found = conn.execute(_ASKED, {"start": start, "end": end, "most": most_rows}).one()
    return Contacts(received * rate, asked, found, rate > 1 or asked == most_rows)


# The statements are made once: to put one together takes longer than to carry it out.


@cache
def _arrivals(of_client: bool, is_postgresql: bool) -> sa.Select[Any] | sa.CompoundSelect[Any]:
    """Count the tasks of an interval by status, and how many of them took how long."""
    lags = [
        sa.func.round(dialect.seconds_between(is_postgresql, tasks.c.created_at, at) * 10).label(name)
        for name, at in (("playable", tasks.c.playable_at), ("final", tasks.c.finished_at))
    ]
    read = _ids(tasks.c.id, of_client).with_only_columns(tasks.c.status, tasks.c.submission, *lags)
    found = read.limit(sa.bindparam("most")).cte("found")
    status, nothing = found.c.status, sa.cast(sa.null(), sa.Integer)
    ours = found.c.submission != Submission.EXTERNAL.value

    def counted(what: str, name: Any, tenths: Any, condition: sa.ColumnElement[bool]) -> sa.Select[Any]:
        columns = sa.literal(what).label("what"), name.label("name_"), tenths.label("tenths_"), _COUNT.label("n")
        return sa.select(*columns).select_from(found).where(condition).group_by("name_", "tenths_")

    return sa.union_all(
        counted("outcome", status, nothing, ours),
        counted("playable", sa.literal(""), _coarse(found.c.playable), sa.and_(ours, _is_one_of(status, _USABLE))),
        counted("final", sa.literal(""), _coarse(found.c.final), sa.and_(ours, _is_one_of(status, _FOUND))),
        counted("read", sa.literal(""), nothing, sa.true()),
    )


def _ids(ids: sa.Column[UUID], of_client: bool = False) -> sa.Select[Any]:
    within = sa.select(ids).where(ids >= sa.bindparam("first"), ids < sa.bindparam("end")).order_by(ids)
    return within.where(tasks.c.client_name == sa.bindparam("client")) if of_client else within


def _last(ids: sa.Select[Any]) -> sa.Select[Any]:
    """The last of those that are read."""
    return ids.offset(sa.bindparam("most") - 1).limit(1)


def _coarse(tenths: sa.ColumnElement[float]) -> sa.ColumnElement[int]:
    steps = sa.case(*((tenths < below, step) for below, step in _TENTHS), else_=100)
    return sa.cast(sa.func.round(tenths / steps) * steps, sa.Integer)


def _is_one_of(status: sa.ColumnElement[str], names: Iterable[str]) -> sa.ColumnElement[bool]:
    return sa.or_(*(status == name for name in names))


def _asked() -> sa.Select[int, int]:
    moved_to = timeline.c.detail["status"][1].as_string().label("moved_to")
    within = sa.and_(ASKED, timeline.c.at >= sa.bindparam("start"), timeline.c.at < sa.bindparam("end"))
    answers = sa.select(moved_to).where(within).order_by(timeline.c.at).limit(sa.bindparam("most")).subquery()
    found = sa.func.count(sa.case((_is_one_of(answers.c.moved_to, _FOUND), 1)))
    return sa.select(_COUNT, found).select_from(answers)


_COUNT: Final = sa.func.count()
_ASKED: Final = _asked()
_RECEIVED: Final = sa.select(_COUNT).select_from(_ids(callbacks.c.id).limit(sa.bindparam("most")).subquery())


def _rate(last: UUID | None, start: datetime, end: datetime) -> float:
    """How many times as long an interval is as the part of it that was read, up to its last id."""
    if last is None:
        return 1.0
    # The first 48 bits of an id are the milliseconds of its time.
    read_us = max((last.int >> 80) * 1000 - to_us(start), 1000)
    return max((to_us(end) - to_us(start)) / read_us, 1.0)


def each(
    conn: sa.Connection, read: Callable[[sa.Connection, datetime, datetime], T], intervals: Iterable[Interval]
) -> list[T]:
    """Read several intervals in one transaction."""
    return [read(conn, start, end) for start, end in intervals]


def total(counts: Iterable[Mapping[K, float]]) -> dict[K, float]:
    """The counts of several intervals added up."""
    whole: dict[K, float] = {}
    for one in counts:
        for key, count in one.items():
            whole[key] = whole.get(key, 0) + count
    return whole


def quantiles(durations: Mapping[float, float], shares: Sequence[float], unknown: float = 0) -> list[float | None]:
    """The durations within which shares (0–1, ascending) of them lie, by nearest rank; None without any. ``unknown``:
    so many more last longer than all of these; None where it is among those."""
    count, passed = sum(durations.values()) + unknown, 0.0
    found: list[float | None] = []
    for duration in sorted(durations):
        passed += durations[duration]
        while len(found) < len(shares) and passed >= shares[len(found)] * count:
            found.append(duration)
        if len(found) == len(shares):
            break
    return found + [None] * (len(shares) - len(found))
