"""What a client is told of its task: each milestone once, its end again where something came later."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rules.observation import Reading
from app.rules.policy import Policy
from app.rules.task import Task
from tests.rules.tasks.scene import Story, names, new_task, running_story, says, shows, stranger_says
from tests.rules.tasks.strategies import readings
from tests.support.not_none import present

MP3, WAV = (f"https://cdn.example/a.{kind}?auth_key=1" for kind in ("mp3", "wav"))
SECTIONS = [{"start": 0.5, "end": 3.0, "text": "\n[verse]"}]
WHOLE: dict[str, Any] = {"status": "succeeded", "audio_url": MP3, "audio_hi_url": WAV, "lyrics_sections": SECTIONS}
HOOK = "https://hooks.example/tempolor"


def watched(kind: str = "song.generate") -> Task:
    return new_task(kind, webhook_url=HOOK)


def claimed_story(**given: Any) -> Story:
    story = Story(watched(), **given)
    story.claimed(0)
    return story


def accepted_story(item_ids: tuple[str, ...] = ("i1",), **given: Any) -> Story:
    story = claimed_story(**given)
    story.accepted(1, item_ids)
    return story


def told(story: Story, task: Task | None = None) -> list[str]:
    """The names of what was told of a task, in order."""
    return [one.name for one in story.loaded.milestones if one.task_id == (task or story.task).id]


def told_later(story: Story) -> list[str]:
    """What was told since the last call."""
    found = told(story)
    story.loaded.milestones.clear()
    return found


def test_each_milestone_is_told_once_at_its_time() -> None:
    story = accepted_story()
    assert told_later(story) == ["running"]
    story.called_back(30, says(status="running"))
    assert told_later(story) == []
    story.called_back(60, says(status="main_succeeded", audio_url=MP3))
    assert [(one.name, one.at) for one in story.loaded.milestones] == [("playable", story.task.playable_at)]
    assert told_later(story) == ["playable"]
    story.called_back(90, says(**WHOLE))
    assert [one.at for one in story.loaded.milestones] == [story.task.finished_at]
    assert told_later(story) == ["succeeded"]


def test_a_queued_task_that_one_callback_ends_passes_three_milestones() -> None:
    story = Story(watched())
    story.called_back(60, says(**WHOLE))
    assert told(story) == ["running", "playable", "succeeded"]


def test_while_the_answer_is_outstanding_the_end_waits_for_it() -> None:
    story = claimed_story()
    story.called_back(20, says(**WHOLE))
    assert told_later(story) == ["running", "playable"]
    story.accepted(30)
    assert told_later(story) == ["succeeded"]


def test_several_changes_of_one_board_tell_each_milestone_once() -> None:
    story = claimed_story()
    for second, status in enumerate(["running", "main_succeeded", "running", "main_succeeded"], start=20):
        story.called_back(second, says(status=status, audio_url=MP3))
    story.accepted(30)
    story.called_back(40, says(**WHOLE))
    story.called_back(41, says(**WHOLE))
    assert told(story) == ["running", "playable", "succeeded"]


def test_over_several_items_playable_waits_for_all_and_the_end_is_theirs_together() -> None:
    story = accepted_story(("i1", "i2"))
    story.called_back(60, says("i1", **WHOLE))
    assert told_later(story) == ["running"]
    story.called_back(70, says("i2", status="main_succeeded", audio_url=MP3))
    assert told_later(story) == ["playable"]
    story.called_back(80, says("i2", status="failed"))
    assert told_later(story) == ["part_failed"]


def test_a_task_that_ends_usable_without_a_playable_moment_was_playable_at_its_end() -> None:
    story = accepted_story()
    story.called_back(60, says(status="part_failed", audio_url=MP3))
    assert told(story) == ["running", "playable", "part_failed"]


def test_a_refused_task_tells_only_that_it_failed() -> None:
    story = claimed_story()
    story.refused(1)
    assert told(story) == ["failed"]


def test_a_task_that_the_vendor_could_not_make_was_running_and_never_playable() -> None:
    story = accepted_story()
    story.called_back(60, says(status="failed"))
    assert told(story) == ["running", "failed"]


def test_a_canceled_task_tells_that_alone() -> None:
    story = Story(watched())
    story.canceled(5)
    story.ticks(10)
    assert told(story) == ["canceled"]


def test_a_refusal_that_is_tried_again_tells_nothing() -> None:
    story = claimed_story()
    story.refused(1, again_s=5)
    assert told(story) == []


def test_an_unknown_outcome_is_told_once_it_has_failed_and_what_turns_up_later_too() -> None:
    story = claimed_story(policy=Policy(submit_confirm_s=900))
    story.outcome_unknown(30)
    assert told_later(story) == []
    story.ticks(931)
    assert present(story.task.failure).code == "submit_outcome_unknown"
    assert told_later(story) == ["failed"]
    story.called_back(1000, says(**WHOLE))
    assert told_later(story) == ["running", "playable", "succeeded"]


def test_an_expired_task_tells_so_and_its_late_success_too() -> None:
    story = accepted_story()
    story.queried(3602, shows(status="running"))
    story.ticks(3603)
    assert story.task.status == "expired"
    assert told_later(story) == ["running", "expired"]
    story.called_back(4000, says(status="running"))
    story.ticks(4001)
    assert told_later(story) == []
    story.called_back(5000, says(**WHOLE))
    assert told_later(story) == ["playable", "succeeded"]


@pytest.mark.parametrize("missing", ["audio_url", "audio_hi_url", "lyrics_sections"])
def test_what_was_missing_of_an_ended_task_and_comes_later_tells_the_end_again(missing: str) -> None:
    story = accepted_story()
    story.called_back(60, says(**{name: value for name, value in WHOLE.items() if name != missing}))
    assert told_later(story) == ["running", "playable", "succeeded"]
    version = story.task.version
    story.called_back(100, says(**{"status": "succeeded", missing: WHOLE[missing]}))
    assert told_later(story) == ["succeeded"]
    assert story.task.version > version


def test_what_is_given_up_and_then_comes_tells_the_end_each_time() -> None:
    story = accepted_story()
    story.called_back(60, says(status="succeeded", audio_hi_url=WAV, lyrics_sections=SECTIONS))
    assert told_later(story) == ["running", "playable", "succeeded"]
    for second in (80, 100):
        story.queried(second, shows(status="succeeded"))
        assert told_later(story) == []
    story.queried(130, shows(status="succeeded"))
    assert story.view().artifacts["audio"].status == "failed"
    assert told_later(story) == ["succeeded"]
    story.called_back(500, says(status="main_succeeded", audio_url=MP3))
    assert told_later(story) == ["succeeded"]


def test_a_missing_artifact_of_a_task_that_has_not_ended_tells_nothing_by_itself() -> None:
    story = accepted_story()
    story.called_back(60, says(status="main_succeeded", audio_url=MP3))
    story.loaded.milestones.clear()
    story.called_back(70, says(status="main_succeeded", audio_hi_url=WAV))
    assert told_later(story) == []


def test_an_item_that_turns_up_after_the_end_reopens_it_and_the_end_is_told_anew() -> None:
    story = claimed_story()
    story.outcome_unknown(30)
    story.called_back(60, says("i1", **WHOLE))
    assert told_later(story) == ["running", "playable", "succeeded"]
    story.called_back(70, says("i2", status="running"))
    assert story.task.status == "running"
    assert told_later(story) == []
    story.called_back(90, says("i2", **WHOLE))
    assert told_later(story) == ["succeeded"]


def test_repeats_stale_observations_and_new_signatures_tell_nothing() -> None:
    story = accepted_story()
    story.called_back(60, says(**WHOLE))
    story.loaded.milestones.clear()
    version = story.task.version
    story.called_back(61, says(**WHOLE))
    story.called_back(62, says(status="running"))
    story.queried(63, shows(status="main_succeeded"))
    story.ticks(64)
    assert story.task.version == version
    story.called_back(70, says(status="succeeded", audio_url=f"{MP3}2", audio_hi_url=f"{WAV}2"))
    assert story.task.version > version, "the new signature is visible"
    story.called_back(80, says(title="Another", status="succeeded"))
    assert told(story) == []


def test_a_task_without_a_receiver_tells_nothing() -> None:
    story = running_story()
    story.called_back(60, says(**WHOLE))
    assert story.task.status == "succeeded"
    assert story.loaded.milestones == []


def test_an_external_task_tells_nothing() -> None:
    story = Story(watched())
    story.told_by_stranger(60, stranger_says("x1", **WHOLE))
    assert story.owner("x1").status == "succeeded"
    assert story.loaded.milestones == []


def test_a_task_that_takes_an_item_over_is_told_what_it_got_with_it() -> None:
    story = claimed_story()
    story.told_by_stranger(10, stranger_says(status="main_succeeded", audio_url=MP3))
    assert told(story) == []
    story.called_back(20, says(status="main_succeeded"))
    assert told(story) == ["running", "playable"]


def test_a_task_that_loses_its_item_is_told_nothing_of_it() -> None:
    thief, rightful = watched(), watched()
    story = Story(thief, rightful)
    story.claimed(0, rightful)
    story.called_back(5, says(status="running"), task=thief)
    assert told_later(story) == ["running"]
    story.happens(9, names(), task=rightful)
    assert (thief.status, rightful.status) == ("queued", "submitting" if rightful.submitted_at is None else "running")
    assert told(story, thief) == []
    assert told(story, rightful) == ["running"]


ENDS = ("succeeded", "part_failed", "failed", "expired", "canceled")


@given(st.lists(st.tuples(readings(), st.booleans()), max_size=8))
def test_whatever_is_said_beginnings_are_told_once_and_the_last_end_is_the_status(
    said: list[tuple[Reading, bool]],
) -> None:
    story = accepted_story()
    for n, (reading, by_callback) in enumerate(said):
        seen = says(seconds=60 + n) if by_callback else shows(seconds=60 + n)
        before = story.task.version
        count = len(story.loaded.milestones)
        story.happens(
            60 + n, type(seen)("song", reading, seen.source, seen.observed_us, seen.named_by), task=story.task
        )
        assert len(story.loaded.milestones) == count or story.task.version > before, "told, but nothing can be seen"
        version, count = story.task.version, len(story.loaded.milestones)
        if by_callback:  # the same once more
            story.happens(
                60 + n, type(seen)("song", reading, seen.source, seen.observed_us, seen.named_by), task=story.task
            )
            assert (story.task.version, len(story.loaded.milestones)) == (version, count)
    heard = told(story)
    assert heard.count("running") == 1
    assert heard.count("playable") == (story.task.playable_at is not None)
    ends = [name for name in heard if name in ENDS]
    assert (ends[-1:] == [story.task.status.value]) == (story.task.status in ENDS)
