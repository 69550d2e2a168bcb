"""Aligned lyrics: read from the vendor's sections, and written as subtitle files (LRC for players, SRT for video)."""

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from app.tempolor.values import as_number

LAST_LINE_S: Final = 5.0
"""How long a line is shown that says no end, and after which nothing comes."""
BEYOND_S: Final = 360_000.0
"""A time that is no place in a song: a hundred hours."""
_TAGS: Final = re.compile(r"\s*((?:\[[^\[\]]*\]\s*)*)(.*)", re.DOTALL)
"""Tags at the beginning of a line, and what is sung."""


class Line(NamedTuple):
    """A line of lyrics. Times in seconds; ``end`` is None where the vendor gave none. ``tag``: the tags that announce
    it, as in ``[verse]``."""

    start: float
    end: float | None
    text: str
    tag: str | None = None


def lines_of(sections: Any) -> list[Line]:
    """Read the lines of ``lyrics_sections``, sorted by time. A section may span several lines of text, and tags such as
    ``[verse]`` stand before the words, most often on lines of their own. What has no time (a time before the beginning
    is none) or nothing to sing is left out."""
    lines = []
    for section in sections if isinstance(sections, list) else ():
        if not isinstance(section, dict):
            continue
        start, end, text = _time(section.get("start")), _time(section.get("end")), section.get("text")
        if start is None or not isinstance(text, str):
            continue
        tags, sung = _split(text)
        if sung:
            lines.append(Line(start, end, sung, tags or None))
    return sorted(lines, key=lambda line: line.start)


def as_lrc(lines: Sequence[Line], title: str | None) -> str:
    """``[mm:ss.xx]text`` for each line, with the title in front."""
    head = [f"[ti:{' '.join(title.replace(']', ')').split())}]"] if title else []
    return "\n".join([*head, *(f"[{_minutes(line.start)}]{line.text}" for line in lines), ""])


def as_srt(lines: Sequence[Line]) -> str:
    """A numbered block for each line, from its beginning to its end, or else to the next beginning after its own."""
    starts = [line.start for line in lines]
    blocks = []
    for number, line in enumerate(lines, start=1):
        at = bisect_right(starts, line.start)
        following = starts[at] if at < len(starts) else line.start + LAST_LINE_S
        end = line.end if line.end is not None and line.end > line.start else following
        blocks.append(f"{number}\n{_clock(line.start)} --> {_clock(end)}\n{line.text}\n")
    return "\n".join(blocks)


def _split(text: str) -> tuple[str, str]:
    """The tags of a section, and its words on one line."""
    tags: list[str] = []
    words: list[str] = []
    for line in text.splitlines():
        if found := _TAGS.fullmatch(line):
            tags.append(found[1])
            words.append(found[2])
    return " ".join(" ".join(tags).split()), " ".join(" ".join(words).split())


def _time(value: Any) -> float | None:
    seconds = as_number(value)
    return float(seconds) if seconds is not None and 0 <= seconds < BEYOND_S else None


def _minutes(seconds: float) -> str:
    hundredths = round(seconds * 100)
    return f"{hundredths // 6000:02}:{hundredths // 100 % 60:02}.{hundredths % 100:02}"


def _clock(seconds: float) -> str:
    ms = round(seconds * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02},{ms % 1000:03}"
