"""An observation: what a submission's answer, a callback or a query says about one item, at one instant; and the keys
of an item's values.

A known field's value that is not understood is kept under a key of its own, beside the last one that was: the two are
joined apart, so that neither replaces the other, in whatever order they come.
"""

from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any, Final

import msgspec

ItemKey = tuple[str, str]
"""What names an item: its family, and the vendor's id."""


class Source(StrEnum):
    SUBMIT = "submit"
    CALLBACK = "callback"
    QUERY = "query"


class NamedBy(IntEnum):
    """How strongly an observation binds an item to a task; a higher rank takes the item over."""

    NOBODY = 0
    """A query's answer: it speaks of items that are known, and binds none."""
    UNBOUND_TOKEN = 1
    BOUND_TOKEN = 2
    SUBMIT_ANSWER = 3


class Reading(msgspec.Struct, frozen=True):
    """The readable part of one vendor item, cleaned. Absent, null and wrongly typed fields are not in it.

    ``statuses``: raw texts of the ordered fields. ``urls``: for each artifact field its URL, or the
    canonical JSON of a list or object that holds URLs. ``values``: every other field that is not empty.
    """

    item_id: str
    statuses: dict[str, str] = msgspec.field(default_factory=dict)
    urls: dict[str, str] = msgspec.field(default_factory=dict)
    values: dict[str, Any] = msgspec.field(default_factory=dict)
    event: str | None = None


class Observation(msgspec.Struct, frozen=True):
    """A reading with its source and its own time, fixed once.

    ``observed_us`` is when the first copy of a callback was received, when the request of a query was
    sent, or when a submission was sent; a repeat must carry the time of the first, or it would look new.
    ``sighted`` is false where the vendor did not show the item: the answer to a submission (it only
    names it) and, with ``unknown``, a query that the vendor answered without it.
    ``fresh`` is false for replays: their arrival says nothing about the vendor's timing.
    """

    family: str
    reading: Reading
    source: Source
    observed_us: int
    named_by: NamedBy = NamedBy.NOBODY
    sighted: bool = True
    unknown: bool = False
    fresh: bool = True
    leased_until: datetime | None = None
    """Of a query's answer: the end of the lease under which it was asked."""
    fault: str | None = None
    """Of a question that brought no answer that could be used: what was wrong. It says nothing of the item."""

    @property
    def key(self) -> ItemKey:
        return (self.family, self.reading.item_id)


class Disposition(StrEnum):
    """What became of a callback."""

    APPLIED = "applied"
    MALFORMED = "malformed"
    MISMATCHED = "mismatched"
    ORPHAN = "orphan"
    POISONED = "poisoned"


KNOWN: Final = frozenset(
    {
        *("model", "title", "style", "prompt", "err_msg", "error"),
        *("lyrics", "lyric", "lyrics_disp", "lrc_mv", "lyrics_sections"),
        *("duration", "created_at", "finished_at"),
    }
)
"""The documented fields that are values: neither ordered statuses nor URLs."""

_ODD: Final = "?"


def key_of(name: str) -> str:
    """The key of a field by its vendor name; one that looks like an odd one's is escaped."""
    return _ODD + name if name.startswith(_ODD) else name


def odd_key(name: str) -> str:
    """The key of the value of a known field that is not understood."""
    return _ODD + name


def name_of(key: str) -> str:
    """The vendor's name of a key's field."""
    return key.removeprefix(_ODD)


def is_odd(key: str) -> bool:
    return key.startswith(_ODD) and not key.startswith(_ODD * 2)


def is_known(key: str) -> bool:
    """Whether it is the key of a documented field; of those there are only so many."""
    return key in KNOWN or is_odd(key)


def left_out(size: int) -> dict[str, str]:
    """The placeholder of a value whose JSON has so many bytes."""
    return {_LEFT_OUT: f"{size} bytes"}


def is_left_out(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {_LEFT_OUT}


_LEFT_OUT: Final = "left_out"
