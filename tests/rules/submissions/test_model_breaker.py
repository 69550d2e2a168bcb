"""The circuit breaker of a kind and model: how many refusals open it, what goes out meanwhile, and what closes it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.limits.model_breaker import (
    PROBE_S,
    Breaker,
    ModelKey,
    accepted,
    inconclusive,
    key_of,
    probe_is_due,
    probing,
    refused,
)
from tests.rules.tasks.scene import after
from tests.support.not_none import present


def refuse(breaker: Breaker | None, seconds: float, claimed_s: float | None = None, allowed: int = 3) -> Breaker:
    claimed_at = after(seconds if claimed_s is None else claimed_s)
    return refused(breaker, claimed_at, after(seconds), allowed, "model_not_offered", "model not support")


def opened(at_s: int = 2, allowed: int = 3) -> Breaker:
    breaker = None
    for n in range(allowed):
        breaker = refuse(breaker, at_s - allowed + 1 + n, allowed=allowed)
    assert breaker is not None
    assert breaker.is_open
    return breaker


@pytest.mark.parametrize("allowed", [1, 2, 3, 7])
def test_the_last_of_so_many_refusals_in_a_row_opens_it(allowed: int) -> None:
    breaker = None
    for n in range(allowed - 1):
        breaker = refuse(breaker, n, allowed=allowed)
        assert (breaker.refusals, breaker.is_open) == (n + 1, False)
    breaker = refuse(breaker, 50, allowed=allowed)
    assert (breaker.held_since, breaker.probe_at, breaker.probe_until) == (after(50), after(50 + PROBE_S), None)


def test_an_acceptance_between_sets_the_count_back() -> None:
    breaker = refuse(refuse(None, 0), 1)
    assert accepted(breaker, after(1), after(2)) is None
    assert not refuse(None, 3).is_open


@pytest.mark.parametrize("at_once", [True, False])
def test_other_outcomes_count_for_nothing_while_it_is_closed(at_once: bool) -> None:
    breaker = refuse(refuse(None, 0), 1)
    assert inconclusive(breaker, after(1), after(2), at_once=at_once) == breaker
    assert inconclusive(None, after(1), after(2), at_once=at_once) is None


def test_one_probe_goes_a_minute_and_no_other_while_it_is_out() -> None:
    breaker = opened(at_s=0)
    assert not probe_is_due(breaker, after(PROBE_S - 0.1))
    assert probe_is_due(breaker, after(PROBE_S))
    breaker = probing(breaker, after(PROBE_S + 60))
    assert not probe_is_due(breaker, after(PROBE_S + 59))
    assert probe_is_due(breaker, after(PROBE_S + 60)), "its sender has died"
    breaker = refuse(breaker, PROBE_S + 1)
    assert breaker.held_since == after(0)
    assert not probe_is_due(breaker, after(2 * PROBE_S + 0.9))
    assert probe_is_due(breaker, after(2 * PROBE_S + 1))


def test_what_was_under_way_when_it_opened_moves_no_probe() -> None:
    breaker = probing(opened(at_s=10), after(200))
    straggler = refuse(breaker, 100, claimed_s=9)
    assert (straggler.probe_at, straggler.probe_until) == (breaker.probe_at, breaker.probe_until)
    assert inconclusive(breaker, after(9), after(100), at_once=True) == breaker


def test_an_accepted_probe_closes_it_and_an_acceptance_from_before_asks_for_a_probe_now() -> None:
    breaker = opened(at_s=10)
    assert accepted(breaker, after(70), after(71)) is None
    early = accepted(breaker, after(9), after(11))
    assert present(early).is_open
    assert probe_is_due(present(early), after(11))


def test_a_probe_that_is_refused_for_its_own_sake_lets_the_next_one_go_at_once() -> None:
    breaker = probing(opened(at_s=0), after(200))
    assert probe_is_due(present(inconclusive(breaker, after(61), after(62), at_once=True)), after(62))
    later = inconclusive(breaker, after(61), after(62), at_once=False)
    assert not probe_is_due(present(later), after(62 + PROBE_S - 1))
    assert probe_is_due(present(later), after(62 + PROBE_S))


def test_what_the_vendor_said_last_is_kept() -> None:
    breaker = refused(opened(), after(100), after(101), 3, "kind_not_offered", "gone")
    assert (breaker.code, breaker.detail) == ("kind_not_offered", "gone")


def test_keys() -> None:
    assert key_of("song.extend", None) == ModelKey("song.extend", "") == key_of("song.extend", "")
    assert key_of("song.generate", "x" * 300) == key_of("song.generate", "x" * 200)
    assert key_of("song.generate", "a b").text == "song.generate a b"
    texts = {
        key_of(kind, model).text for kind in ("song.generate", "song.extend") for model in (None, "a", "song.extend")
    }
    assert len(texts) == 6


_STEPS = st.lists(st.sampled_from(["send", "refuse", "accept", "own", "busy", "straggle", "minute"]), max_size=40)


@given(_STEPS, st.integers(1, 4))
def test_it_burns_as_many_as_are_allowed_and_always_goes_on(steps: list[str], allowed: int) -> None:
    """Refusals while it is closed fail their tasks: never more than are allowed since the last acceptance. Whatever
    happened, the next probe is due within a minute of the last outcome, and its acceptance closes it."""
    breaker, now, burnt, out = None, 1.0, 0, None
    for step in steps:
        now += 1
        held = breaker is not None and breaker.is_open
        if step == "send" and held and probe_is_due(present(breaker), after(now)):
            breaker, out = probing(present(breaker), after(now + 60)), now
        elif step == "refuse" and (not held or out is not None):
            burnt += not held
            breaker, out = refuse(breaker, now, claimed_s=out or now - 0.5, allowed=allowed), None
        elif step == "accept" and (not held or out is not None):
            breaker, out, burnt = accepted(breaker, after(out or now - 0.5), after(now)), None, 0
            assert breaker is None
        elif step in ("own", "busy") and out is not None:
            breaker, out = inconclusive(breaker, after(out), after(now), at_once=step == "own"), None
        elif step == "straggle" and held:
            breaker = refuse(breaker, now, claimed_s=0, allowed=allowed)
        elif step == "minute":
            now += PROBE_S
        assert burnt <= allowed
        assert (burnt == allowed) == (breaker is not None and breaker.is_open)
    if breaker is not None and breaker.is_open:
        assert probe_is_due(breaker, after(now + PROBE_S)) or out is not None
        assert accepted(probing(breaker, after(now + 999)), after(now + PROBE_S), after(now + PROBE_S)) is None
