"""Why a queued task waits: a hold on everything, one on its kind and model, or its own back-off. Null where it only
waits for its turn. Derived when a task is shown, from what is read once for all that are shown together."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from app.limits import model_holds, shared_limits
from app.limits.hold import HoldState, Reason
from app.limits.model_holds import OpenBreakers, key_of_task
from app.limits.shared_limits import Limit
from app.rules.policy import Policy
from app.rules.task import Submission
from app.tasks.task_rows import TaskRecord

BACKING_OFF: Final = "backing_off"
"""The vendor refused this task for a while (busy, unreachable), and it is tried again."""


@dataclass(frozen=True, slots=True)
class WaitReason:
    """Why a task waits. ``until``: when something is tried next, or the probe that is out is given up; None where
    nobody knows."""

    reason: str
    since: datetime | None
    until: datetime | None


@dataclass(frozen=True, slots=True)
class CurrentHolds:
    """The holds and open breakers at one moment."""

    hold_state: HoldState
    open_breakers: OpenBreakers
    policy: Policy
    now: datetime


def read(conn: sa.Connection, policy: Policy, now: datetime) -> CurrentHolds:
    """Read the holds and open breakers: two statements, without a lock."""
    return CurrentHolds(
        shared_limits.read(conn)[Limit.SUBMIT].hold_state, model_holds.open_breakers(conn, policy), policy, now
    )


def wait_reason_of(record: TaskRecord, waits: CurrentHolds) -> WaitReason | None:
    """Explain why a task waits: the first reason that holds."""
    task, now, hold_state = record.task, waits.now, waits.hold_state
    if task.submission is not Submission.QUEUED:
        return None
    if hold_state.by_hand is not None:
        return WaitReason(Reason.BY_HAND.value, hold_state.by_hand_since, None)
    if (hold := hold_state.hold) is not None:
        return WaitReason(hold.reason.value, hold.since, hold.probe_out_until(now) or max(hold.until, now))
    if waits.open_breakers and (breaker := waits.open_breakers.get(key_of_task(record, waits.policy))) is not None:
        next_at = breaker.probe_out_until(now) or max(breaker.probe_at or now, now)
        return WaitReason(breaker.code, breaker.held_since, next_at)
    if task.not_before_at is not None and task.not_before_at > now:
        return WaitReason(BACKING_OFF, task.claimed_at, task.not_before_at)
    return None
