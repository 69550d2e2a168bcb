"""The rules of the join one by one: statuses by rank, URLs by first sight, values by the newest."""

import pytest

from app.rules.join import join
from app.rules.status import (
    ITEM_FINAL,
    ITEM_ORDER,
    ITEM_USABLE,
    ItemStatus,
    SubStatus,
    item_rank,
    item_status,
    sub_rank,
)
from tests.rules.tasks.scene import denies, joined, running_story, says, shows, us
from tests.support.not_none import present

MP3, WAV = "https://cdn.example/a.mp3?auth_key=1", "https://cdn.example/a.wav?auth_key=1"


def test_succeeded_without_audio_url_after_main_succeeded_keeps_the_mp3() -> None:
    first = says(seconds=10, status="main_succeeded", audio_url=MP3, event="audio_complete")
    last = says(seconds=60, status="succeeded", audio_hi_url=WAV, audio_hi_status="sub_succeeded", event="wav_complete")
    for order in ([first, last], [last, first]):
        state = joined(*order)
        assert state.statuses["status"] == "succeeded"
        assert state.latest_url("audio_url") == (MP3, us(10))
        assert state.latest_url("audio_hi_url") == (WAV, us(60))


@pytest.mark.parametrize("other", [status for status in ItemStatus if status is not ItemStatus.SUCCEEDED])
def test_succeeded_beats_every_other_status_in_any_order(other: ItemStatus) -> None:
    ends = [says(status="succeeded", seconds=1), says(status=other.value, seconds=2)]
    assert joined(*ends).statuses == joined(*reversed(ends)).statuses == {"status": "succeeded"}


def test_part_failed_is_usable_and_keeps_its_artifacts() -> None:
    story = running_story()
    story.called_back(60, says(status="main_succeeded", audio_url=MP3, title="Harbour Lights"))
    story.called_back(90, says(status="part_failed", audio_hi_status="sub_failed", lyrics_sections_status="sub_failed"))
    view = story.view()
    assert view.progress.status in ITEM_USABLE
    assert view.artifacts["audio"].url == MP3
    assert view.artifacts["audio_hi"].status == "failed"
    assert story.item().state.value("title") == "Harbour Lights"
    assert story.task.status == "part_failed"
    assert story.task.playable_at is not None


def test_an_item_that_fails_after_main_succeeded_keeps_its_mp3() -> None:
    story = running_story()
    story.called_back(60, says(status="main_succeeded", audio_url=MP3))
    story.called_back(90, says(status="failed"))
    assert story.view().artifacts["audio"].url == MP3
    assert story.view().artifacts["audio_hi"].status == "failed"


@pytest.mark.parametrize("odd", ["pending", "queued", "processing", "cancelled", "SUCCEEDED", "success", "error", ""])
def test_an_unknown_status_is_neither_success_nor_failure(odd: str) -> None:
    assert item_rank(odd) == ITEM_ORDER["running"]
    assert sub_rank(odd) == ITEM_ORDER["running"]
    assert item_status(odd) is ItemStatus.RUNNING
    assert item_status(odd) not in ITEM_FINAL | ITEM_USABLE
    story = running_story()
    story.called_back(60, says(status=odd))
    assert story.task.status == "running"
    assert story.item().state.statuses == {"status": odd}
    assert story.item().query_due_at is not None


def test_an_unknown_status_does_not_hold_a_known_one_back() -> None:
    assert joined(says(status="zz"), says(status="main_succeeded")).statuses == {"status": "main_succeeded"}
    assert joined(says(status="zz"), says(status="waiting")).statuses == {"status": "zz"}
    assert joined(says(status="queued"), says(status="running")).statuses == {"status": "running"}
    assert (
        joined(says(audio_hi_status="odd"), says(audio_hi_status="sub_failed")).statuses["audio_hi_status"]
        == "sub_failed"
    )


def test_nothing_said_of_the_status_is_waiting() -> None:
    assert item_status(None) is ItemStatus.WAITING


def test_the_raw_status_follows_the_rank_and_not_the_time() -> None:
    state = joined(says(seconds=1, status="succeeded"), says(seconds=99, status="running"))
    assert state.statuses["status"] == "succeeded"


def test_a_url_seen_again_is_no_newer_for_it() -> None:
    a1, b2, a3 = (says(seconds=n, audio_url=f"https://cdn.example/{x}") for n, x in ((1, "A"), (2, "B"), (3, "A")))
    for order in ([a1, b2, a3], [a3, b2, a1], [b2, a3, a1], [a3, a1, b2]):
        assert joined(*order).latest_url("audio_url") == ("https://cdn.example/B", us(2))


def test_a_url_dates_from_the_earliest_time_that_anybody_saw_it() -> None:
    state = joined(says(seconds=50, audio_url=MP3), shows(seconds=20, audio_url=MP3))
    assert state.latest_url("audio_url") == (MP3, us(20))


def test_a_new_signature_on_a_url_is_shown_and_its_time_starts_anew() -> None:
    story = running_story()
    story.called_back(60, says(status="main_succeeded", audio_url=MP3))
    before, version = story.view().artifacts["audio"], story.task.version
    story.called_back(500, says(status="main_succeeded", audio_url=MP3 + "2"))
    shown = story.view().artifacts["audio"]
    assert shown.url == MP3 + "2"
    assert (present(shown.expires_at) - present(before.expires_at)).total_seconds() == 440
    assert story.task.version == version + 1


def test_urls_first_seen_at_one_instant_are_ordered_by_their_text() -> None:
    one, two = says(audio_url="https://cdn.example/1"), says(audio_url="https://cdn.example/2")
    assert joined(one, two).latest_url("audio_url") == joined(two, one).latest_url("audio_url")
    assert present(joined(one, two).latest_url("audio_url"))[0] == "https://cdn.example/2"


def test_the_newest_value_wins_whenever_it_arrives() -> None:
    old, new = says(seconds=1, title="Zzz"), says(seconds=2, title="Aaa")
    assert joined(old, new).value("title") == joined(new, old).value("title") == "Aaa"


def test_a_newer_small_value_replaces_a_large_one_and_back() -> None:
    large, small = says(seconds=1, lyrics="la " * 400), says(seconds=2, lyrics="la")
    for order in ([large, small], [small, large]):
        assert joined(*order).value("lyrics") == "la"
        assert not joined(*order).large
    newest = says(seconds=3, lyrics="lo " * 400)
    assert not joined(large, small, newest).values
    assert joined(large, small, newest).large["lyrics"][0] == us(3)


def test_an_item_that_the_vendor_does_not_know_loses_nothing() -> None:
    known = joined(says(status="main_succeeded", audio_url=MP3, title="Harbour Lights"))
    denied = join(known, denies(seconds=900))
    assert denied.state.unknown_us == us(900)
    assert (denied.state.statuses, denied.state.urls, denied.state.values) == (known.statuses, known.urls, known.values)
    assert denied.state.sighted_us == known.sighted_us


def test_an_event_counts_from_its_first_arrival_and_says_how_long_it_took() -> None:
    first = join(joined(), says(seconds=60, event="audio_complete"))
    assert (first.first_event, first.since_event_us) == (True, None)
    second = join(first.state, says(seconds=75, event="wav_complete"))
    assert (second.first_event, second.since_event_us) == (True, 15_000_000)
    again = join(second.state, says(seconds=99, event="wav_complete"))
    assert not again.first_event
    assert again.state.events == {"audio_complete": us(60), "wav_complete": us(75)}


def test_sub_statuses_have_an_order_of_their_own() -> None:
    ranked = sorted(SubStatus, key=lambda status: sub_rank(status.value))
    assert [one.value for one in ranked] == ["waiting", "running", "sub_failed", "sub_succeeded"]
