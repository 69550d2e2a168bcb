"""The clock was set back by hours: what has happened does not lie ahead, and no wait is longer than it was meant."""

from datetime import timedelta
from uuid import UUID

import pytest
from msgspec.structs import replace

from app.limits import hold as holds
from app.limits import model_breaker
from app.limits.hold import NO_HOLD, Reason
from app.rules.observation import Observation
from app.rules.schedule import AHEAD_S
from app.rules.times import later
from app.runtime.clock import Ids
from tests.rules.tasks.scene import Story, after, denies, running_story, says, shows, us
from tests.support.not_none import present

BACK = -3 * 3600


def test_a_deadline_counts_from_now_where_its_beginning_lies_ahead() -> None:
    story = running_story()
    story.ticks(BACK)
    task = story.task
    assert (task.submitted_at, task.deadline_at) == (after(1), after(BACK + 3600))
    story.ticks(BACK + 100)
    assert task.deadline_at == after(BACK + 3600)
    assert task.timer_due_at == after(BACK + 3600)
    story.queried(BACK + 3600, shows(status="running"))
    assert task.status == "expired"


def test_a_question_that_was_answered_ahead_is_not_the_last_one() -> None:
    story = running_story()
    story.item().last_query_at = after(3 * 3600)
    story.ticks(100)
    assert story.item().last_query_at == after(100)
    assert story.item().key in story.loaded.dirty_items
    story.ticks(3700)
    assert story.task.status == "running"


@pytest.mark.parametrize("said", [says(status="running"), shows(status="running"), denies()])
def test_what_was_on_its_way_meanwhile_plans_nothing_ahead(said: Observation) -> None:
    """Received or asked before the clock was set, applied after it."""
    story = running_story()
    story.item().query_due_at = after(BACK)
    story.happens(BACK + 1, replace(said, observed_us=us(10)), task=story.task)
    item = story.item()
    assert present(item.query_due_at) <= after(BACK + 1 + 240)
    assert max(at for at in (item.last_query_at, item.last_callback_at) if at) == after(BACK + 1)


def test_an_item_that_was_denied_before_it_is_not_unknown_for_hours() -> None:
    story = running_story()
    story.queried(20, denies())
    story.ticks(BACK)
    assert story.task.status == "running"
    story.queried(BACK + 700, denies())
    assert story.task.status == "running"
    story.queried(BACK + 3600, denies())
    assert story.task.status == "expired"


def test_an_unconfirmed_task_waits_no_longer_than_it_was_meant_to() -> None:
    story = Story()
    story.claimed(0)
    story.outcome_unknown(30)
    story.ticks(BACK)
    assert story.task.timer_due_at == after(BACK + 900)
    assert story.task.slot_until == after(BACK + 120)
    story.ticks(BACK + 900)
    assert story.task.status == "failed"


def test_a_lease_that_lies_ahead_lapses() -> None:
    story = Story()
    story.claimed(0)
    story.ticks(BACK)
    assert story.task.timer_due_at == after(BACK + 60)
    story.ticks(BACK + 60)
    assert story.task.status == "unconfirmed"


def test_changes_after_it_have_their_own_time() -> None:
    story = running_story()
    version = story.task.version
    story.called_back(BACK, says(status="succeeded"))
    assert story.task.finished_at == story.task.updated_at == after(BACK)
    assert story.task.version > version


@pytest.mark.parametrize("seconds", [1, AHEAD_S - 1])
def test_what_was_written_while_a_lock_was_waited_for_is_not_ahead(seconds: float) -> None:
    story = running_story()
    story.called_back(100 + seconds, says(status="running", title="Harbour"))
    story.called_back(100, says(status="main_succeeded"))
    assert story.task.updated_at == after(100 + seconds)
    story.ticks(100)
    assert story.task.deadline_at == after(3601)


@pytest.mark.parametrize(("reason", "wait_s"), [(Reason.KEY_REJECTED, 30), (Reason.QUEUE_FULL, 5)])
def test_a_hold_ends_no_later_than_it_is_long(reason: Reason, wait_s: int) -> None:
    held = holds.probing(holds.hold(NO_HOLD, reason, after(0)), later(after(0), 60))
    hold = holds.set_back(held, after(BACK)).hold
    assert (present(hold).since, present(hold).until, present(hold).probe_until) == (
        after(BACK),
        after(BACK + wait_s),
        after(BACK + wait_s),
    )
    assert present(holds.set_back(held, after(1)).hold).until == present(held.hold).until
    assert holds.set_back(NO_HOLD, after(BACK)) == NO_HOLD


def test_a_held_model_is_probed_no_later_than_it_was_meant_to() -> None:
    opened = model_breaker.refused(None, after(0), after(1), 1, "model_not_offered", "")
    out = model_breaker.probing(opened, after(120))
    back = model_breaker.set_back(out, after(BACK))
    end = after(BACK + model_breaker.PROBE_S)
    assert (back.held_since, back.touched_at, back.probe_at, back.probe_until) == (after(BACK), after(BACK), end, end)
    assert model_breaker.set_back(opened, after(2)) == opened


def test_ids_tell_the_time_after_it_too() -> None:
    at = [after(0)]
    ids = Ids(lambda: at[0])

    def told(one: UUID) -> timedelta:
        return timedelta(milliseconds=one.int >> 80)

    first = ids()
    at[0] = after(-5)
    assert ids() > first, "a few seconds are bridged"
    at[0] = after(BACK)
    again = ids()
    assert told(first) - told(again) == timedelta(seconds=-BACK)
    assert ids() > again
