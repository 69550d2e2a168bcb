"""Plots of time series, as what a template draws: marks, ticks and words, in per cent of a picture of any width.

A picture has no coordinates of its own, so that it fits a phone and a wide screen with the same letters. What is drawn
is in words too: each column by its title, and all of them by a table.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeVar
from urllib.parse import urlencode

from app.console.text import since
from app.console.time_series import Span
from app.operations.history import Arrivals, Contacts, quantiles, total

T = TypeVar("T")

LEFT, RIGHT, TOP, BOTTOM = 13.0, 100.0, 5.0, 85.0
"""Where the columns are, in per cent of the picture; labels have the rest."""
MOST_TICKS: Final = 4
GAP: Final = 0.18
"""Between two columns, of the place that each has."""
_EACH_S: Final = {"hour": 900, "day": 21_600}
"""Between two labels of the time axis."""
_SECONDS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400)
_SHARES: Final = (0.5, 0.95)
_OUTCOMES: Final = {
    "done": ("Done", ("succeeded",)),
    "part": ("Done, in part", ("part_failed",)),
    "failed": ("Failed", ("failed", "expired")),
    "canceled": ("Canceled", ("canceled",)),
    "open": ("Under way", ("queued", "submitting", "unconfirmed", "running", "main_succeeded")),
}


@dataclass(frozen=True, slots=True)
class Mark:
    """A part of a column, or a line across it where it has no height; in per cent of the picture."""

    look: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Column:
    """One interval. ``title``: what happened in it; ``cells``: the same for the table."""

    at: datetime
    x: float
    width: float
    marks: list[Mark]
    title: str
    cells: list[str]


@dataclass(frozen=True, slots=True)
class Tick:
    """A label of an axis, at so many per cent of it. ``at``: a time, which the browser shows in its reader's zone."""

    place: float
    label: str
    at: datetime | None = None


@dataclass(slots=True)
class Plot:
    """A plot. ``lead``: its figures, each with what it is of. ``legend``: the looks of marks, what each stands for,
    and where its tasks are.
    ``is_sample``: of some intervals not all was read; ``unread``: of how many nothing yet."""

    name: str
    title: str
    about: str
    span: Span
    lead: list[tuple[str, str]]
    legend: list[tuple[str, str, str | None]]
    heads: list[str]
    columns: list[Column] = field(default_factory=list)
    y_ticks: list[Tick] = field(default_factory=list)
    x_ticks: list[Tick] = field(default_factory=list)
    baseline: float = BOTTOM
    is_sample: bool = False
    unread: int = 0

    @property
    def is_empty(self) -> bool:
        return not any(column.marks for column in self.columns)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What is drawn of an interval, in the units of the plot: (look, from, to)."""

    marks: list[tuple[str, float, float]]
    title: str
    cells: list[str]


def of_arrivals(span: Span, found: Sequence[tuple[datetime, Arrivals | None]]) -> Plot:
    """Tasks by when they were accepted and what has become of them."""
    read = [part for _, part in found if part is not None]
    outcomes, is_sample = total(part.outcomes for part in read), any(part.is_sample for part in read)
    plot = Plot(
        "arrivals",
        "Tasks accepted",
        "By the time of acceptance, with the status that they have now",
        span,
        [(_count(sum(outcomes.values()), is_sample), "accepted")],
        [
            (look, f"{label} {_count(count, is_sample)}", _listed(statuses))
            for look, (label, statuses) in _OUTCOMES.items()
            if (count := _sum(outcomes, statuses)) or look == "done"
        ],
        ["Accepted", *(label for label, _ in _OUTCOMES.values())],
        is_sample=is_sample,
    )
    _draw(plot, found, _outcomes, _step_of_counts)
    return plot


def of_durations(span: Span, found: Sequence[tuple[datetime, Arrivals | None]]) -> Plot:
    """How long tasks took to be playable, by when they were accepted: the median, and the 95th percentile."""
    read = [part for _, part in found if part is not None]
    p50, p95 = quantiles(total(part.playable_s for part in read), _SHARES)
    final = quantiles(total(part.final_s for part in read), _SHARES)
    plot = Plot(
        "durations",
        "Time to playable",
        "From acceptance until a task can be played: median and 95th percentile",
        span,
        [(_duration(p50), "p50"), (_duration(p95), "p95")],
        [("median", "p50", None), ("band", "to p95", None)],
        ["Playable", "p50", "p95"],
        is_sample=any(part.is_sample for part in read),
    )
    if final[0] is not None:
        plot.about += f". Until it is done: {_duration(final[0])}, {_duration(final[1])}"
    _draw(plot, found, _durations, _step_of_seconds, _tick_of_seconds)
    return plot


def of_contacts(span: Span, found: Sequence[tuple[datetime, Contacts | None]]) -> Plot:
    """Callbacks upwards, and downwards the queries that were made since none came."""
    read = [part for _, part in found if part is not None]
    is_sample = any(part.is_sample for part in read)
    received, asked, lost = (sum(getattr(part, name) for part in read) for name in ("callbacks", "queries", "found"))
    plot = Plot(
        "contacts",
        "Callbacks and queries",
        "Below the line: queries, made where no callback arrived; lost: results that only a query brought",
        span,
        [(_count(received, is_sample), "callbacks"), (_count(lost, is_sample), "lost")],
        [
            ("callbacks", "Callbacks", None),
            ("queries", f"Queries {_count(asked, is_sample)}", None),
            ("lost", "Lost", None),
        ],
        ["Callbacks", "Queries", "Lost"],
        is_sample=is_sample,
    )
    _draw(plot, found, _contacts, _step_of_counts)
    return plot


def _outcomes(part: Arrivals) -> _Drawn | None:
    if not part.outcomes:
        return None
    marks, passed, cells = [], 0.0, [_count(sum(part.outcomes.values()), part.is_sample)]
    counts = []
    for look, (label, statuses) in _OUTCOMES.items():
        count = _sum(part.outcomes, statuses)
        cells.append(_count(count, part.is_sample))
        if count:
            marks.append((look, passed, passed + count))
            counts.append(f"{label.lower()} {cells[-1]}")
            passed += count
    return _Drawn(marks, f"{cells[0]} accepted; {', '.join(counts)}", cells)


def _durations(part: Arrivals) -> _Drawn | None:
    if not part.playable_s:
        return None
    # What is under way may take longer than all of those that are there.
    p50, p95 = quantiles(part.playable_s, _SHARES, part.pending)
    cells = [_count(sum(part.playable_s.values()), part.is_sample), _duration(p50), _duration(p95)]
    if p50 is None:
        return _Drawn([], "", cells)
    marks = [("median", p50, p50)] if p95 is None else [("band", p50, p95), ("edge", p95, p95), ("median", p50, p50)]
    return _Drawn(marks, f"p50 {cells[1]}, p95 {'not known yet' if p95 is None else cells[2]}", cells)


def _contacts(part: Contacts) -> _Drawn | None:
    if not (part.callbacks or part.queries):
        return None
    cells = [_count(number, part.is_sample) for number in (part.callbacks, part.queries, part.found)]
    marks = [("callbacks", 0, part.callbacks), ("lost", -part.found, 0), ("queries", -part.queries, -part.found)]
    title = f"{cells[0]} callbacks, {cells[1]} queries, {cells[2]} lost"
    return _Drawn([mark for mark in marks if mark[1] != mark[2]], title, cells)


def _draw(
    plot: Plot,
    found: Sequence[tuple[datetime, T | None]],
    draw: Callable[[T], _Drawn | None],
    step_of: Callable[[float, float], float],
    label_of: Callable[[float], str] = "{:g}".format,
) -> None:
    """Put what was found onto the plot, with its axes."""
    plot.unread = sum(part is None for _, part in found)
    if plot.unread:
        plot.lead = [("…", label) for _, label in plot.lead]
    drawn = [(at, None if part is None else draw(part)) for at, part in found]
    ends = [end for _, one in drawn if one is not None for _, *ends in one.marks for end in ends]
    lowest, highest = min([0.0, *ends]), max([0.0, *ends])
    step = step_of(lowest, highest)
    least, most = math.floor(lowest / step) * step, max(math.ceil(highest / step), 1) * step

    def y_of(value: float) -> float:
        return BOTTOM - (value - least) / (most - least) * (BOTTOM - TOP)

    plot.baseline = y_of(0)
    plot.y_ticks = [
        Tick(y_of(number * step), label_of(abs(number * step)))
        for number in range(round(least / step), round(most / step) + 1)
    ]
    place = (RIGHT - LEFT) / len(drawn)
    gap = 0 if plot.name == "durations" else GAP * place
    for number, (at, one) in enumerate(drawn):
        marks = [Mark(look, y_of(high), y_of(low) - y_of(high)) for look, low, high in one.marks] if one else []
        x = LEFT + number * place + gap / 2
        title, cells = (one.title, one.cells) if one else ("nothing", [])
        plot.columns.append(Column(at, x, place - gap, marks, title, cells))
    plot.x_ticks = list(_times(plot.span, drawn[0][0]))


def _times(span: Span, start: datetime) -> list[Tick]:
    """The labels of the time axis: on the quarters of an hour, or every six hours."""
    whole_s, each_s = span.count * span.interval_s, _EACH_S[span.name]
    ticks = []
    first_s = -start.timestamp() % each_s
    for number in range(math.ceil((whole_s - first_s) / each_s)):
        after_s = first_s + number * each_s
        at, place = start + timedelta(seconds=after_s), LEFT + after_s / whole_s * (RIGHT - LEFT)
        # A label at the very edge would be cut, or meet the next one.
        if LEFT + 4 <= place <= RIGHT - 4:
            ticks.append(Tick(place, f"{at:%H:%M}", at))
    return ticks


def _step_of_counts(lowest: float, highest: float) -> float:
    steps = (figure * 10.0**power for power in range(12) for figure in (1, 2, 5))
    return next(step for step in steps if _ticks(lowest, highest, step) <= MOST_TICKS)


def _step_of_seconds(lowest: float, highest: float) -> float:
    return next((step for step in _SECONDS if _ticks(lowest, highest, step) <= MOST_TICKS), highest)


def _ticks(lowest: float, highest: float, step: float) -> int:
    return math.ceil(highest / step) + math.ceil(-lowest / step)


def _tick_of_seconds(value: float) -> str:
    return f"{value:g} s" if value < 60 else since(value)


def _listed(statuses: Sequence[str]) -> str:
    return f"/console/tasks?{urlencode([('status', status) for status in statuses])}"


def _sum(counts: Mapping[str, float], names: Sequence[str]) -> float:
    return sum(counts.get(name, 0) for name in names)


def _count(number: float, is_sample: bool) -> str:
    return f"{'≈ ' if is_sample and number else ''}{number:,.0f}".replace(",", "\u202f")


def _duration(seconds: float | None) -> str:
    return "–" if seconds is None else since(seconds)
