"""The deadline: one answered last query comes before it, and a late word still counts after it."""

import pytest

from app.domain.task import Submission
from app.domain.timing import FAR
from tests.domain.scene import Story, after, denies, names, new_task, running_story, says, shows, stranger_says

DEADLINE = 3601
MP3 = "https://cdn.example/a.mp3"


def test_the_deadline_alone_expires_nothing_that_was_not_asked_about():
    story = running_story()
    story.ticks(DEADLINE)
    assert story.task.status == "running"
    assert story.task.timer_due_at == after(DEADLINE + 5)


def test_a_question_is_due_at_the_deadline_at_the_latest():
    story = running_story()
    for second in range(240, 3400, 100):
        story.queried(second, shows(status="running"))
    assert story.item().query_due_at <= after(DEADLINE)


def test_an_answered_last_query_without_an_end_expires_the_task():
    story = running_story()
    story.queried(DEADLINE - 1, shows(status="running"))
    story.ticks(DEADLINE)
    assert story.task.status == "running"
    story.queried(DEADLINE, shows(status="running"))
    assert (story.task.status, story.task.expired_at) == ("expired", after(DEADLINE))
    assert (story.item().query_due_at, story.task.timer_due_at, story.task.slot_until) == (None, None, None)
    assert "expired" in story.entry_types()


def test_a_last_query_that_ends_it_ends_it():
    story = running_story()
    story.queried(DEADLINE, shows(status="succeeded", audio_url=MP3))
    assert story.task.status == "succeeded"


def test_without_any_answer_it_waits_one_more_deadline_at_most():
    story = running_story()
    story.ticks(DEADLINE + 3599)
    assert story.task.status == "running"
    story.ticks(DEADLINE + 3600)
    assert story.task.status == "expired"


def test_every_open_item_needs_its_answer():
    story = running_story(("i1", "i2"))
    story.queried(DEADLINE + 1, shows("i1", status="running"))
    assert story.task.status == "running"
    story.queried(DEADLINE + 2, shows("i2", status="running"))
    assert story.task.status == "expired"


@pytest.mark.parametrize(
    ("word", "status"),
    [("succeeded", "succeeded"), ("part_failed", "part_failed"), ("failed", "failed"), ("main_succeeded", "expired")],
)
def test_a_late_word_settles_an_expired_task_only_if_it_is_final(word, status):
    story = running_story()
    story.queried(DEADLINE, shows(status="running"))
    version = story.task.version
    story.called_back(DEADLINE + 500, says(status=word, audio_url=MP3))
    assert story.task.status == status
    assert story.task.version > version
    assert story.view().artifacts["audio"].url == MP3
    assert story.view().artifacts["audio_hi"].status == "failed"


def test_pending_artifacts_of_an_expired_task_have_failed():
    story = running_story()
    story.called_back(60, says(status="main_succeeded", audio_url=MP3))
    story.queried(DEADLINE, shows(status="main_succeeded"))
    assert {name: one.status for name, one in story.view().artifacts.items()} == {
        "audio": "ready",
        "audio_hi": "failed",
    }


def test_a_final_task_does_not_expire_but_stops_waiting_for_what_is_missing():
    story = running_story()
    story.called_back(60, says(status="succeeded", audio_url=MP3))
    story.ticks(DEADLINE)
    assert story.task.status == "succeeded"
    assert story.view().progress.settled
    assert story.item().query_due_at is None
    assert "expired" not in story.entry_types()


def test_what_a_final_task_stops_waiting_for_is_a_visible_change_with_a_row():
    story = running_story()
    story.task.webhook_url = "https://studio.example/hook"
    story.called_back(60, says(status="succeeded", audio_url=MP3))
    version = story.task.version
    assert story.view().artifacts["audio_hi"].status == "pending"
    story.ticks(DEADLINE)
    assert story.view().artifacts["audio_hi"].status == "failed"
    assert story.task.version == version + 1
    assert story.entry_types()[-1] == "changed"
    assert [one.name for one in story.board.milestones] == ["running", "playable", "succeeded", "succeeded"][-3:]


def test_a_task_being_sent_does_not_expire():
    story = Story(new_task(submission=Submission.SENDING, claimed_at=after(DEADLINE), submit_id=None))
    story.called_back(1, says(status="running"))
    story.queried(DEADLINE + 10, shows(status="running"))
    assert story.task.status == "running"


def test_an_external_task_expires_like_others():
    story = Story()
    story.told_by_stranger(0, stranger_says(status="running"))
    story.queried(3600, shows(status="running"))
    assert story.owner().status == "expired"


def test_a_callback_on_a_failed_task_long_after_its_deadline_starts_a_new_one():
    story = Story()
    story.claimed(0)
    story.outcome_unknown(30)
    story.ticks(1000)
    assert story.task.status == "failed"
    story.called_back(9000, says(status="running"))
    assert (story.task.status, story.task.deadline_at) == ("running", after(9000 + 3600))


def test_an_item_unknown_to_the_vendor_ends_before_the_deadline_is_needed():
    story = running_story()
    story.queried(700, denies())
    assert story.task.status == "failed"
    story.ticks(DEADLINE)
    assert (story.task.status, story.task.expired_at) == ("failed", None)


def test_an_accepted_task_whose_only_item_belongs_to_another_task_still_ends():
    story = running_story()
    second = new_task()
    story.board.add_task(second)
    story.claimed(10, second)
    outcome = story.accepted(11, ["i1"], second)
    assert outcome.verdicts == ("mismatched",)
    for second_s in range(12, 4 * 3600, 600):
        story.ticks(second_s, second)
    assert second.slot_until != FAR
    assert second.status in ("failed", "expired")


def test_a_task_emptied_by_the_rightful_owner_still_ends():
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
