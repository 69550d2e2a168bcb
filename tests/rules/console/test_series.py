"""Time series: which intervals there are, which are read again, and what is drawn of them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

import pytest

from app.console import overview_live, plots
from app.console.time_series import DAY, HOUR, Series
from app.operations.history import Arrivals, Contacts, Interval, quantiles

NOW: Final = datetime(2026, 5, 1, 12, 1, 30, tzinfo=UTC)


def _never() -> bool:
    return False


class _Counted:
    """Reads the interval's own start; ``read``: what was asked for, look by look."""

    def __init__(self, is_open: Callable[[datetime], bool] = lambda _: False) -> None:
        self.read: list[datetime] = []
        self.series = Series(HOUR, self._read, is_open)

    async def _read(self, intervals: list[Interval]) -> list[datetime]:
        assert all(end - start == timedelta(minutes=2) for start, end in intervals)
        self.read += [start for start, _ in intervals]
        return [start for start, _ in intervals]

    async def look(self, seconds: float = 0) -> int:
        """How many intervals a look reads, so many seconds later."""
        before = len(self.read)
        found = await self.series.look(NOW + timedelta(seconds=seconds), _never)
        assert all(start == value for start, value in found)
        return len(self.read) - before


def test_intervals_keep_to_the_clock_and_now_lies_in_the_last() -> None:
    assert HOUR.starts(NOW)[-1] == datetime(2026, 5, 1, 12, tzinfo=UTC)
    assert HOUR.starts(NOW)[0] == datetime(2026, 5, 1, 11, 2, tzinfo=UTC)
    assert DAY.starts(NOW)[0] == datetime(2026, 4, 30, 12, 30, tzinfo=UTC)


async def test_what_is_over_is_read_once() -> None:
    counted = _Counted()
    assert [await counted.look(), counted.read[0], await counted.look()] == [30, HOUR.starts(NOW)[-1], 0]
    # Five seconds later the one of now; the one before is two minutes old, and has ended more than 40 s ago.
    assert await counted.look(5) == 1
    # In the next interval: itself, and the one before until it has settled.
    assert await counted.look(35) == 2
    assert await counted.look(80) == 2
    assert await counted.look(90) == 1


async def test_what_may_change_is_read_again_when_it_is_a_twentieth_older() -> None:
    counted = _Counted(is_open=lambda _: True)
    await counted.look()
    counted.read.clear()
    await counted.look(61)
    later = NOW + timedelta(seconds=61)
    assert counted.read == [
        start for start in reversed(HOUR.starts(later)) if (later - start).total_seconds() <= 20 * 61
    ]
    assert 5 < len(counted.read) < 15


async def test_a_look_that_is_late_leaves_the_rest_for_the_next() -> None:
    counted = _Counted()
    found = await counted.series.look(NOW, lambda: len(counted.read) >= 10)
    assert [value for _, value in found].count(None) == 18
    assert await counted.look() == 18


def test_a_quantile_knows_what_it_does_not_know() -> None:
    durations = {2.0: 1.0, 5.0: 2.0, 60.0: 1.0}
    assert quantiles(durations, (0.25, 0.5, 0.75, 0.95)) == [2.0, 5.0, 5.0, 60.0]
    assert quantiles(durations, (0.25, 0.5, 0.95), unknown=4) == [5.0, 60.0, None]
    assert quantiles({}, (0.5, 0.95)) == [None, None]
    assert quantiles({}, (0.5,), unknown=3) == [None]


def _starts(count: int) -> list[datetime]:
    return HOUR.starts(NOW)[-count:]


def test_a_column_is_as_high_as_what_it_stands_for() -> None:
    read = [None, Arrivals(), Arrivals({"succeeded": 6, "failed": 3, "expired": 1, "running": 2})]
    plot = plots.of_arrivals(HOUR, list(zip(_starts(3), read, strict=True)))
    assert [tick.label for tick in plot.y_ticks] == ["0", "5", "10", "15"]
    per_task = (plots.BOTTOM - plots.TOP) / 15
    marks = plot.columns[2].marks
    assert [mark.look for mark in marks] == ["done", "failed", "open"]
    assert [mark.height for mark in marks] == pytest.approx([6 * per_task, 4 * per_task, 2 * per_task])
    # Each stands on the one below.
    for below, above in pairwise(marks):
        assert above.y + above.height == pytest.approx(below.y)
    assert marks[0].y + marks[0].height == pytest.approx(plots.BOTTOM)
    assert plot.columns[2].title == "12 accepted; done 6, failed 4, under way 2"
    assert [column.title for column in plot.columns[:2]] == ["nothing", "nothing"]
    # No figure is told before all is known.
    assert (plot.unread, plot.is_empty, plot.lead) == (1, False, [("…", "accepted")])


def test_how_long_it_took_is_not_told_while_half_of_them_is_under_way() -> None:
    read = [
        Arrivals({"succeeded": 4}, {60.0: 2, 120.0: 2}, {90.0: 4}),
        Arrivals({"succeeded": 1, "running": 1}, {50.0: 1}),
        Arrivals({"succeeded": 1, "running": 2}, {50.0: 1}),
        Arrivals({"failed": 3}),
    ]
    plot = plots.of_durations(HOUR, list(zip(_starts(4), read, strict=True)))
    assert [column.title for column in plot.columns] == [
        "p50 1 min, p95 2 min",
        "p50 50 s, p95 not known yet",
        "",
        "nothing",
    ]
    assert [[mark.look for mark in column.marks] for column in plot.columns] == [
        ["band", "edge", "median"],
        ["median"],
        [],
        [],
    ]
    assert [tick.label for tick in plot.y_ticks] == ["0 s", "30 s", "1 min", "1 min 30 s", "2 min"]
    assert plot.lead == [("1 min", "p50"), ("2 min", "p95")]
    assert "Until it is done: 1 min 30 s, 1 min 30 s" in plot.about


def test_queries_hang_below_the_line_and_what_they_found_is_part_of_them() -> None:
    plot = plots.of_contacts(HOUR, [(_starts(1)[0], Contacts(8, 3, 1))])
    assert [tick.label for tick in plot.y_ticks] == ["5", "0", "5", "10"]
    above, lost, rest = plot.columns[0].marks
    assert (above.look, lost.look, rest.look) == ("callbacks", "lost", "queries")
    assert above.y + above.height == pytest.approx(plot.baseline)
    assert lost.y == pytest.approx(plot.baseline)
    assert rest.y == pytest.approx(lost.y + lost.height)
    assert rest.height == pytest.approx(2 * lost.height)


@pytest.mark.parametrize("most", [0, 1, 3, 4, 5, 999, 1_000_000, 0.4])
def test_axes_end_on_round_numbers_and_have_few(most: float) -> None:
    plot = plots.of_contacts(HOUR, [(_starts(1)[0], Contacts(most))])
    labels = [float(tick.label) for tick in plot.y_ticks]
    assert 2 <= len(labels) <= plots.MOST_TICKS + 1
    assert labels[-1] >= most
    assert labels[1] / 10 ** (len(f"{labels[1]:.0f}") - 1) in (1, 2, 5)
    assert [tick.place for tick in plot.y_ticks] == sorted((tick.place for tick in plot.y_ticks), reverse=True)


def test_a_sample_says_so() -> None:
    plot = plots.of_arrivals(HOUR, [(_starts(1)[0], Arrivals({"succeeded": 12345.6}, is_sample=True))])
    assert (plot.lead[0][0], plot.is_sample) == ("≈ 12\u202f346", True)


@pytest.mark.parametrize(("taken_s", "fresh_s"), [(0.0, 5.0), (0.025, 5.0), (0.05, 10.0), (0.5, 15.0), (60.0, 15.0)])
def test_a_survey_that_takes_long_is_good_for_longer(taken_s: float, fresh_s: float) -> None:
    assert overview_live.fresh_for_s(taken_s) == pytest.approx(fresh_s)
