"""A task's timeline as it is drawn: what happened in steps, and the lags between them to scale.

Long waits that dwarf everything else (a night on hold, a day until the next attempt of a notification) are cut, each to
the same short piece; all the rest keeps its scale, and a cut lag says how long it was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any, Final

from app.console import phrases
from app.console.text import since
from app.documents.document import Document

CUT_SHARE: Final = 0.7
LEAST_CUT_S: Final = 600.0
"""A lag is cut if it is as long as that, and more than so much of all that is drawn to scale with it."""
CUT_WIDTH: Final = 6.0
"""In percent of the line."""
MOST_CUTS: Final = 6
_LEAST_REST_S: Final = 1.0
"""What is left must be worth drawing."""
_SHOWN_S: Final = 0.0005
MOST_CHANGES: Final = 12


@dataclass(frozen=True, slots=True)
class Effect:
    """What a step changed of one item. ``moves``: statuses with before and after; ``fields``: what else is new."""

    item_id: str
    event: str | None
    moves: tuple[tuple[str, str, str], ...]
    fields: tuple[str, ...]
    more: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened, with the change of status that it caused. ``x`` to ``x + width`` on the line is the lag
    since the step before, in percent; ``actor``: who did it."""

    at: str
    actor: str
    words: str
    after_start: str
    lag: str | None
    x: float = 0.0
    width: float = 0.0
    cut: bool = False
    moved: tuple[str, str] | None = None
    effects: tuple[Effect, ...] = field(default=())
    callback_id: str | None = None
    notification_id: str | None = None


@dataclass(frozen=True, slots=True)
class Drawn:
    """``cuts``: how many lags are cut; ``length``: how long it took from the first to the last step."""

    steps: tuple[Step, ...]
    cuts: int
    length: str


def drawn(entries: Sequence[Document]) -> Drawn:
    """Draw the entries of a timeline, oldest first."""
    groups = [list(group) for _, group in groupby(entries, itemgetter("seq"))]
    times = [datetime.fromisoformat(group[0]["at"]).timestamp() for group in groups]
    lags = [max(after - before, 0.0) for before, after in pairwise(times)]
    cut = _cuts(lags)
    room = 100.0 - CUT_WIDTH * len(cut)
    rest = sum(lag for number, lag in enumerate(lags) if number not in cut)
    steps, x = [], 0.0
    for number, group in enumerate(groups):
        width = 0.0
        if number:
            is_cut = number - 1 in cut
            width = CUT_WIDTH if is_cut else (lags[number - 1] / rest * room if rest else 0.0)
        after_s = times[number] - times[0]
        lag = lags[number - 1] if number else None
        steps.append(_step(group, after_s, lag, x, width, cut=number - 1 in cut))
        x += width
    return Drawn(tuple(steps), len(cut), _length(sum(lags)))


def effects_of(happened: Mapping[str, Any]) -> tuple[Effect, ...]:
    """What an entry says that it changed of items."""
    notes = happened["detail"].get("items") or ()
    return tuple(effect for note in notes if (effect := _effect(note)) is not None)


def _cuts(lags: Sequence[float]) -> set[int]:
    """Which lags are cut, the longest first."""
    cut: set[int] = set()
    rest = sum(lags)
    for number in sorted(range(len(lags)), key=lags.__getitem__, reverse=True)[:MOST_CUTS]:
        left = rest - lags[number]
        if lags[number] < LEAST_CUT_S or lags[number] <= CUT_SHARE * rest or left < _LEAST_REST_S:
            break
        cut.add(number)
        rest = left
    return cut


def _step(group: list[Document], after_s: float, lag_s: float | None, x: float, width: float, *, cut: bool) -> Step:
    first, last = group[0], group[-1]
    detail = first["detail"]
    moved = (str(last["detail"]["from"]), str(last["detail"]["to"])) if last["type"] == "status" else None
    return Step(
        at=first["at"],
        actor=phrases.ACTORS.get(first["type"], "Gateway"),
        words="" if first["type"] == "status" else phrases.entry(first),
        after_start=_length(max(after_s, 0.0)),
        lag=_length(lag_s) if lag_s is not None and _SHOWN_S <= lag_s < after_s else None,
        x=round(x, 3),
        width=round(width, 3),
        cut=cut,
        moved=moved,
        effects=effects_of(first) if first["type"] != "status" else (),
        callback_id=_text(detail.get("callback_id")),
        notification_id=_text(detail.get("notification_id")),
    )


def _length(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if 0 < seconds < 0.995 else since(seconds)


def _effect(note: Any) -> Effect | None:
    if not isinstance(note, dict):
        return None
    statuses = note.get("statuses") or {}
    moves = tuple((name, _word(pair[0]), _word(pair[1])) for name, pair in statuses.items())
    fields = tuple(str(name) for name in note.get("fields") or ())
    event = _text(note.get("event")) or None
    if not (moves or fields or event):
        return None
    more = max(len(fields) - MOST_CHANGES, 0) + int(note.get("more_fields") or 0)
    return Effect(str(note.get("item_id", "")), event, moves, fields[:MOST_CHANGES], more)


def _word(status: Any) -> str:
    return "–" if status is None else str(status)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
