"""Dispatch: claim queued tasks within the limits, submit each, settle its outcome.

Transaction → call → transaction. A claim is made only to be sent at once; each writes a fresh ``submit_id``, the
fence that distinguishes a late outcome from a current one.
"""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
import structlog

from app.app_context import Context
from app.database import dialect
from app.database.tables import tasks
from app.errors import Unavailable
from app.limits import hold as holds
from app.limits import shared_limits
from app.limits.model_breaker import key_of
from app.limits.model_holds import lock_sendable
from app.limits.shared_limits import Limit
from app.rules.submission import Claimed
from app.rules.task import Failure
from app.rules.times import later
from app.rules.transition import Change
from app.runtime import traces
from app.runtime.loops import Background
from app.submissions.outcomes import Claim, NotSent, Outcome, settle
from app.tasks import item_rows, task_rows, upload_refs
from app.tasks.apply import Effects, apply
from app.tasks.task_rows import TaskRecord
from app.tempolor.answers import Accepted, Refused, SubmitAnswer, Unknown
from app.tempolor.callback_tokens import callback_url
from app.tempolor.kinds import KINDS, model_of, sent_params

SENDERS: Final = 64
"""Submissions that one process has under way at most."""
_ANY_QUEUED: Final = sa.select(sa.exists().where(tasks.c.dispatch_due_at.is_not(None)))
"""Due or parked."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Claims:
    """``has_more``: tasks were parked or made due again, and there may be more to do at once."""

    claims: tuple[Claim, ...]
    effects: Effects
    has_more: bool = False


class Dispatcher:
    """Claim and send. ``step`` is called by its loop; sends go on beside it."""

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
        claimed = await self._db.write(claim, context, free, context.clock.now(), started)
        context.committed(claimed.effects)
        for task_claim in claimed.claims:
            self._sending.start(self._send(task_claim), f"submit {task_claim.task_id}")
        return 0 if claimed.claims or claimed.has_more else None

    async def finish(self, timeout_s: float) -> None:
        """Stop claiming, and wait for what is being sent, at most so long."""
        self.stopping = True
        await self._sending.finish(timeout_s)

    async def _send(self, claim: Claim) -> None:
        structlog.contextvars.bind_contextvars(task_id=str(claim.task_id), client=claim.client_name)
        named = {"task_id": str(claim.task_id), "task_kind": claim.kind, "attempt": claim.attempt}
        with traces.span("dispatch", parent=claim.traceparent, kind="client", **named) as span:
            await self._settle(claim, await self._answer_to(claim, span))

    async def _answer_to(self, claim: Claim, span: traces.Span) -> SubmitAnswer | NotSent | None:
        """Send a claimed task; None if it is given back instead."""
        context = self._context
        elapsed = max(
            context.clock.monotonic() - claim.started, (context.clock.now() - claim.claimed_at).total_seconds()
        )
        if elapsed > context.policy.submit_lease_s / 2 or self.stopping:
            # Frozen meanwhile, or ending: somebody else may soon take the lease for lapsed.
            return None
        kind = KINDS[claim.kind]
        token = context.tokens.sign(kind.family.name, claim.task_id)
        url = callback_url(context.public_url, kind.family.name, token)
        try:
            params = await self._with_links(claim.params)
        except Unavailable:
            return None
        if isinstance(params, NotSent):
            log.warning("submit.upload_unavailable", reason=params.failure.message)
            span.fail(params.failure.code)
            return params
        answer = await context.vendor.submit(kind, params, url, context.policy.submit_timeout_s)
        _log_answer(answer)
        if not isinstance(answer, Accepted):
            span.fail(answer.meaning.code if isinstance(answer, Refused) else answer.reason)
        return answer

    async def _with_links(self, params: dict[str, Any]) -> dict[str, Any] | NotSent:
        """Replace the uploads that params name by links, good for as long as the vendor may fetch them. What cannot be
        had is not sent: a reference means nothing to the vendor."""
        context, policy = self._context, self._context.policy
        named = upload_refs.named_in(params).values()
        if not named:
            return params
        if (links := context.files) is None:
            return _unavailable("It names an upload, and the gateway keeps none now: GATEWAY_ARCHIVE_URL is not set.")
        names = await self._db.read(upload_refs.file_names, {upload_id for upload_id in named if upload_id is not None})
        if not names.keys() >= set(named):
            return _unavailable("The upload that it names is not kept any more.")
        until = later(context.clock.now(), policy.submit_timeout_s + policy.submit_confirm_s + policy.deadline_s)
        return upload_refs.replaced(params, lambda upload_id: links.upload_url(upload_id, names[upload_id], until))

    async def _settle(self, claim: Claim, answer: SubmitAnswer | NotSent | None) -> None:
        """Commit an outcome, with those that came while others were committed. It exists only here, so its commit is
        tried until the process ends."""
        outcome = Outcome(claim, answer)
        self._unsettled.append(outcome)
        pause_s = 0.1
        while outcome in self._unsettled:
            try:
                async with self._settling:
                    if outcome in self._unsettled:
                        together = [unsettled for unsettled in self._unsettled if not unsettled.alone]
                        await self._commit([outcome] if outcome.alone else together)
            except Exception:
                await self._context.clock.sleep(pause_s)
                pause_s = min(pause_s * 2, 5.0)

    async def _commit(self, outcomes: list[Outcome]) -> None:
        # What is logged from here on is about all of them.
        structlog.contextvars.unbind_contextvars("task_id", "client")
        try:
            effects = await self._db.write(settle, self._context, outcomes, self._context.clock.now())
        except BaseException as error:
            task_ids = [str(outcome.claim.task_id) for outcome in outcomes]
            log.warning("submit.settle_failed", error=type(error).__name__, task_ids=task_ids)
            for outcome in outcomes:
                outcome.alone = True
            raise
        self._unsettled = [outcome for outcome in self._unsettled if outcome not in outcomes]
        self._context.committed(effects)
        self._context.wakes.dispatch.set()


def claim(conn: sa.Connection, context: Context, free: int, now: datetime, started: float) -> Claims:
    """Claim queued tasks, as many as the limits let go now, in turns between the clients; of kinds and models that
    are held, probes alone.

    The limit's row is locked first, and what is in flight is counted in a second statement: one statement would
    count by a snapshot from before the lock, and overshoot.
    """
    limit = shared_limits.lock_one(conn, Limit.SUBMIT)
    hold_state = limit.hold_state
    if hold_state.unknown_tasks and item_rows.any_named(conn, [UUID(text) for text in hold_state.unknown_tasks]):
        hold_state = holds.confirmed(hold_state)
    if not conn.scalar(_ANY_QUEUED):
        shared_limits.save_hold(conn, Limit.SUBMIT, limit, hold_state)
        return Claims((), Effects())
    own_in_flight = task_rows.in_flight(conn, now)
    in_flight = sum(own_in_flight.values())
    room = min(free, max(context.policy.max_in_flight - in_flight, 0))
    allowed = holds.allowed(hold_state, now, in_flight)
    room = room if allowed is None else min(room, allowed)
    probes = allowed is not None and not holds.waits_for_slot(hold_state)
    locked = lock_sendable(conn, context.policy, now, room, own_in_flight, limit.last_client, oldest=probes)
    candidates = [_claim(context, record, now, started) for record in locked.records]
    effects = apply(conn, [change for _, change in candidates], context.rules)
    claims = tuple(
        candidate
        for (candidate, _), result in zip(candidates, effects.results, strict=True)
        if result is not None and not result.rejected
    )
    if claims:
        # Which callback secret signs their URLs, and that none is parked any more.
        claimed = tasks.update().where(dialect.any_of(conn, tasks.c.id, [task_claim.task_id for task_claim in claims]))
        conn.execute(claimed.values(callback_key_id=context.tokens.signing_key_id, parked_as=None))
        if allowed is not None:
            hold_state = holds.probing(hold_state, later(now, context.policy.submit_lease_s))
    after = replace(limit, hold_state=hold_state, last_client=locked.last_client)
    if after != limit:
        shared_limits.save(conn, Limit.SUBMIT, after)
    return Claims(claims, effects, locked.has_more)


def _claim(context: Context, record: TaskRecord, now: datetime, started: float) -> tuple[Claim, Change]:
    """A claim of a task, and the change by which it is made; that names the model that is sent, if the client asked for
    another."""
    task, submit_id, attempt = record.task, context.ids(), record.task.submit_attempts + 1
    params = sent_params(task.kind, record.input.params, context.policy.model_aliases)
    model = model_of(task.kind, params)
    candidate = Claim(
        task.id,
        submit_id,
        task.kind,
        params,
        key_of(task.kind, model),
        task.created_at,
        now,
        attempt,
        started,
        task.client_name,
        task.traceparent,
    )
    detail: dict[str, Any] = {"attempt": attempt}
    submitted_model = model if model != model_of(task.kind, record.input.params) else None
    if submitted_model is not None:
        detail["submitted_model"] = submitted_model
    event = Claimed(submit_id, submitted_model)
    return candidate, Change(now, "submitting", task.id, event=event, detail=detail)


def _unavailable(message: str) -> NotSent:
    return NotSent(Failure("upload_unavailable", message, retryable=True))


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
