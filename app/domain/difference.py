"""Where a stored state differs from the one that its record makes, field by field.

The state is a join, so two differ in one of two ways: the stored one *lacks* what the record says, or it has
*more* than that. What it lacks can be joined in again. More is a fault too where the record is complete.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from app.domain.item import MOST_EVENTS, MOST_URLS, ItemState, canonical, digest
from app.domain.observation import from_us
from app.domain.status import later_status
from app.domain.timing import rfc3339

MOST_SHOWN: Final = 200
"""Characters shown of a value."""


class Sort(StrEnum):
    LACKS = "lacks"
    MORE = "more"


@dataclass(frozen=True, slots=True)
class Difference:
    """One field of an item, or with ``item_id`` None of its task. ``stored`` and ``rebuilt`` are shortened texts, ""
    for nothing."""

    item_id: str | None
    field: str
    stored: str
    rebuilt: str
    sort: Sort


def differences(
    item_id: str, stored: ItemState, rebuilt: ItemState, quiet_us: Collection[int], large: dict[str, Any]
) -> list[Difference]:
    """Compare two states of one item. ``large``: the stored large values by the digests that the state names.
    ``quiet_us``: when the queries were made of which the record says only that they changed nothing to be seen. They
    may have confirmed a value, whose time is theirs then, or named a URL that was not the latest."""
    found = [
        *_statuses(stored, rebuilt),
        *_times("url", _flat(stored.urls), _flat(rebuilt.urls), quiet_us, full=_is_full(stored)),
        *_times("event", stored.events, rebuilt.events, (), full=len(stored.events) >= MOST_EVENTS),
        *_values(stored, rebuilt, quiet_us),
        *_latest("sighted", stored.sighted_us, rebuilt.sighted_us),
        *_latest("unknown", stored.unknown_us, rebuilt.unknown_us),
        *_large(stored, large),
    ]
    return [Difference(item_id, field, _short(ours), _short(theirs), sort) for field, ours, theirs, sort in found]


_Found = Iterator[tuple[str, Any, Any, Sort]]


def _statuses(stored: ItemState, rebuilt: ItemState) -> _Found:
    for name in sorted({*stored.statuses, *rebuilt.statuses}):
        ours, theirs = stored.statuses.get(name), rebuilt.statuses.get(name)
        if ours != theirs:
            lacks = theirs is not None and later_status(name, ours, theirs) != ours
            yield name, ours, theirs, Sort.LACKS if lacks else Sort.MORE


def _flat(urls: dict[str, dict[str, int]]) -> dict[str, int]:
    return {f"{name} {url}": first for name, seen in urls.items() for url, first in seen.items()}


def _is_full(state: ItemState) -> bool:
    return any(len(urls) >= MOST_URLS for urls in state.urls.values())


def _times(
    what: str, stored: dict[str, int], rebuilt: dict[str, int], quiet_us: Collection[int], *, full: bool
) -> _Found:
    """Things with the time at which they were first seen: the earliest counts. ``full``: some were dropped."""
    for name in sorted({*stored, *rebuilt}):
        ours, theirs = stored.get(name), rebuilt.get(name)
        if ours == theirs or (ours is None and full):
            continue
        lacks = theirs is not None and (ours is None or ours > theirs)
        if not lacks and ours in quiet_us:
            continue
        yield f"{what} {name}".rstrip(), _at(ours), _at(theirs), Sort.LACKS if lacks else Sort.MORE


def _values(stored: ItemState, rebuilt: ItemState, quiet_us: Collection[int]) -> _Found:
    for name in sorted({*stored.values, *stored.large, *rebuilt.values, *rebuilt.large}):
        ours, theirs = _held(stored, name), _held(rebuilt, name)
        if ours == theirs or (ours is None and stored.left_out):
            continue
        if theirs is None and (name in rebuilt.urls or name in rebuilt.statuses):
            continue  # an earlier release did not know the field for what it is
        if ours is not None and theirs is not None and ours[1:] == theirs[1:]:
            if ours < theirs or ours[0] not in quiet_us:
                yield f"{name} (time)", _at(ours[0]), _at(theirs[0]), Sort.LACKS if ours < theirs else Sort.MORE
            continue
        lacks = theirs is not None and (ours is None or ours < theirs)
        if not lacks and theirs is not None and ours is not None and ours[0] in quiet_us:
            continue  # it was confirmed, and something older came after that
        yield name, ours and ours[2], theirs and theirs[2], Sort.LACKS if lacks else Sort.MORE


def _held(state: ItemState, name: str) -> tuple[int, bool, str] | None:
    """When a value was observed, whether it is a large one, and its JSON, or its digest: as they are compared."""
    if name in state.large:
        at, text = state.large[name]
        return at, True, text
    if name in state.values:
        at, value = state.values[name]
        return at, False, canonical(value)
    return None


def _latest(what: str, ours: int | None, theirs: int | None) -> _Found:
    if ours != theirs:
        lacks = theirs is not None and (ours is None or ours < theirs)
        yield f"{what} at", _at(ours), _at(theirs), Sort.LACKS if lacks else Sort.MORE


def _large(stored: ItemState, large: dict[str, Any]) -> _Found:
    """A large value must be there, and be the one that the state names."""
    for name, (_, wanted) in sorted(stored.large.items()):
        held = digest(canonical(large[wanted])) if wanted in large else None
        if held != wanted:
            yield f"{name} (text)", held, wanted, Sort.LACKS


def _at(us: int | None) -> str | None:
    return None if us is None else rfc3339(from_us(us))


def _short(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"
