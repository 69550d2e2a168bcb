"""Holds: when submissions (or queries) hold, why, until when, and what lets them go on.

One value for each of the two, shared by all replicas. While it holds, nothing is sent but one probe at a time, and
the probe is the oldest queued task itself: its answer decides whether to go on or to wait again.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from app.rules.times import later

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
    """One reason to hold. ``until``: when the next probe may go; ``probe_until``: a probe is out, at most until then;
    ``in_flight``: how many tasks the vendor had when its queue was full."""

    reason: Reason
    since: datetime
    until: datetime
    wait_s: float
    detail: str = ""
    probe_until: datetime | None = None
    in_flight: int | None = None

    def probe_out_until(self, now: datetime) -> datetime | None:
        """Until when the answer to a probe is awaited; None if none is out."""
        return self.probe_until if self.probe_until is not None and now < self.probe_until else None


@dataclass(frozen=True, slots=True)
class HoldState:
    """All that holds submissions (or queries). ``by_hand``: held by an admin, with the words given; ``unknown_tasks``:
    the latest unknown outcomes in a row, newest last (their ids as text), which a callback may yet confirm."""

    hold: Hold | None = None
    by_hand: str | None = None
    by_hand_since: datetime | None = None
    unknown_tasks: tuple[str, ...] = field(default_factory=tuple)


NO_HOLD: Final = HoldState()


def allowed(hold_state: HoldState, now: datetime, in_flight: int) -> int | None:
    """How many submissions may start now: None is any number, 1 is a probe."""
    if hold_state.by_hand is not None:
        return 0
    hold = hold_state.hold
    if hold is None:
        return None
    if hold.probe_out_until(now) is not None:
        return 0
    slot_freed = hold.reason is Reason.QUEUE_FULL and hold.in_flight is not None and in_flight < hold.in_flight
    return 1 if now >= hold.until or slot_freed else 0


def waits_for_slot(hold_state: HoldState) -> bool:
    """Whether it holds only because the vendor's queue is full. What goes out then takes a slot, and the clients
    take turns at slots; any other probe is the oldest queued task of all."""
    return hold_state.hold is not None and hold_state.hold.reason is Reason.QUEUE_FULL


def probing(hold_state: HoldState, until: datetime) -> HoldState:
    """Note that a probe is sent: nothing else goes until it is answered, or ``until``."""
    if hold_state.hold is None:
        return hold_state
    return replace(hold_state, hold=replace(hold_state.hold, probe_until=until))


def hold(
    hold_state: HoldState,
    reason: Reason,
    now: datetime,
    *,
    detail: str = "",
    wait_s: float | None = None,
) -> HoldState:
    """Hold for a reason. Met again by a probe, the wait grows; ``wait_s`` is what the vendor asked for."""
    first, growth, most = _STEPS[reason]
    before = hold_state.hold
    if before is not None and before.reason in _FAULTS and reason not in _FAULTS:
        return inconclusive(hold_state, now)  # an account fault outlasts whatever else a straggler met
    if wait_s is None:
        again = before is not None and before.reason is reason and before.probe_until is not None
        wait_s = min(before.wait_s * growth, most) if again and before else first
    same = before is not None and before.reason is reason
    since = before.since if same and before else now
    return replace(hold_state, hold=Hold(reason, since, later(now, wait_s), wait_s, detail))


def full_with(hold_state: HoldState, in_flight: int) -> HoldState:
    """Note how many tasks filled the vendor's queue: with one less the next probe may go."""
    if not waits_for_slot(hold_state) or hold_state.hold is None:
        return hold_state
    return replace(hold_state, hold=replace(hold_state.hold, in_flight=in_flight))


def answered(hold_state: HoldState, claimed_at: datetime) -> HoldState:
    """End the hold: a submission was accepted. An acceptance of one that was sent before the hold began proves nothing
    of what began it, but that outcomes are known again."""
    before = hold_state.hold
    if before is not None and before.reason is not Reason.BREAKER and claimed_at < before.since:
        return replace(hold_state, unknown_tasks=())
    return replace(hold_state, hold=None, unknown_tasks=())


def refused(hold_state: HoldState, claimed_at: datetime, now: datetime) -> HoldState:
    """Count a definite refusal that blames the task alone: the vendor answers, so outcomes are known again, and the
    next task may probe at once."""
    before = hold_state.hold
    if before is None or before.reason is Reason.BREAKER:
        return replace(hold_state, hold=None, unknown_tasks=())
    if claimed_at < before.since:
        return replace(hold_state, unknown_tasks=())
    return replace(hold_state, hold=replace(before, until=now, probe_until=None), unknown_tasks=())


def reason_cleared(hold_state: HoldState, reason: Reason) -> HoldState:
    """End a hold for a reason that something else has shown to be over."""
    over = hold_state.hold is not None and hold_state.hold.reason is reason
    return replace(hold_state, hold=None) if over else hold_state


def inconclusive(hold_state: HoldState, now: datetime) -> HoldState:
    """Wait as long again: a probe came to nothing (busy, unreachable, given back)."""
    before = hold_state.hold
    if before is None or before.probe_until is None:
        return hold_state
    return replace(hold_state, hold=replace(before, until=later(now, before.wait_s), probe_until=None))


def outcome_unknown(hold_state: HoldState, task_id: str, now: datetime) -> HoldState:
    """Count one more unknown outcome; the third in a row makes submissions go one by one, ever more slowly. One that is
    settled again (the answer to its commit was lost) is counted once."""
    if task_id in hold_state.unknown_tasks:
        return inconclusive(hold_state, now)
    unknown = (*hold_state.unknown_tasks, task_id)[-REMEMBERED:]
    hold_state = replace(hold_state, unknown_tasks=unknown)
    if len(unknown) < BREAKER_TRIPS:
        return inconclusive(hold_state, now)
    if hold_state.hold is not None and hold_state.hold.reason not in (Reason.BREAKER, Reason.QUEUE_FULL):
        return inconclusive(hold_state, now)
    return hold(hold_state, Reason.BREAKER, now)


def confirmed(hold_state: HoldState) -> HoldState:
    """End the run of unknown outcomes: a callback confirmed one of them, so the vendor takes submissions."""
    kept = hold_state.hold if hold_state.hold is not None and hold_state.hold.reason is not Reason.BREAKER else None
    return replace(hold_state, hold=kept, unknown_tasks=())


def held_by_hand(hold_state: HoldState, reason: str, now: datetime) -> HoldState:
    """Hold by hand: nothing is sent, no probe either, until it is released by hand. What stood still before, or comes
    to, goes on underneath. Held already, only the words change."""
    since = hold_state.by_hand_since if hold_state.by_hand is not None else now
    return replace(hold_state, by_hand=reason, by_hand_since=since)


def released(hold_state: HoldState, now: datetime) -> HoldState:
    """Release a hold by hand; what was underneath holds again as it is. Where no hand holds, the next probe is due now
    instead; one that is out already is awaited."""
    if hold_state.by_hand is not None:
        return replace(hold_state, by_hand=None, by_hand_since=None)
    if hold_state.hold is None:
        return hold_state
    return replace(hold_state, hold=replace(hold_state.hold, until=min(hold_state.hold.until, now)))


def found_not_sent(hold_state: HoldState, task_id: str) -> HoldState:
    """Drop one of the unknown outcomes: it is known not to have been sent."""
    return replace(
        hold_state, unknown_tasks=tuple(unknown_id for unknown_id in hold_state.unknown_tasks if unknown_id != task_id)
    )


def set_back(hold_state: HoldState, now: datetime) -> HoldState:
    """Bring waits back after the clock was set back: none lies further ahead than it is long."""
    before = hold_state.hold
    if before is None:
        return hold_state
    end = later(now, before.wait_s)
    probe_until = min(before.probe_until, end) if before.probe_until is not None else None
    hold_ = replace(before, since=min(before.since, now), until=min(before.until, end), probe_until=probe_until)
    return replace(hold_state, hold=hold_)
