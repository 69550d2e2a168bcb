"""Hold submissions by hand, release them, and show what holds them.

The hold is in the row that all replicas decide by, so it is theirs at once and outlives them; what a sender has
claimed before is still sent. Other processes than this one find a release at their next iteration, LOOP_IDLE_S away.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
import structlog

from app.app_context import Context
from app.audit import audit
from app.audit.audit import Action, Actor, AuditEntry, new_entry
from app.errors import InvalidRequest
from app.limits import breaker_rows, model_holds, shared_limits, slots
from app.limits import hold as holds
from app.limits.hold import HoldState, Reason
from app.limits.shared_limits import Limit
from app.rules.policy import Policy
from app.tasks import task_rows

MOST_REASON_CHARS: Final = 500

log = structlog.get_logger(__name__)


async def hold(context: Context, actor: Actor, reason: str = "") -> dict[str, Any]:
    """Hold all submissions by hand until ``release``; durable when this returns. Returns what ``show`` does. Raises
    ``InvalidRequest`` for a reason that is too long or not printable, and ``Unavailable``."""
    if len(reason) > MOST_REASON_CHARS or not reason.isprintable():
        raise InvalidRequest(f"a reason is one line of at most {MOST_REASON_CHARS} printable characters")
    now = context.clock.now()
    await context.db.write(_hold, reason, now, new_entry(context.clock, actor, Action.HOLD, reason=reason))
    log.warning("submissions.held_by_hand", actor=actor.name)
    return await show(context)


async def release(context: Context, actor: Actor) -> dict[str, Any]:
    """End a hold by hand; what stands still underneath holds again. Where no hand holds, the next probe of what
    stands still (submissions, queries) is due now, and no kind and model is held any more. Returns what ``show``
    does. Raises ``Unavailable``."""
    reasons = await context.db.write(_release, context.clock.now(), new_entry(context.clock, actor, Action.RELEASE))
    log.warning("submissions.released_by_hand", actor=actor.name, was=reasons)
    context.wakes.dispatch.set()
    context.wakes.reconcile.set()
    return await show(context)


async def show(context: Context) -> dict[str, Any]:
    """Show who holds each slot, who waits, and why submissions or queries hold."""
    return await context.db.read(_show, context.policy, context.clock.now())


def _hold(conn: sa.Connection, reason: str, now: datetime, audit_entry: AuditEntry) -> None:
    limit = shared_limits.lock_one(conn, Limit.SUBMIT)
    shared_limits.save_hold(conn, Limit.SUBMIT, limit, holds.held_by_hand(limit.hold_state, reason, now))
    audit.append(conn, audit_entry)


def _release(conn: sa.Connection, now: datetime, audit_entry: AuditEntry) -> list[str]:
    """End holds, and return their reasons."""
    held = shared_limits.lock_all(conn)
    by_hand = held[Limit.SUBMIT].hold_state.by_hand is not None
    if by_hand:
        del held[Limit.QUERY]
    for name, limit in held.items():
        shared_limits.save_hold(conn, name, limit, holds.released(limit.hold_state, now))
    held_reasons = [_reason(limit.hold_state) for limit in held.values()]
    held_models = {} if by_hand else breaker_rows.forget_all(conn)
    reasons = sorted(
        {reason for reason in held_reasons if reason is not None} | {breaker.code for breaker in held_models.values()}
    )
    audit.append(conn, replace(audit_entry, detail={"was": reasons}))
    return reasons


def _reason(hold_state: HoldState) -> str | None:
    if hold_state.by_hand is not None:
        return Reason.BY_HAND.value
    return hold_state.hold.reason.value if hold_state.hold is not None else None


def _show(conn: sa.Connection, policy: Policy, now: datetime) -> dict[str, Any]:
    limits_now = shared_limits.read(conn)
    return {
        "max_in_flight": policy.max_in_flight,
        "in_flight": sum(task_rows.in_flight(conn, now).values()),
        "slots": slots.list_held(conn, now),
        "waiting": slots.count_waiting(conn, now),
        "standing_still": {
            "submissions": _why(limits_now[Limit.SUBMIT].hold_state, now),
            "queries": _why(limits_now[Limit.QUERY].hold_state, now),
        },
        "held_models": model_holds.overview(conn, policy, now),
    }


def _why(hold_state: HoldState, now: datetime) -> dict[str, Any] | None:
    """Why something holds, None if it does not; what is underneath a hold by hand as well."""
    beneath = _why_held(hold_state, now)
    if hold_state.by_hand is None:
        return beneath
    by_hand = {"reason": Reason.BY_HAND.value, "detail": hold_state.by_hand or None, "since": hold_state.by_hand_since}
    if beneath is not None:
        beneath["next_probe_at"] = None
    return by_hand | {"until": None, "next_probe_at": None, "underneath": beneath}


def _why_held(hold_state: HoldState, now: datetime) -> dict[str, Any] | None:
    hold = hold_state.hold
    if hold is None:
        return None
    probe_out_until = hold.probe_out_until(now)
    return {
        "reason": hold.reason.value,
        "detail": hold.detail or None,
        "since": hold.since,
        # A probe that is out has its answer awaited at most so long.
        "until": probe_out_until or hold.until,
        "next_probe_at": None if probe_out_until is not None else max(hold.until, now),
        "underneath": None,
    }
