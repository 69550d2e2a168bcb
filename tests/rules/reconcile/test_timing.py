"""When a callback counts as overdue, and how long until the next question."""

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from app.rules.observation import Observation
from app.rules.policy import Policy
from app.rules.schedule import interval_s
from app.rules.times import FAR, later
from app.tasks.learned_delays import bucket_of, overdue_s, upper_edge_s
from tests.rules.tasks.scene import T0, after, denies, running_story, says, shows
from tests.support.not_none import present

delays = st.floats(0.001, 10 * 86400)


def learned(delays_s: list[float]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for delay in delays_s:
        counts[bucket_of(delay)] = counts.get(bucket_of(delay), 0) + 1
    return counts


@given(delays)
def test_a_delay_lies_in_its_bucket(delay: float) -> None:
    bucket = bucket_of(delay)
    assert delay <= upper_edge_s(bucket) * (1 + 1e-8)
    assert bucket == 0 or delay > upper_edge_s(bucket - 1) * (1 - 1e-8)


@pytest.mark.parametrize("bucket", [0, 1, 2, 10, 40, 100, 150])
def test_an_edge_belongs_to_the_bucket_below_it(bucket: int) -> None:
    assert bucket_of(upper_edge_s(bucket)) == bucket
    assert bucket_of(upper_edge_s(bucket) * 1.001) == bucket + 1


def test_buckets_grow_by_15_percent_from_one_second() -> None:
    assert bucket_of(-5) == bucket_of(0) == bucket_of(0.5) == bucket_of(1) == 0
    assert upper_edge_s(0) == 1
    assert upper_edge_s(7) / upper_edge_s(6) == pytest.approx(1.15)


@given(st.floats(20, 3 * 86400), st.integers(50, 400))
def test_a_steady_delay_is_noticed_within_twice_its_time_and_never_before_it(delay: float, samples: int) -> None:
    noticed = overdue_s({bucket_of(delay): samples}, 240)
    assert delay < noticed <= 2 * delay


@given(st.floats(0.01, 20))
def test_a_short_steady_delay_is_noticed_after_20_s_or_twice_its_time(delay: float) -> None:
    assert 20 <= overdue_s({bucket_of(delay): 60}, 240) <= max(20, 2 * delay)


@given(st.lists(delays, min_size=50, max_size=300))
def test_nine_and_ninety_of_a_hundred_come_before_they_count_as_overdue(delays_s: list[float]) -> None:
    limit = overdue_s(learned(delays_s), 240)
    early = sum(delay <= limit for delay in delays_s)
    assert early >= 0.99 * len(delays_s)


def test_it_is_the_upper_edge_of_the_p99_bucket_and_a_quarter_more() -> None:
    assert overdue_s({30: 99, 60: 1}, 240) == pytest.approx(1.15**30 * 1.25)
    assert overdue_s({30: 98, 60: 2}, 240) == pytest.approx(1.15**60 * 1.25)
    assert overdue_s({60: 2, 30: 98}, 240) == pytest.approx(1.15**60 * 1.25)


@pytest.mark.parametrize("default_s", [240.0, 60.0])
def test_under_50_samples_the_default_holds(default_s: float) -> None:
    assert overdue_s({}, default_s) == default_s
    assert overdue_s({30: 49}, default_s) == default_s
    assert overdue_s({30: 50}, default_s) != default_s


def test_it_is_never_under_20_seconds() -> None:
    assert overdue_s({0: 400}, 240) == 20
    assert overdue_s({}, 3) == 20


def test_intervals_grow_by_half_up_to_the_longest() -> None:
    intervals = [interval_s(n, 0, Policy()) for n in range(1, 11)]
    assert intervals[:4] == [15, 22.5, 33.75, 50.625]
    assert intervals[-1] == 300


@given(st.integers(0, 10**9), st.floats(-1, 1), st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_jitter_is_a_fifth_either_way(attempts: int, jitter: float, base: float, longest: float) -> None:
    policy = Policy(interval_s=base, max_interval_s=longest)
    wait = interval_s(attempts, jitter, policy)
    plain = interval_s(attempts, 0, policy)
    assert plain * 0.8 * (1 - 1e-9) <= wait <= plain * 1.2 * (1 + 1e-9)
    assert 0 < wait <= longest


@given(st.floats(min_value=1e-300, allow_nan=False), st.integers(0, 10**6), st.floats(-1, 1))
def test_settings_of_any_size_give_a_time(seconds: float, attempts: int, jitter: float) -> None:
    assert T0 <= later(T0, seconds) <= FAR
    wait = interval_s(attempts, jitter, Policy(interval_s=seconds, max_interval_s=seconds))
    assert T0 <= later(T0, wait) <= FAR


def test_later_than_can_be_said_is_far() -> None:
    assert later(T0, math.inf) == later(T0, 1e308) == later(FAR, 1) == FAR
    assert later(datetime(9998, 12, 31, 23, 59, 59, tzinfo=UTC), 86400) == FAR
    assert later(T0, 90) == after(90)


def test_the_first_question_counts_from_the_claim_and_hearing_of_the_item_pushes_it_back() -> None:
    story = running_story(overdue_s=100)
    assert story.item().query_due_at == after(100)
    story.called_back(60, says(status="running", event="audio_chunk"))
    assert story.item().query_due_at == after(160)


def test_a_fixed_first_question_holds_as_it_is() -> None:
    story = running_story(policy=Policy(first_after_s=2.5))
    assert story.item().query_due_at == after(2.5)


def test_answers_without_news_widen_the_interval_and_news_narrows_it() -> None:
    story = running_story()
    dues = []
    for second in (300, 400, 500):
        story.queried(second, shows(status="running"))
        dues.append((present(story.item().query_due_at) - after(second)).total_seconds())
    assert dues == [15, 22.5, 33.75]
    story.queried(600, shows(status="main_succeeded"))
    assert story.item().query_due_at == after(615)


def test_a_lease_in_force_is_never_cut_short_by_a_callback() -> None:
    story = running_story(overdue_s=20)
    item = story.item()
    item.query_due_at = item.query_leased_until = after(130)
    story.called_back(100, says(status="running"))
    assert item.query_due_at == after(130)
    story.called_back(120, says(status="running"))
    assert item.query_due_at == after(140)


def test_an_answer_under_the_lease_in_force_ends_it() -> None:
    story = running_story()
    item = story.item()
    item.query_due_at = item.query_leased_until = after(330)
    story.queried(300, replace(shows(status="running"), leased_until=after(330)))
    item = story.item()
    assert (item.query_leased_until, item.query_due_at, item.query_attempts) == (None, after(315), 1)


@pytest.mark.parametrize("late", [shows(status="running"), denies(), shows(status="main_succeeded")])
def test_a_late_answer_does_not_end_the_lease_of_another_asker(late: Observation) -> None:
    story = running_story()
    item = story.item()
    item.query_due_at = item.query_leased_until = after(400)
    item.query_attempts, item.query_group = 3, "half"
    # Its asker was frozen until its own lease had lapsed, and somebody else asked anew.
    story.queried(300, replace(late, leased_until=after(330)))
    assert (item.query_leased_until, item.query_due_at) == (after(400), after(400))
    assert (item.query_attempts, item.query_group) == (3, "half")
    # What it says is news all the same.
    assert item.last_query_at == after(300)
    story.queried(390, replace(shows(status="running"), leased_until=after(400)))
    assert item.query_leased_until is None
    assert item.query_due_at > after(390)


def test_an_event_is_timed_once_since_the_one_before_it_or_since_the_claim() -> None:
    story = running_story()
    story.queried(50, shows(status="main_succeeded"))
    story.called_back(60, says(event="audio_complete"))
    story.called_back(70, says(event="audio_complete"))
    story.called_back(75, says(event="wav_complete"))
    assert [(one.stage, one.delay_s) for one in story.loaded.delay_samples] == [(0, 60), (1, 15)]


def test_replays_and_tasks_of_others_are_not_timed() -> None:
    story = running_story()
    story.called_back(60, says(event="audio_complete", fresh=False))
    story.told_by_stranger(70, says("x1", event="audio_complete"))
    assert story.loaded.delay_samples == []


def test_an_event_out_of_order_is_timed_as_nothing_rather_than_as_negative() -> None:
    story = running_story()
    story.happens(90, says(seconds=90, event="wav_complete"), task=story.task)
    story.happens(91, says(seconds=60, event="audio_complete"), task=story.task)
    assert [one.delay_s for one in story.loaded.delay_samples] == [90, 0]
