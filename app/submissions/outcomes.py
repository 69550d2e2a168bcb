"""Settle the outcomes of sends in one transaction: apply them to their tasks, to the hold and to the circuit
breakers."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
import structlog

from app.app_context import Context
from app.database import dialect
from app.database.tables import tasks
from app.limits import breaker_rows, model_holds, shared_limits
from app.limits import hold as holds
from app.limits.hold import HoldState, Reason
from app.limits.model_breaker import Breaker, ModelKey
from app.limits.model_holds import breaker_after
from app.limits.shared_limits import Limit
from app.rules.observation import NamedBy, Observation, Reading, Source
from app.rules.submission import OUTCOME_OPEN, GivenBack, WasAccepted, WasRefused, WasUnknown
from app.rules.task import Failure
from app.rules.times import later, rfc3339, to_us
from app.rules.transition import Change
from app.tasks import item_rows, task_rows
from app.tasks.apply import Effects, apply
from app.tempolor.answers import Accepted, Refused, SubmitAnswer, Unknown
from app.tempolor.codes import Remedy
from app.tempolor.kinds import KINDS

BACK_OFF_S: Final = (2.0, 30.0)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Claim:
    """A task that this process sends now, with the params as they are sent. ``started``: the monotonic clock at the
    claim."""

    task_id: UUID
    submit_id: UUID
    kind: str
    params: dict[str, Any]
    key: ModelKey
    created_at: datetime
    claimed_at: datetime
    attempt: int
    started: float
    client_name: str
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class NotSent:
    """It was not sent, and fails: what its params name is not there (any more). It says nothing of the vendor."""

    failure: Failure


@dataclass(slots=True, eq=False)
class Outcome:
    """The outcome of one send. ``answer``: None if it was given back unsent. ``alone``: it was among those that could
    not be committed, and holds up nobody else from now on."""

    claim: Claim
    answer: SubmitAnswer | NotSent | None
    alone: bool = False


def settle(conn: sa.Connection, context: Context, outcomes: Sequence[Outcome], now: datetime) -> Effects:
    """Apply the outcomes of sends, in order, and let them start or end the hold."""
    limits = shared_limits.lock_all(conn)
    submit, query = limits[Limit.SUBMIT], limits[Limit.QUERY]
    refused = [outcome.claim for outcome in outcomes if isinstance(outcome.answer, Refused)]
    counted = _settled(conn, refused) if refused else set()
    breakers_before = {
        key: breaker_rows.find(conn, key) for key in dict.fromkeys(outcome.claim.key for outcome in outcomes)
    }
    after, queries_after, breakers_after = submit.hold_state, query.hold_state, dict(breakers_before)
    changes = []
    for outcome in outcomes:
        claim, answer = outcome.claim, None if isinstance(outcome.answer, NotSent) else outcome.answer
        has_items = isinstance(answer, Unknown) and item_rows.any_named(conn, [claim.task_id])
        breaker = breaker_then = breakers_after[claim.key]
        if claim.submit_id not in counted:
            after = _hold_after(after, claim, answer, now, has_items=has_items)
            queries_after = _queries_after(queries_after, answer, now)
            breaker_then = breaker_after(breaker, claim.claimed_at, answer, now, context.policy, has_items)
            breakers_after[claim.key] = breaker_then
        held_by = breaker_then if breaker is not None and breaker.is_open else None
        changes.append(_change(claim, outcome.answer, now, after, held_by))
    effects = apply(conn, changes, context.rules)
    for key, breaker in breakers_before.items():
        model_holds.save(conn, key, breaker, breakers_after[key])
    if holds.waits_for_slot(after) and any(_met_a_full_queue(outcome.answer) for outcome in outcomes):
        # Counted without those that met it.
        after = holds.full_with(after, sum(task_rows.in_flight(conn, now).values()))
    _log_hold(submit.hold_state, after)
    shared_limits.save_hold(conn, Limit.SUBMIT, submit, after)
    shared_limits.save_hold(conn, Limit.QUERY, query, queries_after)
    return effects


def _settled(conn: sa.Connection, refused: Sequence[Claim]) -> set[UUID]:
    """Read which refusals were committed before, and only the answer to that commit was lost: each counts once. By
    ``submit_id``."""
    of_tasks = dialect.any_of(conn, tasks.c.id, [claim.task_id for claim in refused])
    is_settled = tasks.c.submission.not_in([submission.value for submission in OUTCOME_OPEN])
    last_settled = set(conn.scalars(sa.select(tasks.c.submit_id).where(of_tasks, is_settled)))
    return last_settled & {claim.submit_id for claim in refused}


def _met_a_full_queue(answer: SubmitAnswer | NotSent | None) -> bool:
    return isinstance(answer, Refused) and answer.meaning.remedy is Remedy.WAIT_FOR_SLOT


def _change(
    claim: Claim,
    answer: SubmitAnswer | NotSent | None,
    now: datetime,
    hold_state: HoldState,
    held_by: Breaker | None,
) -> Change:
    """What an outcome says of the task. ``held_by``: the breaker of its kind and model, if it was open before this
    outcome; then a refusal that concerns everybody fails no task."""
    detail: dict[str, Any]
    match answer:
        case None:
            return Change(now, "given_back", claim.task_id, event=GivenBack(claim.submit_id))
        case NotSent(failure):
            event = WasRefused(claim.submit_id, failure, None)
            detail = {"code": failure.code, "message": failure.message}
            return Change(now, "refused", claim.task_id, event=event, detail=detail)
        case Accepted(item_ids, request_id, passed_over):
            family, claimed_us = KINDS[claim.kind].family.name, to_us(claim.claimed_at)
            observations = tuple(
                Observation(family, Reading(item_id), Source.SUBMIT, claimed_us, NamedBy.SUBMIT_ANSWER, sighted=False)
                for item_id in item_ids
            )
            detail = {"item_ids": list(item_ids), "vendor_request_id": request_id}
            if passed_over:
                detail["item_ids_passed_over"] = passed_over
            return Change(now, "submitted", claim.task_id, observations, WasAccepted(), detail)
        case Refused():
            failure = Failure(
                answer.meaning.code, answer.message, answer.meaning.retryable, answer.status, answer.request_id
            )
            again_at = _again_at(claim, answer, now, is_model_held=held_by is not None)
            event = WasRefused(claim.submit_id, failure, again_at)
            detail = {"code": failure.code, "message": failure.message, "vendor_status": failure.vendor_status}
            detail["vendor_request_id"] = failure.vendor_request_id
            if again_at is not None:
                hold_until = hold_state.hold.until if hold_state.hold is not None else now
                probe_at = held_by.probe_at if held_by is not None else None
                detail["again_at"] = rfc3339(max(again_at, hold_until, probe_at or now))
            return Change(now, "refused", claim.task_id, event=event, detail=detail)
        case Unknown(reason):
            detail = {"reason": reason}
            return Change(now, "outcome_unknown", claim.task_id, event=WasUnknown(claim.submit_id), detail=detail)


def _again_at(claim: Claim, answer: Refused, now: datetime, *, is_model_held: bool) -> datetime | None:
    """When a refused task may be sent again; None if it fails. Where everybody waits, it keeps its place as the
    oldest. ``is_model_held``: its kind and model were held."""
    match answer.meaning.remedy:
        case Remedy.FAIL:
            return None
        case Remedy.HOLD_MODEL:
            return claim.created_at if is_model_held else None
        case Remedy.BACK_OFF:
            first_s, most_s = BACK_OFF_S
            wait_s = min(first_s * 2 ** min(claim.attempt - 1, 10), most_s)
            jittered_s = wait_s * random.uniform(0.8, 1.2)
            jittered_s = min(max(jittered_s, first_s), most_s)
            return later(now, jittered_s if answer.retry_after_s is None else answer.retry_after_s)
        case _:
            return min(claim.created_at, now)


_REASONS: Final = {
    Remedy.FIX_KEY: Reason.KEY_REJECTED,
    Remedy.BUY_POINTS: Reason.NO_POINTS,
    Remedy.WAIT_FOR_SLOT: Reason.QUEUE_FULL,
    Remedy.SLOW_DOWN: Reason.RATE_LIMITED,
}


def _hold_after(
    before: HoldState, claim: Claim, answer: SubmitAnswer | None, now: datetime, *, has_items: bool
) -> HoldState:
    if isinstance(answer, Accepted) or (isinstance(answer, Unknown) and has_items):
        return holds.answered(before, claim.claimed_at)
    if isinstance(answer, Unknown):
        return holds.outcome_unknown(before, str(claim.task_id), now)
    if answer is None:
        return holds.inconclusive(before, now)
    reason = _REASONS.get(answer.meaning.remedy)
    if reason is not None:
        wait_s = answer.retry_after_s if reason is Reason.RATE_LIMITED else None
        cleared = HoldState(before.hold, before.by_hand, before.by_hand_since)
        return holds.hold(cleared, reason, now, detail=answer.message, wait_s=wait_s)
    if answer.meaning.remedy in (Remedy.FAIL, Remedy.HOLD_MODEL):
        return holds.refused(before, claim.claimed_at, now)
    vendor_spoke = answer.status is not None
    if vendor_spoke and (before.hold is None or before.hold.reason is Reason.BREAKER):
        return holds.refused(before, claim.claimed_at, now)
    return holds.inconclusive(before, now)


def _queries_after(before: HoldState, answer: SubmitAnswer | None, now: datetime) -> HoldState:
    """The hold on queries after an outcome: a rejected key stops queries too, an accepted submission shows that the key
    is right again."""
    if isinstance(answer, Accepted):
        return holds.reason_cleared(before, Reason.KEY_REJECTED)
    if isinstance(answer, Refused) and answer.meaning.remedy is Remedy.FIX_KEY:
        return holds.hold(before, Reason.KEY_REJECTED, now, detail=answer.message)
    return before


def _log_hold(before: HoldState, after: HoldState) -> None:
    if after.hold is not None and (before.hold is None or before.hold.reason is not after.hold.reason):
        log.error("submissions.held", reason=after.hold.reason.value, detail=after.hold.detail)
    elif before.hold is not None and after.hold is None:
        log.warning("submissions.released", reason=before.hold.reason.value)
