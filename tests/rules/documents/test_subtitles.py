"""Aligned lyrics: what of the vendor's sections is a line, for the console and for subtitle files alike."""

from typing import Any

import pytest

from app.documents.subtitles import Line, as_lrc, as_srt, lines_of


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ({"start": 1, "end": 2.5, "text": "la"}, Line(1.0, 2.5, "la")),
        ({"start": "1.5", "end": " 2 ", "text": "times as text"}, Line(1.5, 2.0, "times as text")),
        ({"start": 0, "text": "\n[verse]\n la\nla \n"}, Line(0.0, None, "la la", "[verse]")),
        ({"start": 0, "text": "[verse] [soft] la"}, Line(0.0, None, "la", "[verse] [soft]")),
        ({"start": 0, "text": "la [ooh] la"}, Line(0.0, None, "la [ooh] la")),
        ({"start": 0, "text": "[not closed"}, Line(0.0, None, "[not closed")),
        ({"start": 0, "end": -1, "text": "la"}, Line(0.0, None, "la")),
        ({"start": 0, "text": "[chorus]"}, None),
        ({"start": 0, "text": " \r\n\t"}, None),
        ({"start": -0.5, "text": "before the beginning"}, None),
        ({"start": True, "text": "la"}, None),
        ({"start": "soon", "text": "la"}, None),
        ({"start": "9" * 400, "text": "la"}, None),
        ({"start": float("nan"), "text": "la"}, None),
        ({"start": 0, "text": ["la"]}, None),
        ({"text": "la"}, None),
        ("la", None),
        (None, None),
    ],
)
def test_a_section_is_a_line_or_nothing(section: Any, line: Line | None) -> None:
    assert lines_of([section]) == ([line] if line else [])


@pytest.mark.parametrize("sections", [None, {}, {"start": 1, "text": "la"}, "la", 7])
def test_what_is_no_list_has_no_lines(sections: Any) -> None:
    assert lines_of(sections) == []


def test_lines_are_in_the_order_of_time() -> None:
    lines = lines_of([{"start": at, "text": str(at)} for at in (3, 1.5, "2")])
    assert [line.text for line in lines] == ["1.5", "2", "3"]


def test_a_time_within_a_text_is_no_line_of_an_lrc_file() -> None:
    lines = lines_of([{"start": 1, "text": "[00:09.00]la\x0b[00:10.00]la"}])
    assert as_lrc(lines, None) == "[00:01.00]la la\n"


def test_lines_that_begin_at_once_and_say_no_end_are_all_shown() -> None:
    shown = as_srt([Line(1, None, "la"), Line(1, None, "oh"), Line(3, 3, "hm")])
    assert [line for line in shown.splitlines() if "-->" in line] == [
        "00:00:01,000 --> 00:00:03,000",
        "00:00:01,000 --> 00:00:03,000",
        "00:00:03,000 --> 00:00:08,000",
    ]
