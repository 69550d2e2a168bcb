"""Standing still: when submissions (or queries) hold, why, until when, and what lets them go on.

One value for each of the two, shared by all replicas. While it holds, nothing is sent but one probe at a time, and
the probe is the oldest queued task itself: its answer decides whether to go on or to wait again.
"""

from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from app.rules.timing import later

PROBE_S: Final = 30.0
"""Between probes while the key is rejected or points are missing."""
QUEUE_FULL_S: Final = (5.0, 1.5, 30.0)
BREAKER_S: Final = (30.0, 2.0, 300.0)
RATE_LIMITED_S: Final = (2.0, 1.5, 30.0)
BREAKER_TRIPS: Final = 3
"""Unknown outcomes in a row after which submissions go out one by one: without it a night's outage would turn
the whole queue into unknown outcomes."""
REMEMBERED: Final = 20


class Reason(StrEnum):
    KEY_REJECTED = "vendor_key_rejected"
    NO_POINTS = "insufficient_points"
    QUEUE_FULL = "vendor_queue_full"
    RATE_LIMITED = "vendor_rate_limited"
    BREAKER = "outcomes_unknown"
    BY_HAND = "held_by_hand"


_STEPS: Final = {
    Reason.KEY_REJECTED: (PROBE_S, 1.0, PROBE_S),
    Reason.NO_POINTS: (PROBE_S, 1.0, PROBE_S),
    Reason.QUEUE_FULL: QUEUE_FULL_S,
    Reason.RATE_LIMITED: RATE_LIMITED_S,
    Reason.BREAKER: BREAKER_S,
}


_FAULTS: Final = (Reason.KEY_REJECTED, Reason.NO_POINTS)
"""Faults of the account, which only a person can mend."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Why things stand still. ``until``: when the next probe may go; ``probe_until``: a probe is out, at most
    until then; ``in_flight``: how many tasks the vendor had when its queue was full."""

    reason: Reason
    since: datetime
    until: datetime
    wait_s: float
    detail: str = ""
    probe_until: datetime | None = None
    in_flight: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """``by_hand``: held by an admin, with the words given; ``unknown_tasks``: the latest unknown outcomes in a
    row, newest last (their ids as text), which a callback may yet confirm."""

    hold: Hold | None = None
    by_hand: str | None = None
    by_hand_since: datetime | None = None
    unknown_tasks: tuple[str, ...] = field(default_factory=tuple)


GOING: Final = Standing()


def allowed(standing: Standing, now: datetime, in_flight: int) -> int | None:
    """How many submissions may start now: None is any number, 1 is a probe."""
    if standing.by_hand is not None:
        return 0
    hold = standing.hold
    if hold is None:
        return None
    if hold.probe_until is not None and now < hold.probe_until:
        return 0
    slot_freed = hold.reason is Reason.QUEUE_FULL and hold.in_flight is not None and in_flight < hold.in_flight
    return 1 if now >= hold.until or slot_freed else 0


def waits_for_slot(standing: Standing) -> bool:
    """Whether it holds only because the vendor's queue is full. What goes out then takes a slot, and the clients
    take turns at slots; any other probe is the oldest queued task of all."""
    return standing.hold is not None and standing.hold.reason is Reason.QUEUE_FULL


def probing(standing: Standing, until: datetime) -> Standing:
    """A probe is sent: nothing else goes until it is answered, or ``until``."""
    if standing.hold is None:
        return standing
    return replace(standing, hold=replace(standing.hold, probe_until=until))


def hold(
    standing: Standing,
    reason: Reason,
    now: datetime,
    *,
    detail: str = "",
    wait_s: float | None = None,
) -> Standing:
    """Stand still for a reason. Met again by a probe, the wait grows; ``wait_s`` is what the vendor asked for."""
    first, growth, most = _STEPS[reason]
    before = standing.hold
    if before is not None and before.reason in _FAULTS and reason not in _FAULTS:
        return inconclusive(standing, now)  # an account fault outlasts whatever else a straggler met
    if wait_s is None:
        again = before is not None and before.reason is reason and before.probe_until is not None
        wait_s = min(before.wait_s * growth, most) if again and before else first
    same = before is not None and before.reason is reason
    since = before.since if same and before else now
    return replace(standing, hold=Hold(reason, since, later(now, wait_s), wait_s, detail))


def full_with(standing: Standing, in_flight: int) -> Standing:
    """The vendor's queue is full with so many: one less, and the next probe may go."""
    if not waits_for_slot(standing) or standing.hold is None:
        return standing
    return replace(standing, hold=replace(standing.hold, in_flight=in_flight))


def answered(standing: Standing, claimed_at: datetime) -> Standing:
    """A submission was accepted: the hold is over. An acceptance of one that was sent before the hold began
    proves nothing of what began it, but that outcomes are known again."""
    held = standing.hold
    if held is not None and held.reason is not Reason.BREAKER and claimed_at < held.since:
        return replace(standing, unknown_tasks=())
    return replace(standing, hold=None, unknown_tasks=())


def refused(standing: Standing, claimed_at: datetime, now: datetime) -> Standing:
    """A definite refusal that blames the task alone: the vendor answers, so outcomes are known again, and the
    next task may probe at once."""
    before = standing.hold
    if before is None or before.reason is Reason.BREAKER:
        return replace(standing, hold=None, unknown_tasks=())
    if claimed_at < before.since:
        return replace(standing, unknown_tasks=())
    return replace(standing, hold=replace(before, until=now, probe_until=None), unknown_tasks=())


def proved(standing: Standing, reason: Reason) -> Standing:
    """Something else showed that a reason is over."""
    over = standing.hold is not None and standing.hold.reason is reason
    return replace(standing, hold=None) if over else standing


def inconclusive(standing: Standing, now: datetime) -> Standing:
    """A probe came to nothing (busy, unreachable, given back): wait as long again."""
    before = standing.hold
    if before is None or before.probe_until is None:
        return standing
    return replace(standing, hold=replace(before, until=later(now, before.wait_s), probe_until=None))


def lost(standing: Standing, task_id: str, now: datetime) -> Standing:
    """One more unknown outcome; the third in a row makes submissions go one by one, ever more slowly."""
    unknown = (*standing.unknown_tasks, task_id)[-REMEMBERED:]
    standing = replace(standing, unknown_tasks=unknown)
    if len(unknown) < BREAKER_TRIPS:
        return inconclusive(standing, now)
    if standing.hold is not None and standing.hold.reason not in (Reason.BREAKER, Reason.QUEUE_FULL):
        return inconclusive(standing, now)
    return hold(standing, Reason.BREAKER, now)


def confirmed(standing: Standing) -> Standing:
    """A callback confirmed one of the unknown outcomes: the vendor takes submissions."""
    kept = standing.hold if standing.hold is not None and standing.hold.reason is not Reason.BREAKER else None
    return replace(standing, hold=kept, unknown_tasks=())


def held_by_hand(standing: Standing, reason: str, now: datetime) -> Standing:
    """An admin holds: nothing is sent, no probe either, until it is released by hand. What stood still before, or
    comes to, goes on underneath. Held already, only the words change."""
    since = standing.by_hand_since if standing.by_hand is not None else now
    return replace(standing, by_hand=reason, by_hand_since=since)


def released(standing: Standing, now: datetime) -> Standing:
    """An admin releases: the hold by hand ends, and what was underneath holds again as it is. Where no hand holds,
    the next probe is due now instead; one that is out already is awaited."""
    if standing.by_hand is not None:
        return replace(standing, by_hand=None, by_hand_since=None)
    if standing.hold is None:
        return standing
    return replace(standing, hold=replace(standing.hold, until=min(standing.hold.until, now)))


def known_not_sent(standing: Standing, task_id: str) -> Standing:
    """One of the unknown outcomes is known: it was not sent."""
    return replace(standing, unknown_tasks=tuple(one for one in standing.unknown_tasks if one != task_id))


def set_back(standing: Standing, now: datetime) -> Standing:
    """The clock was set back: no wait lies further ahead than it is long."""
    before = standing.hold
    if before is None:
        return standing
    end = later(now, before.wait_s)
    probe_until = min(before.probe_until, end) if before.probe_until is not None else None
    held = replace(before, since=min(before.since, now), until=min(before.until, end), probe_until=probe_until)
    return replace(standing, hold=held)


def dump(standing: Standing) -> dict[str, Any]:
    """As JSON."""
    document = asdict(standing)
    for part in (document, document["hold"] or {}):
        for name, value in part.items():
            if isinstance(value, datetime):
                part[name] = value.isoformat()
    return document


def load(document: dict[str, Any]) -> Standing:
    """From JSON; an empty object is ``GOING``."""
    if not document:
        return GOING
    held = document.get("hold")
    hold_ = None
    if held:
        times = {name: _time(held[name]) for name in ("since", "until", "probe_until")}
        hold_ = Hold(**{**held, **times, "reason": Reason(held["reason"])})
    return Standing(
        hold_,
        document.get("by_hand"),
        _time(document.get("by_hand_since")),
        tuple(document.get("unknown_tasks", ())),
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
