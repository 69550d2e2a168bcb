"""What each outcome of a send may still change, in time, late, and against items that are already known."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from app.rules.policy import Policy
from app.rules.task import Submission
from app.rules.times import FAR
from app.rules.transition import ChangeResult
from tests.rules.tasks.scene import Story, after, denies, fresh_id, new_task, says, shows
from tests.support.not_none import present

PERMANENT, AGAIN = None, 90.0


def sent(at: float = 0, **given: Any) -> Story:
    story = Story(**given)
    story.claimed(at)
    return story


def lapsed_and_failed() -> Story:
    """Sent at 0 s, its lease lapsed at 60 s, nothing confirmed it until 960 s."""
    story = sent()
    story.ticks(60)
    story.ticks(960)
    assert (story.task.submission, story.task.status) == (Submission.LAPSED, "failed")
    return story


def test_a_claim_starts_a_submission_with_a_fresh_fence() -> None:
    story = Story()
    assert not story.claimed(3).rejected
    task = story.task
    assert (task.status, task.submit_id, task.claimed_at) == ("submitting", story.submit_ids[task.id], after(3))
    assert task.submit_attempts == 1
    assert (task.dispatch_due_at, task.timer_due_at, task.slot_until) == (None, after(63), FAR)


def test_a_task_is_claimed_once() -> None:
    story = sent()
    first = story.task.submit_id
    assert story.claimed(1).rejected
    assert (story.task.submit_id, story.task.submit_attempts) == (first, 1)


def test_accepted_names_the_items_and_starts_the_deadline() -> None:
    story = sent()
    story.accepted(2, ["i1", "i2"])
    task = story.task
    assert (task.submission, task.status) == (Submission.ACCEPTED, "running")
    assert (task.submitted_at, task.deadline_at) == (after(2), after(3602))
    assert {item.item_id for item in story.loaded.items_of(task)} == {"i1", "i2"}


def test_refused_for_good_fails_with_the_vendors_words() -> None:
    story = sent()
    story.refused(2, PERMANENT)
    task = story.task
    assert (task.submission, task.status, task.slot_until) == (Submission.REFUSED, "failed", None)
    assert present(task.failure).vendor_status == 400004
    assert task.finished_at == after(2)


def test_refused_for_now_is_queued_again_until_its_time() -> None:
    story = sent()
    story.refused(2, AGAIN)
    task = story.task
    assert (task.submission, task.status) == (Submission.QUEUED, "queued")
    assert (task.dispatch_due_at, task.slot_until, task.deadline_at) == (after(90), None, None)
    assert task.failure is None
    assert not story.claimed(90).rejected
    assert task.submit_attempts == 2


def test_unknown_is_unconfirmed_and_never_sent_again() -> None:
    story = sent()
    story.outcome_unknown(30)
    task = story.task
    assert (task.submission, task.status, task.dispatch_due_at) == (Submission.UNKNOWN, "unconfirmed", None)
    assert story.claimed(31).rejected
    story.ticks(10_000)
    assert story.claimed(10_001).rejected


def test_an_unconfirmed_task_holds_its_slot_for_four_timeouts_from_its_claim() -> None:
    story = sent(7)
    story.outcome_unknown(30)
    assert story.task.slot_until == after(7 + 120)


def test_the_deadline_of_an_unconfirmed_task_counts_from_its_claim() -> None:
    story = sent(7)
    story.outcome_unknown(30)
    assert story.task.deadline_at == after(3607)


def test_unconfirmed_fails_when_nothing_confirms_it_in_time() -> None:
    story = sent()
    story.outcome_unknown(30)
    story.ticks(929.9)
    assert story.task.status == "unconfirmed"
    assert story.task.timer_due_at == after(930)
    story.ticks(930)
    assert (story.task.submission, story.task.status) == (Submission.LAPSED, "failed")
    assert (present(story.task.failure).code, present(story.task.failure).retryable) == (
        "submit_outcome_unknown",
        False,
    )


def test_a_callback_that_names_an_unconfirmed_task_settles_it() -> None:
    story = sent()
    story.outcome_unknown(30)
    story.called_back(100, says(status="running"))
    assert story.task.status == "running"
    story.ticks(2000)
    assert (story.task.submission, story.task.status) == (Submission.UNKNOWN, "running")


def test_a_lapsed_lease_is_an_unknown_outcome() -> None:
    story = sent()
    story.ticks(59.9)
    assert story.task.status == "submitting"
    story.ticks(60)
    assert (story.task.submission, story.task.status) == (Submission.UNKNOWN, "unconfirmed")
    assert story.task.unconfirmed_at == after(60)
    assert "lease_lapsed" in story.entry_types()


def test_a_lapsed_lease_with_a_known_item_lets_the_item_decide_for_ever() -> None:
    story = sent()
    story.called_back(10, says(status="running"))
    story.ticks(60)
    story.ticks(2000)
    assert (story.task.submission, story.task.status) == (Submission.UNKNOWN, "running")


@pytest.mark.parametrize("how", ["unknown", "lapsed", "failed"])
def test_a_late_accepted_is_always_applied(how: str) -> None:
    story = lapsed_and_failed() if how == "failed" else sent()
    if how == "unknown":
        story.outcome_unknown(30)
    elif how == "lapsed":
        story.ticks(60)
    assert not story.accepted(1000).rejected
    task = story.task
    assert (task.submission, task.status, task.failure) == (Submission.ACCEPTED, "running", None)
    assert (task.submitted_at, task.deadline_at, task.finished_at) == (after(1000), after(4600), None)


def test_a_late_accepted_is_applied_after_the_next_claim_too() -> None:
    story = sent()
    story.given_back(1)
    story.claimed(2)
    assert not story.accepted(3).rejected
    assert story.task.status == "running"
    assert story.outcome_unknown(4).rejected
    assert story.task.status == "running"


def test_a_late_accepted_is_applied_on_an_expired_task() -> None:
    story = sent()
    story.called_back(10, says(status="running"))
    story.outcome_unknown(30)
    story.queried(3610, shows(status="running"))
    assert story.task.status == "expired"
    story.accepted(3700)
    assert (story.task.status, story.task.expired_at) == ("running", None)
    assert story.task.deadline_at == after(7300)
    assert story.item().query_due_at is not None


@pytest.mark.parametrize("again_s", [PERMANENT, 2000.0])
@pytest.mark.parametrize("how", ["unknown", "failed"])
def test_a_late_refused_with_the_matching_fence_is_applied_while_no_item_is_known(
    how: str, again_s: float | None
) -> None:
    story = lapsed_and_failed() if how == "failed" else sent()
    if how == "unknown":
        story.outcome_unknown(30)
    assert not story.refused(1000, again_s).rejected
    assert story.task.status == ("failed" if again_s is None else "queued")
    if again_s is not None:
        assert story.task.dispatch_due_at == after(again_s)
        assert story.task.finished_at is None


def test_a_task_that_is_queued_again_carries_no_failure() -> None:
    story = lapsed_and_failed()
    story.refused(1000, 1001.0)
    assert (story.task.status, story.task.failure) == ("queued", None)


@pytest.mark.parametrize("again_s", [PERMANENT, 2000.0])
@pytest.mark.parametrize("outcome", ["refused", "unknown", "given_back"])
def test_a_late_outcome_of_an_earlier_send_has_no_effect(outcome: str, again_s: float | None) -> None:
    story = sent()
    old = story.submit_ids[story.task.id]
    story.refused(1, 2.0)
    story.claimed(2)
    ways: dict[str, Callable[[], ChangeResult]] = {
        "refused": lambda: story.refused(3, again_s, submit_id=old),
        "unknown": lambda: story.outcome_unknown(3, submit_id=old),
        "given_back": lambda: story.given_back(3, submit_id=old),
    }
    assert ways[outcome]().rejected
    assert (story.task.status, story.task.failure) == ("submitting", None)
    assert story.loaded.entries[story.task.id][-1].detail == {"late": True}


@pytest.mark.parametrize("again_s", [PERMANENT, 2000.0])
def test_a_refusal_cannot_take_back_an_acceptance(again_s: float | None) -> None:
    story = sent()
    story.accepted(2)
    assert story.refused(3, again_s).rejected
    assert story.task.submission is Submission.ACCEPTED


@pytest.mark.parametrize("again_s", [PERMANENT, 2000.0])
def test_a_refusal_of_a_task_whose_item_is_known_lets_the_item_decide(again_s: float | None) -> None:
    story = sent()
    story.called_back(5, says(status="running"))
    story.refused(6, again_s)
    assert (story.task.status, story.task.submission) == ("running", Submission.UNKNOWN)
    story.called_back(60, says(status="succeeded"))
    assert story.task.status == "succeeded"


def test_a_callback_between_two_attempts_means_that_it_is_never_sent_again() -> None:
    story = sent()
    story.refused(1, 10.0)
    story.called_back(5, says(status="running"))
    assert (story.task.status, story.task.dispatch_due_at) == ("running", None)
    assert story.claimed(10).rejected
    story.ticks(20)
    assert (story.task.status, story.task.dispatch_due_at) == ("running", None)
    assert story.canceled(21).rejected


def test_a_claim_given_back_is_due_at_once() -> None:
    story = sent()
    story.given_back(40)
    task = story.task
    assert (task.status, task.dispatch_due_at, task.slot_until) == ("queued", task.created_at, None)


def test_a_claim_given_back_after_a_callback_is_not_queued() -> None:
    story = sent()
    story.called_back(5, says(status="running"))
    story.given_back(40)
    assert (story.task.status, story.task.dispatch_due_at) == ("running", None)
    assert story.claimed(41).rejected


def test_a_queued_task_can_be_canceled_and_then_not_sent() -> None:
    story = Story()
    assert not story.canceled(1).rejected
    assert (story.task.status, story.task.dispatch_due_at, story.task.finished_at) == ("canceled", None, after(1))
    assert story.claimed(2).rejected


@pytest.mark.parametrize("state", [one for one in Submission if one is not Submission.QUEUED])
def test_nothing_but_a_queued_task_can_be_canceled_or_claimed(state: Submission) -> None:
    story = Story(new_task(submission=state, submit_id=fresh_id(), claimed_at=after(0)))
    assert story.canceled(1).rejected
    assert story.claimed(1).rejected
    assert story.task.submission is state


def test_a_canceled_task_that_a_late_accepted_names_is_running() -> None:
    story = Story()
    story.canceled(1)
    story.accepted(5)
    assert story.task.status == "running"


def test_a_lease_outlives_its_timeout_so_that_a_living_sender_keeps_it() -> None:
    assert Policy(submit_timeout_s=100).submit_lease_s == 130
    story = sent(policy=Policy(submit_timeout_s=100))
    assert story.task.timer_due_at == after(130)


def test_settings_without_upper_bounds_do_not_overflow() -> None:
    times: list[Any] = [1e308] * 10
    huge = Policy(10, *times)
    story = sent(policy=huge)
    story.outcome_unknown(1)
    story.called_back(2, says(status="running"))
    story.queried(3, shows(status="running"))
    story.accepted(4)
    story.queried(5, denies())
    story.ticks(timedelta(days=9999).total_seconds())
    assert (story.task.status, story.task.deadline_at) == ("running", FAR)
