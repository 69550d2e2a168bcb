"""Aligned lyrics as subtitle files: LRC for players, SRT for video."""

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

LAST_LINE_S: Final = 5.0
"""How long a line is shown that says no end, and after which nothing comes."""
_TAG: Final = re.compile(r"\[[^\]]*\]")


class Line(NamedTuple):
    """A line of lyrics. Times in seconds; ``end`` is None where the vendor gave none."""

    start: float
    end: float | None
    text: str


def lines_of(sections: Sequence[Any] | None) -> list[Line]:
    """The lines of ``lyrics_sections`` in their order of time. The vendor puts tags such as ``[verse]`` on lines of
    their own before a line; these, and what has no time or no text, are left out."""
    lines = []
    for section in sections or ():
        if not isinstance(section, dict):
            continue
        start, end, text = _time(section.get("start")), _time(section.get("end")), section.get("text")
        if start is None or not isinstance(text, str):
            continue
        sung = [line.strip() for line in text.splitlines() if line.strip() and not _TAG.fullmatch(line.strip())]
        if sung:
            lines.append(Line(start, end, " ".join(sung)))
    return sorted(lines, key=lambda line: line.start)


def as_lrc(lines: Sequence[Line], title: str | None) -> str:
    """``[mm:ss.xx]text`` for each line, with the title in front."""
    head = [f"[ti:{' '.join(title.replace(']', ')').split())}]"] if title else []
    return "\n".join([*head, *(f"[{_minutes(line.start)}]{line.text}" for line in lines), ""])


def as_srt(lines: Sequence[Line]) -> str:
    """A numbered block for each line, from its beginning to its end, or else to the beginning of the next."""
    blocks = []
    for number, line in enumerate(lines, start=1):
        following = lines[number].start if number < len(lines) else line.start + LAST_LINE_S
        end = line.end if line.end is not None and line.end > line.start else following
        blocks.append(f"{number}\n{_clock(line.start)} --> {_clock(end)}\n{line.text}\n")
    return "\n".join(blocks)


def _time(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and value >= 0 else None


def _minutes(seconds: float) -> str:
    hundredths = round(seconds * 100)
    return f"{hundredths // 6000:02}:{hundredths // 100 % 60:02}.{hundredths % 100:02}"


def _clock(seconds: float) -> str:
    ms = round(seconds * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02},{ms % 1000:03}"
