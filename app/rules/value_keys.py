"""The keys of an item's values, and the placeholder of one that is too long to be stored.

A known field's value that is not understood is kept under a key of its own, beside the last one that was: the two are
joined apart, so that neither replaces the other, in whatever order they come.
"""

from typing import Any, Final

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
