"""Artifacts, and when an item needs no more questions: settled is more than final."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rules.observation import Reading
from app.rules.policy import Policy
from app.rules.times import to_us
from tests.rules.tasks.scene import Story, after, denies, running_story, says, shows
from tests.rules.tasks.strategies import readings

MP3, WAV, STREAM = (f"https://cdn.example/a.{kind}?auth_key=1" for kind in ("mp3", "wav", "m3u8"))
SECTIONS = [{"start": 0.5, "end": 3.0, "text": "\n[verse]"}]
WHOLE: dict[str, Any] = {"status": "succeeded", "audio_url": MP3, "audio_hi_url": WAV, "lyrics_sections": SECTIONS}


def artifact_statuses(story: Story) -> dict[str, str]:
    return {name: one.status.value for name, one in story.view().artifacts.items()}


def test_artifacts_are_pending_until_something_is_said_of_them() -> None:
    story = running_story()
    assert artifact_statuses(story) == {"audio": "pending", "audio_hi": "pending"}
    story.called_back(60, says(status="main_succeeded", audio_url=MP3))
    assert artifact_statuses(story) == {"audio": "ready", "audio_hi": "pending"}


def test_a_url_makes_an_artifact_ready_whatever_its_sub_status_says() -> None:
    story = running_story()
    story.called_back(60, says(audio_hi_url=WAV, audio_hi_status="sub_failed"))
    assert artifact_statuses(story)["audio_hi"] == "ready"


def test_a_sub_status_that_succeeded_without_a_url_is_still_pending() -> None:
    story = running_story()
    story.called_back(60, says(audio_hi_status="sub_succeeded"))
    assert artifact_statuses(story)["audio_hi"] == "pending"


def test_a_stream_is_shown_once_it_is_known_and_lasts_ten_minutes() -> None:
    story = running_story()
    story.called_back(30, says(streamAudioUrl=STREAM, event="audio_chunk"))
    shown = story.view().artifacts["stream"]
    assert (shown.status, shown.url, shown.expires_at) == ("ready", STREAM, after(30 + 600))
    story.called_back(60, says(audio_url=MP3))
    assert story.view().artifacts["audio"].expires_at == after(60 + 3 * 86400)


def test_stems_may_be_a_list_or_an_object() -> None:
    story = running_story(kind="stems.create", item_ids=("s1",))
    story.called_back(60, says("s1", family="stems", status="succeeded", stems_url='["https://cdn.example/1.flac"]'))
    assert story.view("s1").artifacts["stems"].url == ["https://cdn.example/1.flac"]
    story.called_back(70, says("s1", family="stems", stems_url='{"drums":"https://cdn.example/d.flac"}'))
    assert story.view("s1").artifacts["stems"].url == {"drums": "https://cdn.example/d.flac"}


def test_of_any_other_artifact_the_first_url_is_shown() -> None:
    story = running_story()
    story.called_back(60, says(audio_url='{"files":[7,{"name":"a/b","mp3":"https://cdn.example/1.mp3"},"https://2"]}'))
    assert story.view().artifacts["audio"].url == "https://cdn.example/1.mp3"


def test_a_whole_song_is_settled_and_nothing_more_is_asked() -> None:
    story = running_story()
    story.called_back(60, says(**WHOLE))
    assert (story.view().progress.settled, story.view().progress.lacking) == (True, ())
    assert story.item().query_due_at is None
    assert story.task.timer_due_at is None


@pytest.mark.parametrize("missing", ["audio_url", "audio_hi_url", "lyrics_sections"])
def test_a_final_song_of_which_something_is_missing_is_not_settled_but_its_task_is_final(missing: str) -> None:
    story = running_story()
    story.called_back(60, says(**{name: value for name, value in WHOLE.items() if name != missing}))
    assert story.task.status == "succeeded"
    assert not story.view().progress.settled
    assert story.item().query_due_at == after(80)


def test_an_instrumental_task_needs_no_aligned_lyrics() -> None:
    story = running_story(sung=False)
    story.called_back(60, says(status="succeeded", audio_url=MP3, audio_hi_url=WAV))
    assert story.view().progress.settled


def test_a_failed_sub_status_is_as_good_as_a_value() -> None:
    story = running_story()
    story.called_back(
        60, says(status="part_failed", audio_url=MP3, audio_hi_status="sub_failed", lyrics_sections_status="sub_failed")
    )
    assert story.view().progress.settled
    assert artifact_statuses(story) == {"audio": "ready", "audio_hi": "failed"}


def test_a_failed_item_is_settled_without_artifacts() -> None:
    story = running_story()
    story.called_back(60, says(status="failed"))
    assert story.view().progress.settled
    assert artifact_statuses(story) == {"audio": "failed", "audio_hi": "failed"}


def test_after_three_answered_follow_ups_what_is_missing_has_failed() -> None:
    story = running_story()
    story.called_back(60, says(status="succeeded", audio_hi_url=WAV, lyrics_sections=SECTIONS))
    for follow_up, second in enumerate((80, 100, 130)):
        assert artifact_statuses(story)["audio"] == "pending"
        assert story.item().follow_ups == follow_up
        story.queried(second, shows(status="succeeded"))
    assert artifact_statuses(story) == {"audio": "failed", "audio_hi": "ready"}
    assert story.view().progress.settled
    assert story.item().query_due_at is None


def test_the_answer_that_makes_an_item_final_is_no_follow_up() -> None:
    story = running_story()
    story.queried(240, shows(status="succeeded"))
    assert story.item().follow_ups == 0


def test_a_failed_artifact_that_comes_after_all_is_ready() -> None:
    story = running_story()
    story.called_back(60, says(status="succeeded", audio_hi_url=WAV, lyrics_sections=SECTIONS))
    for second in (80, 100, 130):
        story.queried(second, shows(status="succeeded"))
    version = story.task.version
    story.called_back(500, says(audio_url=MP3, status="main_succeeded"))
    assert artifact_statuses(story)["audio"] == "ready"
    assert story.task.status == "succeeded"
    assert story.task.version > version


def test_a_lost_mp3_is_found_by_the_first_follow_up() -> None:
    story = running_story()
    story.called_back(60, says(status="succeeded", audio_hi_url=WAV, lyrics_sections=SECTIONS, event="wav_complete"))
    story.queried(80, shows(**WHOLE))
    assert artifact_statuses(story) == {"audio": "ready", "audio_hi": "ready"}
    assert story.item().query_due_at is None


def test_a_fixed_first_question_that_is_sooner_also_holds_for_follow_ups() -> None:
    assert Policy(first_after_s=5).settle_after_s == 5
    assert Policy(first_after_s=90).settle_after_s == Policy().settle_after_s == 20
    story = running_story(policy=Policy(first_after_s=5))
    story.called_back(60, says(status="succeeded"))
    assert story.item().query_due_at == after(65)


def test_denials_of_a_final_item_count_as_follow_ups_and_fail_nothing_else() -> None:
    story = running_story()
    story.called_back(60, says(status="succeeded", audio_hi_url=WAV))
    for second in (80, 100, 130):
        story.queried(second, denies())
    assert story.task.status == "succeeded"
    assert artifact_statuses(story) == {"audio": "failed", "audio_hi": "ready"}


@given(st.lists(st.tuples(readings(), st.booleans()), max_size=8))
def test_whatever_is_said_an_unsettled_item_has_its_next_question_and_a_settled_one_none(
    said: list[tuple[Reading, bool]],
) -> None:
    story = running_story()
    for n, (reading, by_callback) in enumerate(said):
        at = to_us(after(60 + n))
        seen = says(seconds=60 + n) if by_callback else shows(seconds=60 + n)
        seen = type(seen)("song", reading, seen.source, at, seen.named_by)
        story.happens(60 + n, seen, task=story.task)
        view = story.view()
        assert (story.item().query_due_at is None) == view.progress.settled
        assert (view.progress.final and not view.progress.lacking) <= view.progress.settled <= view.progress.final
        for one in view.artifacts.values():
            assert (one.status == "ready") == (one.url is not None) == (one.expires_at is not None)
