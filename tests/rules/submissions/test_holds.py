"""Holds: why submissions hold, until when, and what lets them go on."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.limits.hold import (
    NO_HOLD,
    Hold,
    HoldState,
    Reason,
    allowed,
    answered,
    confirmed,
    full_with,
    hold,
    inconclusive,
    outcome_unknown,
    probing,
    refused,
)
from app.limits.shared_limits import LimitState, dump, load
from app.rules.times import FAR
from tests.rules.tasks.scene import after
from tests.support.not_none import present


def may_send(hold_state: HoldState, seconds: float, in_flight: int = 10) -> int | None:
    return allowed(hold_state, after(seconds), in_flight)


def probed(hold_state: HoldState, seconds: float, lease_s: int = 60) -> HoldState:
    assert may_send(hold_state, seconds) == 1
    return probing(hold_state, after(seconds + lease_s))


def waits(reason: Reason, met: int, start: float = 0) -> list[float]:
    """The waits between probes, when each of them meets the same refusal at once."""
    hold_state, found, now = hold(NO_HOLD, reason, after(start)), [], start
    for _ in range(met):
        wait_s = (present(hold_state.hold).until - after(now)).total_seconds()
        found.append(wait_s)
        now += wait_s
        hold_state = hold(probed(hold_state, now), reason, after(now))
    return found


def tripped() -> HoldState:
    """The breaker after three unknown outcomes, at 30, 31 and 32 s."""
    hold_state = NO_HOLD
    for n in range(3):
        hold_state = outcome_unknown(hold_state, f"task-{n}", after(30 + n))
    return hold_state


def test_while_nothing_holds_any_number_may_be_sent() -> None:
    assert allowed(NO_HOLD, after(0), 0) is None


def test_a_full_queue_is_probed_after_5_s_growing_to_30() -> None:
    assert waits(Reason.QUEUE_FULL, 7) == [5, 7.5, 11.25, 16.875, 25.3125, 30, 30]


def test_a_full_queue_is_probed_at_once_when_a_slot_is_free() -> None:
    hold_state = full_with(hold(NO_HOLD, Reason.QUEUE_FULL, after(0)), 4)
    assert may_send(hold_state, 1, in_flight=4) == 0
    assert may_send(hold_state, 1, in_flight=5) == 0
    assert may_send(hold_state, 1, in_flight=3) == 1


@pytest.mark.parametrize("reason", [one for one in Reason if one not in (Reason.QUEUE_FULL, Reason.BY_HAND)])
def test_a_free_slot_says_nothing_of_other_reasons(reason: Reason) -> None:
    assert may_send(full_with(hold(NO_HOLD, reason, after(0)), 4), 1, in_flight=0) == 0


@pytest.mark.parametrize("reason", [Reason.KEY_REJECTED, Reason.NO_POINTS])
def test_a_rejected_key_and_missing_points_are_probed_every_30_s(reason: Reason) -> None:
    assert waits(reason, 5) == [30, 30, 30, 30, 30]


def test_the_breaker_is_probed_after_30_s_growing_to_5_min() -> None:
    assert waits(Reason.BREAKER, 6) == [30, 60, 120, 240, 300, 300]


def test_a_rate_limit_waits_as_long_as_the_vendor_asks() -> None:
    hold_state = hold(NO_HOLD, Reason.RATE_LIMITED, after(0), wait_s=77)
    assert (may_send(hold_state, 76), may_send(hold_state, 77)) == (0, 1)
    assert waits(Reason.RATE_LIMITED, 8)[0] == 2
    assert max(waits(Reason.RATE_LIMITED, 12)) == 30


def test_only_one_probe_is_out_until_it_is_answered_or_its_lease_ends() -> None:
    hold_state = probed(hold(NO_HOLD, Reason.NO_POINTS, after(0)), 30)
    assert may_send(hold_state, 31) == may_send(hold_state, 89.9) == 0
    assert may_send(hold_state, 90) == 1


def test_a_refusal_of_something_sent_before_the_hold_does_not_widen_the_wait() -> None:
    hold_state = hold(NO_HOLD, Reason.QUEUE_FULL, after(0))
    hold_state = hold(hold_state, Reason.QUEUE_FULL, after(1))
    assert present(hold_state.hold).wait_s == 5
    assert present(hold_state.hold).since == after(0)


def test_a_new_reason_starts_its_own_wait() -> None:
    hold_state = probed(hold(NO_HOLD, Reason.QUEUE_FULL, after(0)), 5)
    hold_state = hold(hold_state, Reason.NO_POINTS, after(6), detail="balance is 0")
    assert (present(hold_state.hold).since, present(hold_state.hold).until, present(hold_state.hold).detail) == (
        after(6),
        after(36),
        "balance is 0",
    )


@pytest.mark.parametrize("reason", [one for one in Reason if one is not Reason.BY_HAND])
def test_an_accepted_probe_ends_any_hold(reason: Reason) -> None:
    hold_state = probed(hold(NO_HOLD, reason, after(0), wait_s=10), 10)
    assert answered(hold_state, after(10)) == NO_HOLD


def test_an_acceptance_from_before_the_hold_proves_only_that_outcomes_are_known() -> None:
    hold_state = HoldState(hold(NO_HOLD, Reason.NO_POINTS, after(20)).hold, unknown_tasks=("a", "b"))
    after_it = answered(hold_state, after(19))
    assert (after_it.hold, after_it.unknown_tasks) == (hold_state.hold, ())
    assert answered(tripped(), after(1)) == NO_HOLD


def test_a_refusal_of_the_task_alone_lets_the_next_one_probe_at_once() -> None:
    hold_state = refused(probed(hold(NO_HOLD, Reason.NO_POINTS, after(0)), 30), after(30), after(31))
    assert present(hold_state.hold).reason is Reason.NO_POINTS
    assert may_send(hold_state, 31) == 1


def test_a_probe_that_came_to_nothing_waits_as_long_again() -> None:
    hold_state = inconclusive(probed(hold(NO_HOLD, Reason.NO_POINTS, after(0)), 30), after(40))
    assert (may_send(hold_state, 69), may_send(hold_state, 70)) == (0, 1)


def test_an_inconclusive_answer_without_a_probe_changes_nothing() -> None:
    held = hold(NO_HOLD, Reason.NO_POINTS, after(0))
    assert inconclusive(held, after(10)) == held
    assert inconclusive(NO_HOLD, after(10)) == NO_HOLD


def test_two_unknown_outcomes_in_a_row_hold_nothing() -> None:
    hold_state = outcome_unknown(outcome_unknown(NO_HOLD, "a", after(0)), "b", after(1))
    assert may_send(hold_state, 1) is None


def test_the_third_unknown_outcome_in_a_row_trips_the_breaker() -> None:
    hold_state = tripped()
    assert present(hold_state.hold).reason is Reason.BREAKER
    assert (may_send(hold_state, 61.9), may_send(hold_state, 62)) == (0, 1)


LOST_THEN = [lambda s: answered(s, after(2)), lambda s: refused(s, after(2), after(2)), confirmed]


@pytest.mark.parametrize("definite", LOST_THEN)
def test_a_definite_answer_between_unknown_ones_starts_the_count_anew(definite: Callable[..., Any]) -> None:
    hold_state = outcome_unknown(outcome_unknown(NO_HOLD, "a", after(0)), "b", after(1))
    hold_state = outcome_unknown(outcome_unknown(definite(hold_state), "c", after(3)), "d", after(4))
    assert hold_state.hold is None
    assert present(outcome_unknown(hold_state, "e", after(5)).hold).reason is Reason.BREAKER


@pytest.mark.parametrize(
    "definite", [lambda s: answered(s, after(62)), lambda s: refused(s, after(62), after(62)), confirmed]
)
def test_a_definite_answer_or_a_confirmation_opens_the_breaker(definite: Callable[..., Any]) -> None:
    hold_state = definite(probed(tripped(), 62))
    assert hold_state == NO_HOLD
    assert may_send(hold_state, 63) is None


def test_an_unknown_probe_keeps_the_breaker_and_doubles_its_wait() -> None:
    hold_state = outcome_unknown(probed(tripped(), 62), "task-3", after(92))
    assert (may_send(hold_state, 151), may_send(hold_state, 152)) == (0, 1)


def test_a_confirmation_says_nothing_of_points_or_the_key() -> None:
    held = hold(outcome_unknown(NO_HOLD, "a", after(0)), Reason.NO_POINTS, after(1))
    assert (confirmed(held).hold, confirmed(held).unknown_tasks) == (held.hold, ())


@pytest.mark.parametrize("reason", [Reason.KEY_REJECTED, Reason.NO_POINTS, Reason.RATE_LIMITED])
def test_unknown_outcomes_do_not_hide_why_submissions_hold(reason: Reason) -> None:
    hold_state = hold(NO_HOLD, reason, after(0))
    for n in range(4):
        hold_state = outcome_unknown(hold_state, f"task-{n}", after(n))
    assert present(hold_state.hold).reason is reason
    assert len(hold_state.unknown_tasks) == 4


def test_a_night_of_unknown_outcomes_is_remembered_in_part() -> None:
    hold_state = NO_HOLD
    for n in range(100):
        hold_state = outcome_unknown(hold_state, f"task-{n}", after(n))
    assert len(hold_state.unknown_tasks) == 20
    assert hold_state.unknown_tasks[-1] == "task-99"


def test_held_by_hand_sends_nothing_not_even_a_probe() -> None:
    by_hand = HoldState(by_hand="maintenance", by_hand_since=after(0))
    assert allowed(by_hand, after(10**6), 0) == 0
    held = full_with(hold(by_hand, Reason.QUEUE_FULL, after(0)), 5)
    assert allowed(held, after(100), 0) == 0
    empty_words = HoldState(by_hand="")
    assert allowed(empty_words, after(0), 0) == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda s: answered(s, after(99)),
        lambda s: refused(s, after(9), after(9)),
        lambda s: inconclusive(s, after(9)),
        lambda s: outcome_unknown(s, "x", after(9)),
        lambda s: probing(s, after(9)),
        lambda s: hold(s, Reason.NO_POINTS, after(9)),
        confirmed,
    ],
)
def test_nothing_but_a_hand_releases_what_is_held_by_hand(change: Callable[..., Any]) -> None:
    for before in (NO_HOLD, tripped(), hold(NO_HOLD, Reason.QUEUE_FULL, after(0))):
        by_hand = HoldState(before.hold, "maintenance", after(0), before.unknown_tasks)
        assert (change(by_hand).by_hand, change(by_hand).by_hand_since) == ("maintenance", after(0))


times = st.integers(0, 10**9).map(after) | st.just(FAR)
holds = st.builds(
    Hold,
    st.sampled_from(Reason),
    times,
    times,
    st.floats(0, 1e300),
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.none() | times,
    st.none() | st.integers(0, 100),
)
hold_states = st.builds(
    HoldState,
    st.none() | holds,
    st.none() | st.text(st.characters(codec="utf-8"), max_size=20),
    st.none() | times,
    st.lists(st.uuids().map(str), max_size=4).map(tuple),
)


@given(hold_states)
def test_it_comes_back_from_json_as_it_was(hold_state: HoldState) -> None:
    state = LimitState(hold_state)
    assert load(json.loads(json.dumps(dump(state))), None) == state


@given(
    st.lists(
        st.sampled_from(["send", "accept", "lose", "full", "points", "busy", "bad", "confirm", "rest"]), max_size=40
    )
)
def test_submissions_always_go_on_by_themselves(steps: list[str]) -> None:
    """Whatever happened, a probe goes within five minutes of the last outcome, and one acceptance opens all."""
    hold_state, now = NO_HOLD, 0.0
    for one in steps:
        now += 1
        match one:
            case "send" if may_send(hold_state, now) == 1:
                hold_state = probing(hold_state, after(now + 60))
            case "accept":
                hold_state = answered(hold_state, after(now))
            case "lose":
                hold_state = outcome_unknown(hold_state, str(now), after(now))
            case "full":
                hold_state = full_with(hold(hold_state, Reason.QUEUE_FULL, after(now)), 10)
            case "points":
                hold_state = hold(hold_state, Reason.NO_POINTS, after(now))
            case "busy":
                hold_state = inconclusive(hold_state, after(now))
            case "bad":
                hold_state = refused(hold_state, after(now), after(now))
            case "confirm":
                hold_state = confirmed(hold_state)
            case "rest":
                now += 20
    assert may_send(hold_state, now + 300) in (1, None)
    if hold_state.hold is not None:
        assert answered(probing(hold_state, after(now + 400)), after(now + 300)) == NO_HOLD


@pytest.mark.parametrize("straggler", [Reason.QUEUE_FULL, Reason.RATE_LIMITED])
def test_an_account_fault_outlasts_what_a_straggler_met(straggler: Reason) -> None:
    held = hold(NO_HOLD, Reason.KEY_REJECTED, after(0))
    assert hold(held, straggler, after(1)).hold == held.hold


def test_the_refusal_of_a_task_that_was_sent_before_the_hold_lets_no_probe_go_early() -> None:
    held = hold(NO_HOLD, Reason.KEY_REJECTED, after(10))
    assert refused(held, after(9), after(11)).hold == held.hold
