"""Reconcile: when a callback is overdue, query the vendor, in full calls, within the rate, one asker an item.

A question that fails because of one bad id is halved until the bad one is alone; the others go on.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
import structlog

from app.app_context import Context
from app.database.database import Database
from app.limits import hold as holds
from app.limits import shared_limits
from app.limits.heartbeats import absences
from app.limits.hold import HoldState, Reason
from app.limits.shared_limits import Limit
from app.reconcile import due_items
from app.reconcile.claims import ClaimedItem, Question, claim
from app.reconcile.due_items import Postponed
from app.rules.observation import Observation, Reading, Source
from app.rules.schedule import SUSPECT, interval_s
from app.rules.times import later, to_us
from app.rules.transition import Change
from app.runtime import metrics, traces
from app.runtime.loops import Background
from app.tasks import state_store
from app.tasks.apply import Effects, apply, load_locked, save_locked, step_all
from app.tempolor.answers import Answered, QueryAnswer, Spoiled, Unanswered, fault_of
from app.tempolor.client import QUERY_TIMEOUT_S
from app.tempolor.kinds import FAMILIES

ASKERS: Final = 8
"""Questions that one process has under way at most; the rate over all replicas is the limit's."""

log = structlog.get_logger(__name__)


class Reconciler:
    """Claim and ask. ``step`` is called by its loop; questions go on beside it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._db = context.loops_db()
        self._asking = Background[QueryAnswer | None](_crashed)

    async def step(self) -> float | None:
        """Claim one question and start asking it. Returns seconds until the next iteration, None to idle."""
        if len(self._asking) >= ASKERS:
            await self._asking.any_ended()
        await self._context.timekeeper.beat(self._db)
        started = self._context.clock.monotonic()
        result = await self._db.write(claim, self._context, self._context.clock.now())
        if result.question is None:
            return result.wait_s
        self._asking.start(ask(self._context, self._db, result.question, started), f"query {result.question.family}")
        return 0

    async def finish(self, timeout_s: float) -> None:
        """Wait for the questions under way, at most so long."""
        await self._asking.finish(timeout_s)


def _crashed(error: BaseException) -> None:
    log.error("query.crashed", exc_info=error)


async def ask(context: Context, db: Database, question: Question, started: float) -> QueryAnswer | None:
    """Ask a claimed question and apply what the vendor says; its answer, or None if it came too late to ask.
    ``started``: the monotonic clock at the claim. A refusal or a silence puts the items off."""
    if context.clock.monotonic() - started > context.policy.lease_s - QUERY_TIMEOUT_S:
        return None  # frozen meanwhile: the lease could lapse under the call, and somebody else asks then
    item_ids = [item.item_id for item in question.items]
    structlog.contextvars.bind_contextvars(family=question.family, item_ids=item_ids)
    with traces.span("query", kind="client", family=question.family, items=len(item_ids)):
        answer = await context.vendor.query(FAMILIES[question.family], item_ids)
    log.debug("query.answered", answer=type(answer).__name__.lower())
    now = context.clock.now()
    metrics.queries.labels(question.family, type(answer).__name__.lower()).inc()
    metrics.queried_items.labels(question.family).inc(len(question.items))
    await db.write(note_in_limits, answer, now)
    observations = observations_of(question, answer)
    if observations:
        await _apply(context, db, observations, now)
    if unanswered := items_without_answer(question, observations):
        await _put_off(context, db, replace(question, items=unanswered), answer, now)
    return answer


def items_without_answer(question: Question, observations: Sequence[Observation]) -> tuple[ClaimedItem, ...]:
    """The items of a question of which its answer made no observation."""
    answered = {observation.key for observation in observations}
    return tuple(item for item in question.items if item.key not in answered)


def is_split(question: Question, answer: QueryAnswer) -> bool:
    """Whether the question is asked again in halves and at once: one bad id may have spoiled the call, or one item may
    be so large that the others have no room beside it."""
    too_large = isinstance(answer, Unanswered) and answer.reason == "answer_too_large"
    return len(question.items) > 1 and (too_large or isinstance(answer, Spoiled))


async def _put_off(context: Context, db: Database, question: Question, answer: QueryAnswer, now: datetime) -> None:
    """Ask again about items of which the answer says nothing."""
    if is_split(question, answer):
        await db.write(split, context, question, now)
    else:
        effects = await db.write(postpone, context, question, answer, now)
        context.committed(effects)
        metrics.unusable_answers.labels(question.family, fault_of(answer)).inc()
        # Of one outage there are many: the first is a warning, as it is a row in the timelines.
        tell = log.warning if effects.entries else log.info
        tell("query.unusable", fault=fault_in(answer)[0], items=len(question.items))
    context.wakes.reconcile.set()


async def _apply(context: Context, db: Database, observations: Sequence[Observation], now: datetime) -> None:
    """Apply an answer; items whose task is locked are applied by themselves, so that they delay no other."""
    effects = await db.write(apply_answer, context, observations, now, skip_locked=True)
    context.committed(effects)
    for observation, result in zip(observations, effects.results, strict=True):
        if result is None:
            context.committed(await db.write(apply_answer, context, [observation], now))


def apply_answer(
    conn: sa.Connection,
    context: Context,
    observations: Sequence[Observation],
    now: datetime,
    *,
    skip_locked: bool = False,
) -> Effects:
    """Apply what the vendor answered, of each item by itself."""
    away = absences(conn, now)
    changes = [Change(now, "query", observations=(observation,), absences=away) for observation in observations]
    return apply(conn, changes, context.rules, skip_locked=skip_locked)


def note_in_limits(conn: sa.Connection, answer: QueryAnswer, now: datetime) -> None:
    """Apply to the limits what an answer says of asking as such: the key, the rate, the vendor's health. Locks the
    limits alone."""
    holds_back = isinstance(answer, Unanswered) and (answer.key_rejected or answer.retry_after_s is not None)
    if shared_limits.read(conn)[Limit.QUERY].hold_state.hold is None and not holds_back:
        return
    limits_before = shared_limits.lock_all(conn)
    query, submit = limits_before[Limit.QUERY].hold_state, limits_before[Limit.SUBMIT].hold_state
    not_before_at = limits_before[Limit.QUERY].not_before_at
    if isinstance(answer, Unanswered) and answer.key_rejected:
        log.error("queries.held", reason=Reason.KEY_REJECTED.value)
        query = holds.hold(query, Reason.KEY_REJECTED, now, detail=answer.reason)
        submit = _with_key_rejected(submit, now, answer.reason)
    elif isinstance(answer, Unanswered):
        query = holds.inconclusive(query, now)
        if answer.retry_after_s is not None:
            not_before_at = max(not_before_at or now, later(now, answer.retry_after_s))
    else:
        query = holds.reason_cleared(query, Reason.KEY_REJECTED)
        submit = holds.reason_cleared(submit, Reason.KEY_REJECTED)
    shared_limits.save(
        conn, Limit.QUERY, replace(limits_before[Limit.QUERY], hold_state=query, not_before_at=not_before_at)
    )
    shared_limits.save_hold(conn, Limit.SUBMIT, limits_before[Limit.SUBMIT], submit)


def _with_key_rejected(submit: HoldState, now: datetime, detail: str) -> HoldState:
    if submit.hold is not None and submit.hold.reason is Reason.KEY_REJECTED:
        return submit
    return holds.hold(submit, Reason.KEY_REJECTED, now, detail=detail)


def split(conn: sa.Connection, context: Context, question: Question, now: datetime) -> None:
    """Split a question in halves that are due at once."""
    state_store.lock(conn, (), [item.key for item in question.items])
    due_items.postpone(conn, _halves(context, question, now), question.leased_until)


def postpone(conn: sa.Connection, context: Context, question: Question, answer: QueryAnswer, now: datetime) -> Effects:
    """Ask again after an interval, and note for each task that the question brought nothing."""
    fault, words = fault_in(answer)
    observations = tuple(
        Observation(question.family, Reading(item.item_id), Source.QUERY, to_us(question.asked_at), fault=fault)
        for item in question.items
    )
    away = absences(conn, now)
    unit = load_locked(conn, [Change(now, FAULTY, observations=observations)])
    detail: dict[str, Any] = {"fault": fault}
    if words and len({task.client_name for task in unit.loaded.tasks.values()}) == 1:
        # What came may speak of every item that was asked about, and no client is shown what is another's.
        detail["answer"] = words
    effects = step_all(
        unit, [Change(now, FAULTY, observations=observations, detail=detail, absences=away)], context.rules
    )
    save_locked(conn, unit, context.rules)
    group = SUSPECT if isinstance(answer, Spoiled) else ""
    postponed = [
        Postponed(item.key, _next_try(context, item, now), group, item.attempts + 1) for item in question.items
    ]
    due_items.postpone(conn, postponed, question.leased_until)
    return effects


FAULTY: Final = "query_failed"
"""In the timeline: a question that brought no answer that could be used."""


def fault_in(answer: QueryAnswer) -> tuple[str, str]:
    """What was wrong with an answer, and the vendor's words."""
    match answer:
        case Unanswered():
            return answer.reason, answer.excerpt
        case Spoiled():
            return str(answer.status), answer.message
        case Answered():
            return "not_shown", ""


def _halves(context: Context, question: Question, now: datetime) -> list[Postponed]:
    middle = (len(question.items) + 1) // 2
    return [
        Postponed(item.key, now, str(group), item.attempts)
        for half in (question.items[:middle], question.items[middle:])
        for group in (context.ids(),)
        for item in half
    ]


def _next_try(context: Context, claimed: ClaimedItem, now: datetime) -> datetime:
    return later(now, interval_s(claimed.attempts + 1, context.rules.jitter(), context.policy))


def observations_of(question: Question, answer: QueryAnswer) -> list[Observation]:
    """The observations that an answer makes of the items that were asked about: as they were shown, or as unknown; none
    where it says nothing of one. What was not asked is passed over."""
    if isinstance(answer, Unanswered):
        return []
    if isinstance(answer, Spoiled):
        alone = answer.no_such_work and len(question.items) == 1
        return [_unknown(question, question.items[0])] if alone else []
    shown = {reading.item_id: reading for reading in answer.readings}
    return [
        Observation(
            question.family,
            shown[item.item_id],
            Source.QUERY,
            to_us(question.asked_at),
            leased_until=question.leased_until,
        )
        if item.item_id in shown
        else _unknown(question, item)
        for item in question.items
        if item.item_id in shown or answer.whole
    ]


def _unknown(question: Question, claimed: ClaimedItem) -> Observation:
    return Observation(
        question.family,
        Reading(claimed.item_id),
        Source.QUERY,
        to_us(question.asked_at),
        sighted=False,
        unknown=True,
        leased_until=question.leased_until,
    )
