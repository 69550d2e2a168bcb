"""Sending: claim queued tasks within the limits, submit each, settle what came of it.

Transaction → call → transaction. A claim is made only to be sent at once; each writes a fresh ``submit_id``, the
fence by which a late outcome is told from a current one.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
import structlog

from app.context import Context
from app.limits import breakers, limits, model_holds
from app.limits import hold as holds
from app.limits.hold import HoldState, Reason
from app.limits.limits import Limit
from app.limits.model_breaker import Breaker, ModelKey
from app.limits.model_holds import breaker_after, key_of_task, lock_sendable
from app.rules.observation import NamedBy, Observation, Reading, Source, to_us
from app.rules.submission import OUTCOME_OPEN, Claimed, GivenBack, SubmissionEvent, WasAccepted, WasRefused, WasUnknown
from app.rules.task import Failure, Submission
from app.rules.timing import later, rfc3339
from app.rules.transition import Change
from app.runtime import traces
from app.runtime.background import Background
from app.tasks import items, task_rows
from app.tasks.apply import Applied, apply
from app.tasks.task_rows import Record
from app.tempolor.answers import Accepted, Refused, SubmitAnswer, Unknown
from app.tempolor.codes import Remedy
from app.tempolor.kinds import KINDS
from app.tempolor.models import model_of, sent_params
from app.tempolor.tokens import callback_url

SENDERS: Final = 64
"""Submissions that one process has under way at most."""
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
class Claims:
    """``moved``: tasks were parked or made due again, and there may be more to do at once."""

    claims: tuple[Claim, ...]
    applied: Applied
    moved: bool = False


@dataclass(slots=True, eq=False)
class Outcome:
    """What came of one send. ``answer``: None if it was given back unsent. ``alone``: it was among those that could
    not be committed, and holds up nobody else from now on."""

    claim: Claim
    answer: SubmitAnswer | None
    alone: bool = False


class Dispatcher:
    """Claims and sends. ``step`` is called by its loop; sends go on beside it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._db = context.loops_db()
        self._unsettled: list[Outcome] = []
        self._settling = asyncio.Lock()
        self._sending = Background[None](_crashed, context.wakes.dispatch.set)
        self.stopping = False

    async def step(self) -> float | None:
        """Claim what can be sent now and start sending it. Returns 0 if there may be more."""
        free = SENDERS - len(self._sending)
        if self.stopping or free <= 0:
            return None
        context = self._context
        started = context.clock.monotonic()
        found = await self._db.write(claim, context, free, context.clock.now(), started)
        context.committed(found.applied)
        for one in found.claims:
            self._sending.start(self._send(one), f"submit {one.task_id}")
        return 0 if found.claims or found.moved else None

    async def finish(self, timeout_s: float) -> None:
        """Stop claiming, and wait for what is being sent, at most so long."""
        self.stopping = True
        await self._sending.finish(timeout_s)

    async def _send(self, claim: Claim) -> None:
        structlog.contextvars.bind_contextvars(task_id=str(claim.task_id), client=claim.client_name)
        named = {"task_id": str(claim.task_id), "task_kind": claim.kind, "attempt": claim.attempt}
        with traces.span("dispatch", parent=claim.traceparent, kind="client", **named) as span:
            await self._send_traced(claim, span)

    async def _send_traced(self, claim: Claim, span: traces.Span) -> None:
        context = self._context
        elapsed = max(
            context.clock.monotonic() - claim.started, (context.clock.now() - claim.claimed_at).total_seconds()
        )
        if elapsed > context.policy.submit_lease_s / 2 or self.stopping:
            # Frozen meanwhile, or ending: somebody else may soon take the lease for lapsed.
            await self._settle(claim, None)
            return
        kind = KINDS[claim.kind]
        token = context.tokens.sign(kind.family.name, claim.task_id)
        url = callback_url(context.public_url, kind.family.name, token)
        answer = await context.vendor.submit(kind, claim.params, url, context.policy.submit_timeout_s)
        _log_answer(answer)
        if not isinstance(answer, Accepted):
            span.fail(answer.meaning.code if isinstance(answer, Refused) else answer.reason)
        await self._settle(claim, answer)

    async def _settle(self, claim: Claim, answer: SubmitAnswer | None) -> None:
        """Commit an outcome, with those that came while others were committed. It exists only here, so its commit is
        tried until the process ends."""
        outcome = Outcome(claim, answer)
        self._unsettled.append(outcome)
        pause_s = 0.1
        while outcome in self._unsettled:
            try:
                async with self._settling:
                    if outcome in self._unsettled:
                        together = [one for one in self._unsettled if not one.alone]
                        await self._commit([outcome] if outcome.alone else together)
            except Exception:
                await self._context.clock.sleep(pause_s)
                pause_s = min(pause_s * 2, 5.0)

    async def _commit(self, outcomes: list[Outcome]) -> None:
        # What is logged from here on is about all of them.
        structlog.contextvars.unbind_contextvars("task_id", "client")
        try:
            applied = await self._db.write(settle, self._context, outcomes, self._context.clock.now())
        except BaseException as error:
            task_ids = [str(one.claim.task_id) for one in outcomes]
            log.warning("submit.settle_failed", error=type(error).__name__, task_ids=task_ids)
            for one in outcomes:
                one.alone = True
            raise
        self._unsettled = [one for one in self._unsettled if one not in outcomes]
        self._context.committed(applied)
        self._context.wakes.dispatch.set()


def claim(conn: sa.Connection, context: Context, free: int, now: datetime, started: float) -> Claims:
    """Claim queued tasks, as many as the limits let go now, in turns between the clients; of kinds and models that
    are held, probes alone.

    The limit's row is locked first, and what is in flight is counted in a second statement: one statement would
    count by a snapshot from before the lock, and overshoot.
    """
    limit = limits.lock(conn, (Limit.SUBMIT,))[Limit.SUBMIT]
    hold_state = limit.hold_state
    if hold_state.unknown_tasks and items.any_named(conn, [UUID(text) for text in hold_state.unknown_tasks]):
        hold_state = holds.confirmed(hold_state)
    if not task_rows.any_queued(conn):
        if hold_state != limit.hold_state:
            limits.save(conn, Limit.SUBMIT, replace(limit, hold_state=hold_state))
        return Claims((), Applied())
    own_in_flight = task_rows.in_flight(conn, now)
    in_flight = sum(own_in_flight.values())
    room = min(free, max(context.policy.max_in_flight - in_flight, 0))
    allowed = holds.allowed(hold_state, now, in_flight)
    room = room if allowed is None else min(room, allowed)
    probes = allowed is not None and not holds.waits_for_slot(hold_state)
    taken = lock_sendable(conn, context.policy, now, room, own_in_flight, limit.last_client, oldest=probes)
    wanted = [_claim(context, record, now, started) for record in taken.records]
    changes = [_claimed(one, record) for one, record in zip(wanted, taken.records, strict=True)]
    applied = apply(conn, changes, context.rules)
    claims = tuple(
        one
        for one, outcome in zip(wanted, applied.outcomes, strict=True)
        if outcome is not None and not outcome.rejected
    )
    if claims:
        task_rows.note_claimed(conn, [one.task_id for one in claims], context.tokens.signing_key_id)
        if allowed is not None:
            hold_state = holds.probing(hold_state, later(now, context.policy.submit_lease_s))
    after = replace(limit, hold_state=hold_state, last_client=taken.last_client)
    if after != limit:
        limits.save(conn, Limit.SUBMIT, after)
    return Claims(claims, applied, taken.moved)


def _claim(context: Context, record: Record, now: datetime, started: float) -> Claim:
    task, aliases = record.task, context.policy.model_aliases
    return Claim(
        task.id,
        context.ids(),
        task.kind,
        sent_params(task.kind, record.given.params, aliases),
        key_of_task(record, context.policy),
        task.created_at,
        now,
        task.submit_attempts + 1,
        started,
        task.client_name,
        task.traceparent,
    )


def _claimed(claim: Claim, record: Record) -> Change:
    """The claim of a task; it tells the model that is sent, if another was asked for."""
    sent = model_of(claim.kind, claim.params)
    other = sent if sent != model_of(claim.kind, record.given.params) else None
    detail: dict[str, Any] = {"attempt": claim.attempt}
    if other is not None:
        detail["submitted_model"] = other
    return Change(claim.claimed_at, "submitting", claim.task_id, event=Claimed(claim.submit_id, other), detail=detail)


def settle(conn: sa.Connection, context: Context, outcomes: Sequence[Outcome], now: datetime) -> Applied:
    """Apply the outcomes of sends, in order, and let them start or end the hold."""
    held = limits.lock(conn, limits.ALL)
    known = task_rows.submissions_of(conn, [one.claim.task_id for one in outcomes])
    before, queries_before = held[Limit.SUBMIT].hold_state, held[Limit.QUERY].hold_state
    breakers_before = {key: breakers.find(conn, key) for key in dict.fromkeys(one.claim.key for one in outcomes)}
    after, queries_after, breakers_after = before, queries_before, dict(breakers_before)
    changes = []
    for one in outcomes:
        claim, answer = one.claim, one.answer
        named = isinstance(answer, Unknown) and items.any_named(conn, [claim.task_id])
        breaker = breaker_then = breakers_after[claim.key]
        if not _is_settled(one, known.get(claim.task_id)):
            after = _hold_after(after, claim, answer, now, named=named)
            queries_after = _queries_after(queries_after, answer, now)
            breaker_then = breaker_after(breaker, claim.claimed_at, answer, now, context.policy, named)
            breakers_after[claim.key] = breaker_then
        waits = _Waits(after, breaker_then if breaker is not None and breaker.held else None)
        changes.append(_change(context, claim, answer, now, waits))
    applied = apply(conn, changes, context.rules)
    for key, breaker in breakers_before.items():
        model_holds.save(conn, key, breaker, breakers_after[key])
    if holds.waits_for_slot(after) and any(_met_a_full_queue(one.answer) for one in outcomes):
        # Counted without those that met it.
        after = holds.full_with(after, sum(task_rows.in_flight(conn, now).values()))
    if after != before:
        _log_hold(before, after)
        limits.save(conn, Limit.SUBMIT, replace(held[Limit.SUBMIT], hold_state=after))
    if queries_after != queries_before:
        limits.save(conn, Limit.QUERY, replace(held[Limit.QUERY], hold_state=queries_after))
    return applied


def _is_settled(outcome: Outcome, known: tuple[UUID | None, Submission] | None) -> bool:
    """Whether a refusal was committed before, and only the answer to that commit was lost: it counts once."""
    if not isinstance(outcome.answer, Refused) or known is None:
        return False
    submit_id, submission = known
    return submit_id == outcome.claim.submit_id and submission not in OUTCOME_OPEN


def _met_a_full_queue(answer: SubmitAnswer | None) -> bool:
    return isinstance(answer, Refused) and answer.meaning.remedy is Remedy.WAIT_FOR_SLOT


@dataclass(frozen=True, slots=True)
class _Waits:
    """What a task that is sent again waits for: the hold on submissions after the outcome, and the breaker of its
    kind and model after it, if that was open before: then a refusal of everybody fails no task."""

    hold_state: HoldState
    breaker: Breaker | None

    def until(self, now: datetime) -> datetime:
        hold_until = self.hold_state.hold.until if self.hold_state.hold is not None else now
        probe_at = self.breaker.probe_at if self.breaker is not None else None
        return max(hold_until, probe_at or now)


def _change(context: Context, claim: Claim, answer: SubmitAnswer | None, now: datetime, waits: _Waits) -> Change:
    """What an outcome says of the task."""
    event: SubmissionEvent
    match answer:
        case None:
            event = GivenBack(claim.submit_id, "not sent in time")
            return Change(now, "given_back", claim.task_id, event=event)
        case Accepted(item_ids, request_id, passed_over):
            event = WasAccepted(claim.submit_id, item_ids, request_id)
            observations = tuple(_named(KINDS[claim.kind].family.name, item_id, claim) for item_id in item_ids)
            detail: dict[str, Any] = {"item_ids": list(item_ids), "vendor_request_id": request_id}
            if passed_over:
                detail["item_ids_passed_over"] = passed_over
            return Change(now, "submitted", claim.task_id, observations, event, detail)
        case Refused():
            failure = Failure(
                answer.meaning.code, answer.message, answer.meaning.retryable, answer.status, answer.request_id
            )
            again_at = _again_at(claim, answer, now, held=waits.breaker is not None)
            event = WasRefused(claim.submit_id, failure, again_at)
            detail = {"code": failure.code, "message": failure.message, "vendor_status": failure.vendor_status}
            detail["vendor_request_id"] = failure.vendor_request_id
            if again_at is not None:
                detail["again_at"] = rfc3339(max(again_at, waits.until(now)))
            return Change(now, "refused", claim.task_id, event=event, detail=detail)
        case Unknown(reason):
            event = WasUnknown(claim.submit_id, reason)
            return Change(now, "outcome_unknown", claim.task_id, event=event, detail={"reason": reason})


def _named(family: str, item_id: str, claim: Claim) -> Observation:
    return Observation(
        family,
        Reading(item_id),
        Source.SUBMIT,
        to_us(claim.claimed_at),
        NamedBy.SUBMIT_ANSWER,
        sighted=False,
    )


def _again_at(claim: Claim, answer: Refused, now: datetime, *, held: bool) -> datetime | None:
    """When a refused task may be sent again; None if it fails. Where everybody waits, it keeps its place as the
    oldest. ``held``: its kind and model were held."""
    match answer.meaning.remedy:
        case Remedy.FAIL:
            return None
        case Remedy.HOLD_MODEL:
            return claim.created_at if held else None
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
    before: HoldState, claim: Claim, answer: SubmitAnswer | None, now: datetime, *, named: bool
) -> HoldState:
    if isinstance(answer, Accepted) or (isinstance(answer, Unknown) and named):
        return holds.answered(before, claim.claimed_at)
    if isinstance(answer, Unknown):
        return holds.lost(before, str(claim.task_id), now)
    if answer is None:
        return holds.inconclusive(before, now)
    reason = _REASONS.get(answer.meaning.remedy)
    if reason is not None:
        wait_s = answer.retry_after_s if reason is Reason.RATE_LIMITED else None
        known = HoldState(before.hold, before.by_hand, before.by_hand_since)
        return holds.hold(known, reason, now, detail=answer.message, wait_s=wait_s)
    if answer.meaning.remedy in (Remedy.FAIL, Remedy.HOLD_MODEL):
        return holds.refused(before, claim.claimed_at, now)
    vendor_spoke = answer.status is not None
    if vendor_spoke and (before.hold is None or before.hold.reason is Reason.BREAKER):
        return holds.refused(before, claim.claimed_at, now)
    return holds.inconclusive(before, now)


def _queries_after(before: HoldState, answer: SubmitAnswer | None, now: datetime) -> HoldState:
    """A rejected key stops queries too; an accepted submission shows that the key is right again."""
    if isinstance(answer, Accepted):
        return holds.proved(before, Reason.KEY_REJECTED)
    if isinstance(answer, Refused) and answer.meaning.remedy is Remedy.FIX_KEY:
        return holds.hold(before, Reason.KEY_REJECTED, now, detail=answer.message)
    return before


def _crashed(error: BaseException) -> None:
    log.error("submit.crashed", exc_info=error)


def _log_answer(answer: SubmitAnswer) -> None:
    match answer:
        case Accepted(item_ids, request_id, passed_over):
            log.info("submit.accepted", item_ids=list(item_ids), vendor_request_id=request_id)
            if passed_over:
                log.warning("submit.item_ids_passed_over", kept=len(item_ids), passed_over=passed_over)
        case Refused():
            log.warning("submit.refused", code=answer.meaning.code, vendor_status=answer.status)
        case Unknown(reason):
            log.warning("submit.outcome_unknown", reason=reason)


def _log_hold(before: HoldState, after: HoldState) -> None:
    if after.hold is not None and (before.hold is None or before.hold.reason is not after.hold.reason):
        log.error("submissions.held", reason=after.hold.reason.value, detail=after.hold.detail)
    elif before.hold is not None and after.hold is None:
        log.warning("submissions.released", reason=before.hold.reason.value)
