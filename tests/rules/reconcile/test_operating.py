"""Time in which the gateway could ask: told by signs of life, kept over restarts, and all that verdicts count."""

import pytest

from app.limits.hold import NO_HOLD
from app.limits.shared_limits import LimitState, dump, load
from app.rules.downtime import (
    BACK_S,
    MOST_ABSENCES,
    STEP_S,
    Availability,
    Heartbeat,
    absent_s,
    beat,
)
from tests.rules.tasks.scene import Story, after, away, denies, running_story, shows
from tests.support.not_none import present

HOURS = 3 * 3600


def living(*seconds: float, start: Availability | None = None) -> Availability:
    """One process that gives signs at these times, by a clock that is never set."""
    known, last = start or Availability(), None
    for second in seconds:
        known, last = beat(known, Heartbeat(after(second), last)), after(second)
    return known


def test_regular_signs_leave_no_absence() -> None:
    known = living(*range(0, 100, 2))
    assert (known.beat_at, known.absences, known.went_back_at) == (after(98), (), None)


def test_a_silence_counts_for_one_step() -> None:
    for silence in (STEP_S + 1, 60, HOURS):
        known = living(0, 2, 2 + silence, 4 + silence)
        assert known.absences == (away(2 + STEP_S, 2 + silence),)


def test_a_restart_knows_how_long_nobody_was_there() -> None:
    known = living(HOURS, HOURS + 2, start=living(0, 2))
    assert known.absences == (away(2 + STEP_S, HOURS),)


def test_replicas_are_there_for_each_other() -> None:
    known = living(0, 2)
    # One is frozen, and another gives its signs.
    for second in range(4, 100, 2):
        known = beat(known, Heartbeat(after(second), after(second - 2)))
    known = beat(known, Heartbeat(after(100), after(2)))
    assert known.absences == ()


def test_all_of_them_frozen_are_absent_once() -> None:
    known = living(0)
    for late in (0, 0.5, 1):
        known = beat(known, Heartbeat(after(HOURS + late), after(0)))
    assert known.absences == (away(STEP_S, HOURS),)


def test_replicas_whose_clocks_differ_by_seconds_are_not_absent() -> None:
    known = Availability()
    for second in range(0, 60, 2):
        known = beat(known, Heartbeat(after(second - 9), after(second - 11)))
        known = beat(known, Heartbeat(after(second + 9), after(second + 7)))
    assert (known.absences, known.went_back_at) == ((), None)


def test_a_clock_that_is_set_forward_is_no_time_at_all() -> None:
    known = beat(living(0, 2), Heartbeat(after(HOURS), after(2), stepped_s=HOURS - 4))
    assert known.absences == (away(2 + STEP_S, HOURS, jumped=True),)
    assert absent_s(known.absences, after(0), jumped_only=True) == pytest.approx(HOURS, abs=10)
    frozen = beat(living(0, 2), Heartbeat(after(HOURS), after(2), stepped_s=0.3))
    assert absent_s(frozen.absences, after(0), jumped_only=True) == 0


def test_a_clock_that_goes_back_takes_along_what_has_not_been_yet() -> None:
    known = beat(living(0, 2), Heartbeat(after(HOURS), after(2), stepped_s=HOURS - 4))
    known = beat(known, Heartbeat(after(10), after(HOURS), stepped_s=-HOURS))
    assert known == Availability(after(10), (away(2 + STEP_S, 10, jumped=True),), went_back_at=after(10))
    # The plan is looked at once, however many replicas notice.
    assert beat(known, Heartbeat(after(10.5), after(HOURS), stepped_s=-HOURS)) == known_at(known, 10.5)


def known_at(known: Availability, second: float) -> Availability:
    return Availability(after(second), known.absences, known.went_back_at)


@pytest.mark.parametrize(("seconds", "noticed"), [(BACK_S - 1, False), (BACK_S + 1, True), (HOURS, True)])
def test_a_process_that_starts_notices_it_by_the_last_sign(seconds: float, noticed: bool) -> None:
    known = beat(living(0), Heartbeat(after(-seconds)))
    assert (known.went_back_at is not None) is noticed


def test_a_silence_that_nobody_has_told_of_yet_may_be_a_jump() -> None:
    known = living(0)
    assert known.absences_until(after(2 * STEP_S)) == ()
    assert known.absences_until(after(HOURS)) == (away(STEP_S, HOURS, jumped=True),)


def test_only_the_latest_absences_are_kept_so_that_every_wait_ends() -> None:
    known = living(*range(0, 1000 * 60, 60))
    assert len(known.absences) == MOST_ABSENCES
    assert absent_s(known.absences, after(0)) == pytest.approx(MOST_ABSENCES * (60 - STEP_S))


def test_it_is_stored_as_json() -> None:
    known = beat(living(0, 100), Heartbeat(after(50), None))
    for one in (Availability(), known, living(0, 100)):
        state = LimitState(NO_HOLD, availability=one)
        assert load(dump(state), None) == state


def test_an_unconfirmed_task_waits_for_its_callback_only_while_one_could_come() -> None:
    story = Story()
    story.claimed(0)
    story.outcome_unknown(30)
    absence = (away(40, HOURS),)
    story.ticks(HOURS, absences=absence)
    assert story.task.status == "unconfirmed"
    assert story.task.timer_due_at == after(30 + 900 + HOURS - 40)
    story.ticks(930 + HOURS - 41, absences=absence)
    assert story.task.status == "unconfirmed"
    story.ticks(930 + HOURS - 40, absences=absence)
    assert (story.task.status, present(story.task.failure).code) == ("failed", "submit_outcome_unknown")


@pytest.mark.parametrize(("back", "jumped"), [(2000, False), (HOURS, True)])
def test_an_item_is_unknown_for_the_time_in_which_somebody_could_ask(back: int, jumped: bool) -> None:
    story = running_story()
    story.queried(20, denies())
    absence = (away(30, back, jumped=jumped),)
    for second in (back, back + 300, back + 600 - 31):
        story.queried(second, denies(), absences=absence)
        assert story.task.status == "running"
    story.queried(back + 600 - 28, denies(), absences=absence)
    assert story.task.status == "failed"
    assert story.view().progress.unknown_to_vendor


def test_an_absence_before_the_last_sighting_takes_nothing_from_the_grace() -> None:
    story = running_story()
    absence = (away(30, 1000),)
    story.queried(1100, shows(status="running"), absences=absence)
    story.queried(1699, denies(), absences=absence)
    assert story.task.status == "running"
    story.queried(1700, denies(), absences=absence)
    assert story.task.status == "failed"


def test_a_question_counts_as_asked_when_it_was_asked_whatever_was_denied() -> None:
    story = running_story()
    absence = (away(30, 4000),)
    story.queried(4010, denies(), absences=absence)
    assert story.item().last_query_at == after(4010)
    assert story.task.status == "expired", "its deadline had passed while we were away, and the vendor has answered"
