"""Group commit: a writer takes the callbacks that wait, commits them as one group, and answers them.

There is no timer: a group forms by itself while the one before commits, so a lone callback pays nothing.
"""

import asyncio
from collections import deque
from typing import Final

import msgspec
import structlog

from app.app_context import Context
from app.callbacks.commit import Acknowledgement, Callback, commit, store_poisoned
from app.database.database import Lane
from app.errors import Unavailable
from app.rules.observation import Disposition
from app.runtime import metrics
from app.tasks.apply import Effects

GROUP_BYTES: Final = 1024 * 1024
LOCK_PATIENCE_S: Final = 1.0
"""How long a callback steps back for a locked task before it waits for the lock alone."""
STEP_BACK_S: Final = 0.02

log = structlog.get_logger(__name__)


class _Waiting(msgspec.Struct):
    callback: Callback
    answer: asyncio.Future[Acknowledgement]
    deferred_at: float | None = None
    is_durable: bool = False


class Writer:
    """Commit callbacks in groups. ``step`` is called by its loop, which ``arrived`` wakes. The writers of a process
    share ``lock_waiter``: one callback at a time waits for a row lock."""

    def __init__(self, context: Context, lock_waiter: asyncio.Lock) -> None:
        self._context = context
        self._db = context.db.on(Lane.CALLBACKS)
        self._most_entries = context.db.entries_at_once // context.db.groups_at_once
        self._queue: deque[_Waiting] = deque()
        self._alone: set[asyncio.Task[None]] = set()
        self._lock_waiter = lock_waiter
        self.arrived = asyncio.Event()

    def put(self, callback: Callback) -> asyncio.Future[Acknowledgement]:
        """Have a callback committed with the next group; the future is done when it is durable."""
        waiting = _Waiting(callback, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self.arrived.set()
        return waiting.answer

    async def step(self) -> float | None:
        """Commit one group of what waits, bounded in number and bytes. Returns 0 if there may be more, None to wait for
        an arrival."""
        group: list[_Waiting] = []
        size = 0
        while self._queue and len(group) < self._most_entries:
            if self._queue[0].answer.done():
                # Nobody waits any more: it was answered 503, and its place has been given to another.
                self._queue.popleft()
                continue
            size += len(self._queue[0].callback.body)
            if group and size > GROUP_BYTES:
                break
            group.append(self._queue.popleft())
        if group:
            try:
                await self._commit(group)
            except BaseException:
                for waiting in group:
                    _fail(waiting, "the callback could not be stored")
                raise
        return 0 if self._queue else None

    def fail_all(self) -> None:
        """Answer everybody who waits with 503: the process ends."""
        while self._queue:
            _fail(self._queue.popleft(), "the gateway is stopping")

    async def _commit(self, group: list[_Waiting]) -> None:
        """Commit a group. Where the database was away it is tried once more: a connection that died while idle is
        found dead only by using it, and a repeat is harmless also where only the answer to the commit was lost. Where
        the group fails for what is in it, it is halved: one poisonous callback must not fail its neighbours."""
        try:
            try:
                await self._commit_once(group)
            except Unavailable:
                await self._commit_once(group)
        except Unavailable as error:
            for waiting in group:
                _fail(waiting, error.detail)
        except Exception as error:
            if len(group) == 1:
                await self._poison(group[0], error)
                return
            middle = len(group) // 2
            await self._commit(group[:middle])
            await self._commit(group[middle:])

    async def _commit_once(self, group: list[_Waiting], *, wait: bool = False) -> None:
        """Commit a group without a transaction; what was left out, because another transaction holds its task or
        because it takes more than one statement, once more in one. What is durable already is not stored again,
        whatever failed beside it."""
        context, pending = self._context, [waiting for waiting in group if not waiting.is_durable]
        if pending and not wait:
            callbacks = [waiting.callback for waiting in pending]
            result = await self._db.attempt(commit, callbacks, context.rules, in_one_statement=True)
            pending = self._resolve(pending, *result) if result is not None else pending
            metrics.groups_redone.inc(bool(pending))
        if pending:
            callbacks = [waiting.callback for waiting in pending]
            pending = self._resolve(pending, *await self._db.write(commit, callbacks, context.rules, wait=wait))
        for waiting in pending:
            self._defer(waiting)

    def _resolve(
        self, group: list[_Waiting], answers: list[Acknowledgement | None], effects: Effects
    ) -> list[_Waiting]:
        """Answer those whose callbacks are durable now; returns the others."""
        self._context.committed(effects)
        left_out = []
        for waiting, answer in zip(group, answers, strict=True):
            if answer is None:
                left_out.append(waiting)
                continue
            waiting.is_durable = True
            if not waiting.answer.done():
                waiting.answer.set_result(answer)
        if len(left_out) < len(group):
            metrics.group_sizes.observe(len(group) - len(left_out))
        return left_out

    def _defer(self, waiting: _Waiting) -> None:
        """Requeue a callback whose task another transaction holds, so that nobody else waits for that lock."""
        now = self._context.clock.monotonic()
        if waiting.deferred_at is None:
            waiting.deferred_at = now
        if now - waiting.deferred_at >= LOCK_PATIENCE_S:
            task = asyncio.create_task(self._commit_alone(waiting))
            self._alone.add(task)
            task.add_done_callback(self._alone.discard)
        else:
            asyncio.get_running_loop().call_later(STEP_BACK_S, self._requeue, waiting)

    async def _commit_alone(self, waiting: _Waiting) -> None:
        # Whoever waits keeps a connection of the callbacks' lane, and the writers need the others.
        async with self._lock_waiter:
            if waiting.answer.done():
                return  # it was answered 503 meanwhile
            try:
                await self._commit_once([waiting], wait=True)
            except Unavailable as error:
                _fail(waiting, error.detail)
            except Exception as error:
                await self._poison(waiting, error)

    def _requeue(self, waiting: _Waiting) -> None:
        if not waiting.answer.done():
            self._queue.append(waiting)
            self.arrived.set()

    async def _poison(self, waiting: _Waiting, error: Exception) -> None:
        """Keep a callback that could not be applied, and answer 400; 503 where it cannot be kept now."""
        log.error("callback.poisoned", exc_info=error)
        try:
            await self._db.write(store_poisoned, waiting.callback, f"{type(error).__name__} while it was applied")
        except Unavailable as away:
            _fail(waiting, away.detail)
            return
        if not waiting.answer.done():
            waiting.answer.set_result(Acknowledgement(Disposition.POISONED, usable=False))


def _fail(waiting: _Waiting, why: str) -> None:
    """Answer 503. The error is a new one: that of the group holds, by its traceback, all of the group."""
    if not waiting.answer.done():
        waiting.answer.set_exception(Unavailable(why))
