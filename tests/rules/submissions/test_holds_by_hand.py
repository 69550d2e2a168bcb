"""A hold by hand, as a value: nothing that the vendor says begins or ends it."""

from collections.abc import Callable
from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from app.limits.hold import (
    NO_HOLD,
    HoldState,
    Reason,
    allowed,
    answered,
    confirmed,
    found_not_sent,
    held_by_hand,
    hold,
    inconclusive,
    outcome_unknown,
    probing,
    reason_cleared,
    refused,
    released,
)
from app.limits.shared_limits import LimitState, dump, load
from tests.rules.tasks.scene import after

SAID_BY_THE_VENDOR: dict[str, Callable[[HoldState, datetime], HoldState]] = {
    "accepted": answered,
    "refused": lambda hold_state, at: refused(hold_state, at, at),
    "key rejected": lambda hold_state, at: hold(hold_state, Reason.KEY_REJECTED, at),
    "no points": lambda hold_state, at: hold(hold_state, Reason.NO_POINTS, at),
    "queue full": lambda hold_state, at: hold(hold_state, Reason.QUEUE_FULL, at),
    "rate limited": lambda hold_state, at: hold(hold_state, Reason.RATE_LIMITED, at, wait_s=1),
    "outcome unknown": lambda hold_state, at: outcome_unknown(hold_state, "task", at),
    "busy": inconclusive,
    "key is right": lambda hold_state, at: reason_cleared(hold_state, Reason.KEY_REJECTED),
    "called back": lambda hold_state, at: confirmed(hold_state),
    "probed": probing,
    "found not sent": lambda hold_state, at: found_not_sent(hold_state, "task"),
}


@given(st.lists(st.sampled_from(sorted(SAID_BY_THE_VENDOR)), max_size=12))
def test_nothing_the_vendor_says_ends_it_and_what_it_said_is_there_when_it_is_released(said: list[str]) -> None:
    by_hand, plain = held_by_hand(NO_HOLD, "maintenance", after(0)), NO_HOLD
    for second, what in enumerate(said, start=1):
        by_hand = SAID_BY_THE_VENDOR[what](by_hand, after(second))
        plain = SAID_BY_THE_VENDOR[what](plain, after(second))
        assert (by_hand.by_hand, by_hand.by_hand_since) == ("maintenance", after(0))
        # No probe either, however long it lasts.
        assert {allowed(by_hand, after(second + later), 0) for later in (0, 1000, 10**7)} == {0}
        state = LimitState(by_hand)
        assert load(dump(state), None) == state
    assert released(by_hand, after(99)) == plain


def test_without_words_it_holds_as_well() -> None:
    assert allowed(held_by_hand(NO_HOLD, "", after(0)), after(10), 0) == 0


def test_held_again_it_has_new_words_and_the_old_beginning() -> None:
    hold_state = held_by_hand(held_by_hand(NO_HOLD, "one", after(0)), "two", after(5))
    assert (hold_state.by_hand, hold_state.by_hand_since) == ("two", after(0))


def test_released_from_the_vendors_reason_it_probes_now_and_with_one_probe_only() -> None:
    hold_state = hold(NO_HOLD, Reason.NO_POINTS, after(0))
    assert allowed(hold_state, after(1), 0) == 0
    hold_state = released(hold_state, after(1))
    assert allowed(hold_state, after(1), 0) == 1
    assert hold_state.hold is not None
    assert hold_state.hold.since == after(0)
    hold_state = released(probing(hold_state, after(60)), after(2))
    assert allowed(hold_state, after(3), 0) == 0


def test_released_while_nothing_holds_changes_nothing() -> None:
    assert released(NO_HOLD, after(1)) == NO_HOLD
