"""Join observations into the state of an item: commutative, associative, idempotent.

So order, repeats and races cannot matter (G2). Per field: an ordered status takes the maximum; a URL joins a
map {url: first seen}; any other value is last-writer-wins on (observed, canonical JSON), and an empty
value never takes part. The gateway's own verdicts are derived elsewhere and never enter the state.
"""

import hashlib
from typing import Any, Final

import msgspec

from app.rules.observation import Observation, is_known
from app.rules.status import later_status

LARGE_BYTES: Final = 512
"""A value whose JSON is longer lives apart from the row that every callback rewrites."""
MOST_URLS: Final = 8
"""URLs kept per field, the latest first seen; only a flood of forged ones under a leaked token reaches it. (A count: if
the room that they take decided, a short one that was dropped beside a long one could come back in another order.)"""
MOST_EVENTS: Final = 16
"""Distinct events kept per item, the earliest; the documented ones are four."""
MOST_OTHER_FIELDS: Final = 32
"""Fields kept per item beside the documented ones, which are two dozen."""

_PLAIN: Final = frozenset({str, int, float, bool})


def canonical(value: Any) -> str:
    """JSON with sorted keys: equal values have equal texts."""
    return msgspec.json.encode(value, order="sorted").decode()


def size_of(value: Any) -> int:
    """Bytes of a value's JSON."""
    return len(msgspec.json.encode(value))


def digest(text: str) -> str:
    """The digest of a large value's text, which stands for it where texts are compared."""
    return hashlib.sha256(text.encode()).hexdigest()


class ItemState(msgspec.Struct):
    """The joined state of an item. Times are microseconds since the epoch.

    ``values``: field → [observed, value]; ``large``: field → [observed, digest of the JSON], the value itself
    is stored apart. A field is in one of the two, by its key (see ``observation``). ``events``: event → first arrival.
    ``left_out``: there were more fields than are kept.
    """

    statuses: dict[str, str] = msgspec.field(default_factory=dict)
    urls: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)
    values: dict[str, list[Any]] = msgspec.field(default_factory=dict)
    large: dict[str, list[Any]] = msgspec.field(default_factory=dict)
    events: dict[str, int] = msgspec.field(default_factory=dict)
    sighted_us: int | None = None
    unknown_us: int | None = None
    left_out: bool = False

    def copy(self) -> "ItemState":
        return ItemState(
            dict(self.statuses),
            {name: dict(urls) for name, urls in self.urls.items()},
            dict(self.values),
            dict(self.large),
            dict(self.events),
            self.sighted_us,
            self.unknown_us,
            self.left_out,
        )

    def latest_url(self, name: str) -> tuple[str, int] | None:
        """The URL of a field that was first seen last, with when; ties go to the greater text."""
        urls = self.urls.get(name)
        if not urls:
            return None
        if len(urls) == 1:
            return next(iter(urls.items()))
        return max(urls.items(), key=lambda pair: (pair[1], pair[0]))

    def value(self, name: str) -> Any:
        """A small value, or None."""
        current = self.values.get(name)
        return current[1] if current else None

    def has(self, name: str) -> bool:
        return name in self.values or name in self.large


class JoinResult(msgspec.Struct):
    """The state after a join, and what the join did.

    ``changed``: visible fields with (before, after), large values as digests; ``large``: new values to be written
    apart; ``superseded``: a value that is stored apart is not referred to any more; ``first_event``: the event arrived
    for the first time, and (``since_event_us``) how many microseconds after the event before it, None for the first.
    """

    state: ItemState
    changed: dict[str, tuple[Any, Any]]
    large: dict[str, Any]
    first_event: bool = False
    since_event_us: int | None = None
    superseded: bool = False


def join(before: ItemState, observation: Observation) -> JoinResult:
    """Join one observation into a state. Pure: ``before`` is not changed; nothing the vendor says raises."""
    state, at = before.copy(), observation.observed_us
    result = JoinResult(state, {}, {})
    if observation.unknown:
        if state.unknown_us is None or at > state.unknown_us:
            state.unknown_us = at
        return result
    if observation.sighted and (state.sighted_us is None or at > state.sighted_us):
        state.sighted_us = at
    _join_statuses(result, observation)
    _join_urls(result, observation)
    _join_values(result, observation)
    _join_event(result, observation)
    return result


def _join_statuses(result: JoinResult, observation: Observation) -> None:
    for name, theirs in observation.reading.statuses.items():
        ours = result.state.statuses.get(name)
        best = later_status(name, ours, theirs)
        if best != ours:
            result.state.statuses[name] = best
            result.changed[name] = (ours, best)


def _join_urls(result: JoinResult, observation: Observation) -> None:
    for name, url in observation.reading.urls.items():
        shown = result.state.latest_url(name)
        urls = result.state.urls.setdefault(name, {})
        first = urls.get(url)
        if first is not None and first <= observation.observed_us:
            continue
        urls[url] = observation.observed_us
        while len(urls) > MOST_URLS:
            del urls[min(urls, key=lambda text: (urls[text], text))]
        now_shown = result.state.latest_url(name)
        if now_shown != shown:
            result.changed[name] = (shown and shown[0], now_shown and now_shown[0])


def _join_values(result: JoinResult, observation: Observation) -> None:
    state, at = result.state, observation.observed_us
    for name, value in observation.reading.values.items():
        current = state.values.get(name)
        # Plain values are compared without their JSON.
        kind = type(value)
        if current is not None and kind in _PLAIN and kind is type(current[1]) and current[1] == value:
            if at > current[0]:
                state.values[name] = [at, value]
            continue
        text = canonical(value)
        large = len(text) > LARGE_BYTES
        theirs = digest(text) if large else text
        ours_at, ours = _current(state, name)
        if ours is None:
            if not _has_room(result, name):
                continue
        elif (at, large, theirs) <= (ours_at, name in state.large, ours):
            continue
        state.values.pop(name, None)
        result.superseded |= state.large.pop(name, None) is not None and theirs != ours
        if large:
            state.large[name] = [at, theirs]
            if theirs != ours:
                result.large[name] = value
        else:
            state.values[name] = [at, value]
            result.large.pop(name, None)
        if theirs != ours:
            result.changed[name] = (ours, theirs)


def _has_room(result: JoinResult, key: str) -> bool:
    """Whether a new key is kept. Of the fields that nobody knows the least names are: what is kept of a set of fields
    must not depend on their order either."""
    state = result.state
    if is_known(key):
        return True
    others = sorted(other for other in (*state.values, *state.large) if not is_known(other))
    if len(others) < MOST_OTHER_FIELDS:
        return True
    state.left_out = True
    if key > others[MOST_OTHER_FIELDS - 1]:
        return False
    for dropped in others[MOST_OTHER_FIELDS - 1 :]:
        for kept in (state.values, state.large, result.large, result.changed):
            kept.pop(dropped, None)
    return True


def _current(state: ItemState, name: str) -> tuple[int, str | None]:
    if name in state.large:
        at, text = state.large[name]
        return at, text
    if name in state.values:
        at, value = state.values[name]
        return at, canonical(value)
    return 0, None


def _join_event(result: JoinResult, observation: Observation) -> None:
    if observation.reading.event is None:
        return
    events, event, at = result.state.events, observation.reading.event, observation.observed_us
    first_at = events.get(event)
    if first_at is not None and first_at <= at:
        return
    if first_at is None:
        result.first_event = True
        result.since_event_us = at - max(events.values()) if events else None
    events[event] = at
    while len(events) > MOST_EVENTS:
        del events[max(events, key=lambda name: (events[name], name))]
