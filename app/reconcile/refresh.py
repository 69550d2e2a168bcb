"""Refresh: ask the vendor now, for a client that wants to know how a task is, whether or not a question is due.

A refresh goes through the same door as the reconciler's claim: the rate, the hold, and the lease by which
no item is asked about by two at once. It needs no reconciler in this process, and works beside any number; what is
due keeps at least every second permit.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import sqlalchemy as sa
import structlog

from app.app_context import Context
from app.audit.audit import Action, Actor, append_now
from app.errors import Conflict, NotFound, NotRefreshed, Unavailable, VendorPaused
from app.limits import hold as holds
from app.limits import shared_limits
from app.limits.hold import Hold
from app.limits.shared_limits import Limit
from app.reconcile import claims, due_items
from app.reconcile.ask import ask, fault_in, is_split, items_without_answer, observations_of
from app.reconcile.claims import Question, claim
from app.reconcile.replan_after_clock_change import longest_question_s
from app.rules.observation import ItemKey
from app.rules.status import TASK_FINAL, TaskStatus
from app.rules.times import later
from app.rules.transition import Change
from app.rules.views import has_expired_link
from app.runtime.concurrency_limit import FairQueue
from app.runtime.loops import Background
from app.tasks import state_store, task_rows
from app.tasks.apply import Effects, apply
from app.tempolor.answers import QueryAnswer, Unanswered
from app.tempolor.kinds import FAMILIES

PATIENCE_S: Final = 8.0
"""How long a caller waits for the vendor's answer."""
POLL_S: Final = 0.1
"""How often to look whether somebody else's question is answered."""
CLOCK_WRONG_S: Final = 30.0
"""After which a caller may try again where this process's clock is wrong."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OpenItem:
    """An item about which the vendor can be asked: when it was last, and when it would be next; None for one that is
    settled, and of which a link has expired."""

    last_query_at: datetime | None
    planned_at: datetime | None


@dataclass(frozen=True, slots=True)
class PendingQuestion:
    """A question for a refresh that is under way."""

    question: Question
    answer: asyncio.Task[QueryAnswer | None]
    answered: asyncio.Event


class Refresher:
    """Ask the vendor for clients. ``paused`` says when this process's clock is too wrong to ask.

    Of each client one refresh waits for a permit at a time, and the clients come in their order; those of one task
    that come while it is refreshed share what comes of it.
    """

    def __init__(self, context: Context, paused: Callable[[], bool]) -> None:
        self._context = context
        self._paused = paused
        self._asking = Background[QueryAnswer | None](_failed)
        self._line = FairQueue()
        self._under_way: dict[UUID, asyncio.Task[None]] = {}

    async def refresh(self, actor: Actor, task_id: UUID, scope: str | None) -> None:
        """Have the vendor answer, for a client, for each open item of a task that is in its ``scope`` (None:
        anybody's); what it said is applied when this returns. Of a task that has ended only those items are asked
        about of which a link has expired: the vendor may have a new one. Nothing is asked of which no item is known
        yet. Raises ``NotFound``, ``Conflict`` while it is queued, ``VendorPaused``, ``NotRefreshed``,
        ``Unavailable``."""
        context = self._context
        owner, open_items = await context.db.read(_open_items, context, task_id, scope)
        if not open_items:
            return
        if owner != actor.name:
            await append_now(context.db, context.clock, actor, Action.REFRESH_TASK, str(task_id), client=owner)
        if self._paused():
            raise Unavailable("the clock of this process is not right", CLOCK_WRONG_S)
        refreshing = self._under_way.get(task_id)
        if refreshing is None:
            refreshing = asyncio.create_task(self._refresh(actor.name, task_id, open_items), name=f"refresh {task_id}")
            self._under_way[task_id] = refreshing
            refreshing.add_done_callback(lambda _task: self._under_way.pop(task_id))
        # A caller that goes away takes nothing from those who share it.
        await asyncio.shield(refreshing)

    async def finish(self, timeout_s: float) -> None:
        """Wait for the questions under way, at most so long; who waits for a permit gets none."""
        refreshing = list(self._under_way.values())
        for task in refreshing:
            task.cancel()
        await asyncio.gather(*refreshing, return_exceptions=True)
        await self._asking.finish(timeout_s)

    async def _refresh(self, client_name: str, task_id: UUID, open_items: dict[ItemKey, OpenItem]) -> None:
        context = self._context
        settled = [key for key, item in open_items.items() if item.planned_at is None]
        if not settled:
            await self._ask_all(client_name, open_items)
            return
        await context.db.write(due_items.reopen, settled)
        try:
            await self._ask_all(client_name, open_items)
        finally:
            # Whatever came of it, it must not begin a series of questions.
            context.committed(await context.db.write(_settle_again, context, task_id))

    async def _ask_all(self, client_name: str, open_items: dict[ItemKey, OpenItem]) -> None:
        context = self._context
        end = context.clock.monotonic() + PATIENCE_S
        pending = {key: item.last_query_at for key, item in open_items.items()}
        while pending:
            async with self._line.front(client_name):
                asking = await self._ask_in_turn(pending, open_items, end)
            # A caller whose patience ends leaves the question to be answered: its lease is taken, its permit spent.
            if asking is not None and await context.clock.wait(asking.answered, end - context.clock.monotonic()):
                await self._check(asking.answer.result(), asking.question)
            unanswered = await context.db.read(claims.unanswered, pending)
            pending = {key: pending[key] for key in unanswered}
            if pending and asking is None:
                await context.clock.sleep(min(POLL_S, max(0.0, end - context.clock.monotonic())))

    async def _ask_in_turn(
        self, pending: claims.LastQueried, open_items: dict[ItemKey, OpenItem], end: float
    ) -> PendingQuestion | None:
        """Ask about what nobody asks about yet, as soon as there is a permit for it. What is due has its turns: it
        is asked about meanwhile, and nobody waits for its answer. None if somebody asks about all of it."""
        context = self._context
        while True:
            started, now = context.clock.monotonic(), context.clock.now()
            if started >= end:
                raise NotRefreshed("the vendor's answer did not come in time", context.policy.interval_s)
            result = await context.db.write(claim, context, now, pending)
            if result.held is not None:
                raise _paused_by(result.held, now)
            if result.question is None and result.wait_s is None:
                return None
            if result.question is None:
                await context.clock.sleep(min(result.wait_s or 0, end - started))
                continue
            # Later than any plan: planned by a clock that has been set back since.
            latest = later(now, longest_question_s(context.policy, context.delays.longest_s()))
            plans = ((key, item.planned_at) for key, item in open_items.items())
            planned = {key: at for key, at in plans if at is not None and now < at <= latest}
            asking = self._begin(result.question, started, planned)
            if any(item.key in pending for item in result.question.items):
                return asking

    def _begin(self, question: Question, started: float, planned: dict[ItemKey, datetime]) -> PendingQuestion:
        answered = asyncio.Event()
        answer = self._asking.start(self._ask(question, started, planned), f"refresh {question.family}")
        answer.add_done_callback(lambda _task: answered.set())
        return PendingQuestion(question, answer, answered)

    async def _ask(self, question: Question, started: float, planned: dict[ItemKey, datetime]) -> QueryAnswer | None:
        answer = await ask(self._context, self._context.db, question, started)
        # Callbacks may come as they should: one early question must not begin a series of them.
        item_keys = {item.key for item in question.items}
        await self._context.db.write(due_items.put_off, {key: at for key, at in planned.items() if key in item_keys})
        return answer

    async def _check(self, answer: QueryAnswer | None, question: Question) -> None:
        """Raise if an answer says nothing about the items, and to ask again at once would not help."""
        if answer is None or is_split(question, answer):
            return
        if not items_without_answer(question, observations_of(question, answer)):
            return
        context = self._context
        now = context.clock.now()
        hold_state = (await context.db.read(shared_limits.read))[Limit.QUERY].hold_state
        if hold_state.hold is not None and holds.allowed(hold_state, now, 0) == 0:
            raise _paused_by(hold_state.hold, now)
        wait_s = answer.retry_after_s if isinstance(answer, Unanswered) else None
        fault, _ = fault_in(answer)
        raise NotRefreshed(f"the vendor's answer cannot be used ({fault})", wait_s or context.policy.interval_s)


def _failed(error: BaseException) -> None:
    log.warning("refresh.failed", error=type(error).__name__)


def _open_items(
    conn: sa.Connection, context: Context, task_id: UUID, client_name: str | None
) -> tuple[str, dict[ItemKey, OpenItem]]:
    """Read whose the task is, and what of it can be asked about: what is open while the task has not ended, and what a
    link of has expired. What else is missing of an ended one is the reconciler's to ask for."""
    record = task_rows.find(conn, task_id, client_name)
    if record is None:
        raise NotFound("there is no such task")
    if record.task.status is TaskStatus.QUEUED:
        raise Conflict("the task is queued: the vendor does not have it yet")
    task, now, ended = record.task, context.clock.now(), record.task.status in TASK_FINAL
    shape = FAMILIES[task.family].shape
    open_items = {
        item.key: OpenItem(item.last_query_at, item.query_due_at)
        for item in state_store.items_of(conn, [task_id])
        if (item.query_due_at is not None and not ended) or has_expired_link(item, task, shape, context.policy, now)
    }
    return task.client_name, open_items


def _settle_again(conn: sa.Connection, context: Context, task_id: UUID) -> Effects:
    """Plan the questions about a task anew, by its state."""
    return apply(conn, [Change(context.clock.now(), None, task_id)], context.rules)


def _paused_by(hold: Hold, now: datetime) -> VendorPaused:
    wait_s = (max(hold.probe_out_until(now) or now, hold.until) - now).total_seconds()
    return VendorPaused(f"the vendor is not asked now ({hold.reason})", max(wait_s, 1.0))
