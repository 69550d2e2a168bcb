"""Misspelled params are told from those that the vendor may have tomorrow."""

import pytest

from app.documents.task_warnings import misspelled_in

SONG = "song.generate"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (SONG, "promt"),
        (SONG, "Prompt"),
        (SONG, "propmt"),
        (SONG, "lyric"),
        (SONG, "lirics"),
        (SONG, "voiceId"),
        (SONG, "voice-id"),
        (SONG, "instrumentl"),
        (SONG, "modle"),
        (SONG, "upload_audio_ulr"),
        ("song.extend", "startTime"),
        ("song.extend", "itemid"),
        ("stems.create", "URL"),
        ("stems.create", "ulr"),
        ("stems.create", "uri"),
        ("lyrics.generate", "song_modell"),
    ],
)
def test_a_letter_or_two_is_a_slip(kind: str, name: str) -> None:
    assert misspelled_in(kind, {name: 1}) == [name]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (SONG, "seed"),
        (SONG, "tempo"),
        (SONG, "style"),
        (SONG, "duration"),
        (SONG, "negative_prompt"),
        (SONG, ""),
        (SONG, "x"),
        (SONG, "p" * 5000),
        # Another kind has it.
        (SONG, "song_model"),
        ("instrumental.generate", "lyrics"),
        ("stems.create", "usage"),
        ("song.external", "promt"),
    ],
)
def test_what_is_another_name_is_none(kind: str, name: str) -> None:
    assert misspelled_in(kind, {name: 1}) == []


def test_so_many_are_looked_at_and_no_more() -> None:
    assert len(misspelled_in(SONG, [f"promt{n}" for n in range(5)])) == 5
    assert len(misspelled_in(SONG, [f"x{n}" for n in range(100)] + ["promt"])) == 0
