"""The deadline: one answered last query comes before it, and a late word still counts after it."""

import pytest

from app.rules.downtime import Absence
from app.rules.task import Submission
from app.rules.times import FAR
from tests.rules.tasks.scene import (
    T0,
    Story,
    after,
    away,
    denies,
    names,
    new_task,
    running_story,
    says,
    shows,
    stranger_says,
)
from tests.support.not_none import present

DEADLINE = 3601
MP3 = "https://cdn.example/a.mp3"


def test_the_deadline_alone_expires_nothing_that_was_not_asked_about() -> None:
    story = running_story()
    story.ticks(DEADLINE)
    assert story.task.status == "running"
    assert story.task.timer_due_at == after(DEADLINE + 5)


def test_a_question_is_due_at_the_deadline_at_the_latest() -> None:
    story = running_story()
    for second in range(240, 3400, 100):
        story.queried(second, shows(status="running"))
    assert present(story.item().query_due_at) <= after(DEADLINE)


def test_an_answered_last_query_without_an_end_expires_the_task() -> None:
    story = running_story()
    story.queried(DEADLINE - 1, shows(status="running"))
    story.ticks(DEADLINE)
    assert story.task.status == "running"
    story.queried(DEADLINE, shows(status="running"))
    assert (story.task.status, story.task.expired_at) == ("expired", after(DEADLINE))
    assert (story.item().query_due_at, story.task.timer_due_at, story.task.slot_until) == (None, None, None)
    assert "expired" in story.entry_types()


def test_a_last_query_that_ends_it_ends_it() -> None:
    story = running_story()
    story.queried(DEADLINE, shows(status="succeeded", audio_url=MP3))
    assert story.task.status == "succeeded"


def test_without_any_answer_it_waits_one_more_deadline_at_most() -> None:
    story = running_story()
    story.unanswered(DEADLINE + 3598)
    story.ticks(DEADLINE + 3599)
    assert story.task.status == "running"
    story.ticks(DEADLINE + 3600)
    assert (story.task.status, story.entry_types()[-1]) == ("expired", "expired")


@pytest.mark.parametrize("last_due", [-1, 0, 240 - DEADLINE])
def test_nothing_is_given_up_while_it_waits_for_its_question(last_due: int) -> None:
    """Hundreds of tasks wait for theirs when a gateway comes back, and the rate is low."""
    story = running_story()
    story.item().query_due_at = after(DEADLINE + last_due)
    for periods in (1, 3, 100):
        story.ticks(DEADLINE + 3600 * periods)
        assert story.task.status == "running"
    story.queried(DEADLINE + 3600 * 100, shows(status="succeeded", audio_url=MP3))
    assert story.task.status == "succeeded"
    assert "expired" not in story.entry_types()


def test_nothing_is_given_up_while_its_answer_is_awaited() -> None:
    story = running_story()
    story.item().query_due_at = story.item().query_leased_until = after(DEADLINE + 3610)
    story.ticks(DEADLINE + 3605)
    assert story.task.status == "running"
    story.unanswered(DEADLINE + 3606)
    story.ticks(DEADLINE + 3610)
    assert story.task.status == "expired"


def test_one_that_waits_for_its_question_holds_up_the_verdict_on_its_task() -> None:
    story = running_story(("i1", "i2"))
    story.unanswered(DEADLINE + 3600, item_id="i1")
    story.ticks(DEADLINE + 3601)
    assert story.task.status == "running"
    story.unanswered(DEADLINE + 3602, item_id="i2")
    story.ticks(DEADLINE + 3605)
    assert story.task.status == "expired"


@pytest.mark.parametrize(
    "absences",
    [
        (away(100, 100 + 3 * 3600),),
        (away(DEADLINE + 10, DEADLINE + 10 + 3 * 3600),),
        (away(100, 4000), away(5000, 5000 + 2 * 3600)),
        (away(DEADLINE - 100, DEADLINE + 3 * 3600, jumped=True),),
    ],
)
def test_time_in_which_nobody_could_ask_brings_no_verdict(absences: tuple[Absence, ...]) -> None:
    story = running_story()
    back = absences[-1].until
    for seconds in range(0, 3500, 100):
        at = (back - T0).total_seconds() + seconds
        story.unanswered(at, again_s=1000)
        story.ticks(at, absences=absences)
        # Some of the second period may have passed before.
        if at < DEADLINE + 3600 + sum(
            (one.until - max(one.since, after(DEADLINE))).total_seconds() for one in absences
        ):
            assert story.task.status == "running"
    story.unanswered(30_000)
    story.ticks(30_000, absences=absences)
    assert story.task.status == "expired", "in the end it ends"


@pytest.mark.parametrize("hours", [1, 3, 24 * 365])
def test_a_deadline_does_not_pass_by_a_clock_that_is_set_forward(hours: int) -> None:
    story = running_story()
    jump = (away(10, 10 + hours * 3600, jumped=True),)
    back = 10 + hours * 3600
    story.queried(back + 20, shows(status="running"), absences=jump)
    assert story.task.status == "running"
    assert story.task.timer_due_at == after(DEADLINE + hours * 3600)
    story.queried(back + 3600, shows(status="running"), absences=jump)
    assert story.task.status == "expired"


def test_a_deadline_that_passed_while_we_were_away_has_passed() -> None:
    """The vendor had its time: one question, and what it says is the last word."""
    story = running_story()
    absence = (away(10, 10 + 3 * 3600),)
    story.queried(10 + 3 * 3600 + 20, shows(status="running"), absences=absence)
    assert story.task.status == "expired"


def test_a_callback_passes_no_verdict_by_the_clock() -> None:
    story = running_story(("i1", "i2"))
    story.queried(DEADLINE + 1, shows("i2", status="running"))
    story.happens(DEADLINE + 2, says("i1", DEADLINE + 2, status="failed"), task=story.task, absences=None)
    assert story.task.status == "running"
    assert story.task.timer_due_at == after(DEADLINE + 7)
    story.ticks(DEADLINE + 7)
    assert story.task.status == "expired"


def test_who_is_heard_of_again_and_again_is_still_asked_about_at_its_deadline() -> None:
    story = running_story()
    story.called_back(DEADLINE - 1, says(status="running"))
    due_at = story.item().query_due_at
    assert due_at == after(DEADLINE)
    for second in range(3):
        story.called_back(DEADLINE + second, says(status="running", title=str(second)))
        assert story.item().query_due_at == due_at


def test_every_open_item_needs_its_answer() -> None:
    story = running_story(("i1", "i2"))
    story.queried(DEADLINE + 1, shows("i1", status="running"))
    assert story.task.status == "running"
    story.queried(DEADLINE + 2, shows("i2", status="running"))
    assert story.task.status == "expired"


@pytest.mark.parametrize(
    ("word", "status"),
    [("succeeded", "succeeded"), ("part_failed", "part_failed"), ("failed", "failed"), ("main_succeeded", "expired")],
)
def test_a_late_word_settles_an_expired_task_only_if_it_is_final(word: str, status: str) -> None:
    story = running_story()
    story.queried(DEADLINE, shows(status="running"))
    version = story.task.version
    story.called_back(DEADLINE + 500, says(status=word, audio_url=MP3))
    assert story.task.status == status
    assert story.task.version > version
    assert story.view().artifacts["audio"].url == MP3
    assert story.view().artifacts["audio_hi"].status == "failed"


def test_pending_artifacts_of_an_expired_task_have_failed() -> None:
    story = running_story()
    story.called_back(60, says(status="main_succeeded", audio_url=MP3))
    story.queried(DEADLINE, shows(status="main_succeeded"))
    assert {name: one.status for name, one in story.view().artifacts.items()} == {
        "audio": "ready",
        "audio_hi": "failed",
    }


def test_a_final_task_does_not_expire_but_stops_waiting_for_what_is_missing() -> None:
    story = running_story()
    story.called_back(60, says(status="succeeded", audio_url=MP3))
    story.ticks(DEADLINE)
    assert not story.view().progress.settled, "nobody has asked for what is missing"
    assert present(story.item().query_due_at) <= after(DEADLINE)
    story.queried(DEADLINE + 1, shows(status="succeeded", audio_url=MP3))
    assert story.task.status == "succeeded"
    assert story.view().progress.settled
    assert story.item().query_due_at is None
    assert "expired" not in story.entry_types()


def test_what_a_final_task_stops_waiting_for_is_a_visible_change_with_a_row() -> None:
    story = running_story()
    story.task.webhook_url = "https://studio.example/hook"
    story.called_back(60, says(status="succeeded", audio_url=MP3))
    version = story.task.version
    assert story.view().artifacts["audio_hi"].status == "pending"
    story.queried(DEADLINE, shows(status="succeeded", audio_url=MP3))
    assert story.view().artifacts["audio_hi"].status == "failed"
    assert story.task.version == version + 1
    assert [one.name for one in story.loaded.milestones] == ["running", "playable", "succeeded", "succeeded"][-3:]


def test_a_task_being_sent_does_not_expire() -> None:
    story = Story(new_task(submission=Submission.SENDING, claimed_at=after(0), submit_id=None))
    story.called_back(1, says(status="running"))
    story.task.claimed_at = after(DEADLINE)
    story.queried(DEADLINE + 10, shows(status="running"))
    assert story.task.status == "running"


def test_an_external_task_expires_like_others() -> None:
    story = Story()
    story.told_by_stranger(0, stranger_says(status="running"))
    story.queried(3600, shows(status="running"))
    assert story.owner().status == "expired"


def test_a_callback_on_a_failed_task_long_after_its_deadline_starts_a_new_one() -> None:
    story = Story()
    story.claimed(0)
    story.outcome_unknown(30)
    story.ticks(1000)
    assert story.task.status == "failed"
    story.called_back(9000, says(status="running"))
    assert (story.task.status, story.task.deadline_at) == ("running", after(9000 + 3600))


def test_an_item_unknown_to_the_vendor_ends_before_the_deadline_is_needed() -> None:
    story = running_story()
    story.queried(700, denies())
    assert story.task.status == "failed"
    story.ticks(DEADLINE)
    assert (story.task.status, story.task.expired_at) == ("failed", None)


def test_an_accepted_task_whose_only_item_belongs_to_another_task_still_ends() -> None:
    story = running_story()
    second = new_task()
    story.loaded.add_task(second)
    story.claimed(10, second)
    outcome = story.accepted(11, ["i1"], second)
    assert outcome.observation_results == ("mismatched",)
    for second_s in range(12, 4 * 3600, 600):
        story.ticks(second_s, second)
    assert second.slot_until != FAR
    assert second.status in ("failed", "expired")


def test_a_task_emptied_by_the_rightful_owner_still_ends() -> None:
    thief, rightful = new_task(), new_task()
    story = Story(thief, rightful)
    story.claimed(0, thief)
    story.called_back(5, says(status="running"), task=thief)
    story.outcome_unknown(30, thief)
    story.happens(40, names(), task=rightful)
    assert thief.status == "unconfirmed"
    assert thief.timer_due_at == after(930)
    story.ticks(930, thief)
    assert thief.status == "failed"
