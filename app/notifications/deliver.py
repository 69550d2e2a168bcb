"""Deliver notifications: claim due rows of the outbox under a lease, post them signed, record the outcome.

Transaction → call → transaction. At least once: the claim of a sender that dies ends with its lease, and the receiver
may see a notification again, under the same ``webhook-id``. A receiver has a few places at once, so that a slow or
dead one delays nobody but itself.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

import sqlalchemy as sa
import structlog

from app.app_context import Context
from app.clients.clients import ROTATION
from app.database.database import Database
from app.database.tables import tasks
from app.errors import Unavailable
from app.notifications import outbox
from app.notifications.outbox import Attempt, ClaimedNotification
from app.notifications.post import (
    Answer,
    Answered,
    Delivered,
    Forbidden,
    Gone,
    Rejected,
    Unreadable,
    WebhookSender,
    outcome_of,
)
from app.notifications.render import rendered
from app.rules.schedule import JITTER
from app.rules.times import later
from app.rules.transition import Change
from app.runtime import metrics, traces
from app.runtime.loops import Background
from app.runtime.signing import sign
from app.tasks.apply import Effects, load_locked, save_locked, step_all
from app.tasks.notification_rows import NotificationStatus, client_of

SCHEDULE_S: Final = (5.0, 30.0, 120.0, 600.0, 3600.0, 21_600.0, 86_400.0)
"""Retry schedule: waits after each failed attempt (contract); after the last there is one more attempt."""
MOST_ANSWER_CHARS: Final = 200
"""Of a receiver's answer, kept with the attempt."""
SENDERS: Final = 64
"""Posts that one process has under way at most."""
PER_RECEIVER: Final = 4
PER_CLIENT: Final = SENDERS * 3 // 4
OPEN_TO_ALL: Final = SENDERS // 2
"""Places that any receiver may take. The rest are kept for receivers that have nothing under way, or a few dead ones
would take all of them."""
PROMPT_ATTEMPTS: Final = 3
"""Attempts after which ``Retry-After`` can only lengthen the wait: a short one at each attempt would use up a schedule
of a day within seconds."""
SETTLE_RETRY_S: Final = 1.0

log = structlog.get_logger(__name__)


class FairOrder:
    """Fair order of receivers. ``cursor``: the receiver at which the next claim begins, where there are more than one
    claim can look at."""

    def __init__(self) -> None:
        self._served: dict[str, int] = {}
        self._count = 0
        self.cursor = ""

    def note_claimed(self, batch: list[ClaimedNotification], cursor: str) -> None:
        """Note whom a claim served, and where the next one begins."""
        self.cursor = cursor
        for notification in batch:
            self._count += 1
            self._served.pop(notification.receiver, None)
            self._served[notification.receiver] = self._count
        while len(self._served) > outbox.MOST_RECEIVERS:
            del self._served[next(iter(self._served))]

    def ordered(self, receivers: list[str], busy: Counter[str]) -> list[str]:
        """Clients in turns, those with the least under way first; of each its receivers with the least under way
        first, then those that were served longest ago. By due time alone a few dead receivers, whose backlog is the
        oldest, would take each place that becomes free; and a client with many receivers all of them."""
        of_client: dict[str, list[str]] = {}
        for receiver in sorted(receivers, key=lambda each: (busy[each], self._served.get(each, 0))):
            of_client.setdefault(client_of(receiver), []).append(receiver)
        busy_clients = _by_client(busy)
        ranked = [
            (busy_clients[name] + rank, receiver)
            for name, own in of_client.items()
            for rank, receiver in enumerate(own)
        ]
        return [receiver for _, receiver in sorted(ranked, key=lambda pair: pair[0])]


class Notifier:
    """Claims and posts notifications. ``step`` is an iteration of its loop and does not wait for the posts."""

    def __init__(self, context: Context, sender: WebhookSender) -> None:
        self._context = context
        self._sender = sender
        self._db = context.loops_db()
        self._posting = Background[None](_crashed, context.wakes.notify.set)
        self._busy: Counter[str] = Counter()
        self._order = FairOrder()
        self.stopping = False

    async def step(self) -> float | None:
        """Claim as many as there are places for, and start posting them. Returns 0 if there may be more."""
        places = SENDERS - len(self._posting)
        if self.stopping or places <= 0:
            return None
        now = self._context.clock.now()
        claimed = await self._db.write(claim, self._context, self._order, self._busy.copy(), places, now)
        self._order.note_claimed(claimed.batch, claimed.cursor)
        for notification, body in zip(claimed.batch, claimed.bodies, strict=True):
            self._busy[notification.receiver] += 1
            task = self._posting.start(self._post(notification, body), f"notify {notification.id}")
            task.add_done_callback(partial(self._posted, notification.receiver))
        return 0 if claimed.batch or claimed.cursor else None

    async def finish(self, timeout_s: float) -> None:
        """Stop claiming, and wait ``timeout_s`` at most for posts under way; the rest is left to its lease."""
        self.stopping = True
        posting = list(self._posting)
        await self._posting.finish(timeout_s)
        for task in posting:
            task.cancel()
        await asyncio.gather(*posting, return_exceptions=True)

    def _posted(self, receiver: str, _task: asyncio.Task[None]) -> None:
        self._busy[receiver] -= 1
        if not self._busy[receiver]:
            del self._busy[receiver]

    async def _post(self, notification: ClaimedNotification, body: bytes | None) -> None:
        context = self._context
        structlog.contextvars.bind_contextvars(
            notification_id=str(notification.id),
            task_id=str(notification.task_id),
            client=notification.client_name,
        )
        # A post must end within the lease, or another sender posts the same beside it: one that would begin late is
        # given back.
        if self.stopping or later(context.clock.now(), context.policy.lease_s / 2) >= notification.leased_until:
            await self._db.write(outbox.give_back, notification, context.clock.now())
            return
        answer: Answer | Unreadable | None = None
        if notification.secrets and body is None:
            answer = Unreadable()
        elif notification.secrets and body is not None:
            message = sign(str(notification.id), body, notification.secrets, context.clock.now())
            async with _traced(self._db, notification) as span:
                answer = await self._sender.post(notification.url, message, traces.headers())
                span.note(outcome=outcome_of(answer))
        attempt = judge(notification.attempts, answer, context.clock.now())
        metrics.notifications.labels(outcome_of(answer)).inc()
        if attempt.status is NotificationStatus.DEAD:
            metrics.notifications_dead.inc()
        if attempt.status is not NotificationStatus.DELIVERED:
            # A dead receiver fails at every attempt of every notification: the first failure and the last will do.
            first_or_last = notification.attempts == 0 or attempt.due_at is None
            log.log(
                logging.WARNING if first_or_last else logging.DEBUG,
                "notification.failed",
                error=attempt.error,
                status=attempt.http_status,
                attempts=notification.attempts + 1,
                dead=attempt.due_at is None,
            )
        await self._settle(notification, attempt, body)

    async def _settle(self, notification: ClaimedNotification, attempt: Attempt, body: bytes | None) -> None:
        """Record the outcome of a post; retried while the database is away and the lease lasts, since what is not
        recorded is posted once more."""
        context = self._context
        while True:
            try:
                context.committed(await self._db.write(settle, context, notification, attempt, body))
                return
            except Unavailable:
                if context.clock.now() >= notification.leased_until:
                    raise
                await context.clock.sleep(SETTLE_RETRY_S)
            except Exception as error:
                # A task whose timeline cannot be written must not have its notification posted for ever.
                log.error("notification.not_told", notification_id=str(notification.id), exc_info=error)
                await self._db.write(outbox.settle, notification, attempt, body)
                return


@dataclass(frozen=True, slots=True)
class Claimed:
    """A batch of notifications under a lease, and the body of each; None where the snapshot cannot be decoded.
    ``cursor``: the receiver at which the next claim begins."""

    batch: list[ClaimedNotification]
    bodies: list[bytes | None]
    cursor: str


def claim(
    conn: sa.Connection, context: Context, order: FairOrder, busy: Counter[str], places: int, now: datetime
) -> Claimed:
    """Claim due notifications, at most ``places``, and of each receiver no more than it has places left."""
    lease_until = later(now, context.policy.lease_s)
    batch: list[ClaimedNotification] = []
    busy_clients = _by_client(busy)
    due, cursor = outbox.due_receivers(conn, now, order.cursor)
    for receiver in order.ordered(due, busy):
        left = places - len(batch)
        shared = left - (SENDERS - OPEN_TO_ALL)
        client_name = client_of(receiver)
        room = min(PER_RECEIVER - busy[receiver], max(shared, 0 if busy[receiver] else min(left, 1)))
        room = min(room, PER_CLIENT - busy_clients[client_name])
        if room > 0:
            claimed = outbox.claim(conn, receiver, now, lease_until, room, rotated_after=now - ROTATION)
            busy_clients[client_name] += len(claimed)
            batch += claimed
    return Claimed(batch, rendered(conn, batch, context), cursor)


def _by_client(busy: Counter[str]) -> Counter[str]:
    """Add up posts under way by client."""
    busy_clients: Counter[str] = Counter()
    for receiver, count in busy.items():
        busy_clients[client_of(receiver)] += count
    return busy_clients


def judge(attempts: int, answer: Answer | Unreadable | None, now: datetime) -> Attempt:
    """Decide between delivered, retry and dead after attempt number ``attempts`` + 1. Dead at once: its client was
    revoked (no answer), the receiver wants no more, or its address may not be called."""
    answered = answer if isinstance(answer, Answered) else None
    status, text = (answered.status, answered.text[:MOST_ANSWER_CHARS]) if answered else (None, None)
    if isinstance(answer, Delivered):
        return Attempt(NotificationStatus.DELIVERED, now, None, status, None, text)
    outcome = outcome_of(answer)
    if answer is None or isinstance(answer, (Gone, Forbidden)) or attempts >= len(SCHEDULE_S):
        return Attempt(NotificationStatus.DEAD, now, None, status, outcome, text)
    wait_s = SCHEDULE_S[attempts] * (1 + JITTER * random.uniform(-1, 1))
    if isinstance(answer, Rejected) and answer.retry_after_s is not None:
        wait_s = answer.retry_after_s if attempts < PROMPT_ATTEMPTS else max(answer.retry_after_s, wait_s)
    return Attempt(NotificationStatus.PENDING, now, later(now, wait_s), status, outcome, text)


def settle(
    conn: sa.Connection, context: Context, notification: ClaimedNotification, attempt: Attempt, body: bytes | None
) -> Effects:
    """Record the outcome of an attempt; the last one in the task's timeline too."""
    if attempt.due_at is not None:
        outbox.settle(conn, notification, attempt, body)
        return Effects()
    detail = {
        "notification_id": str(notification.id),
        "notification": notification.type,
        "outcome": attempt.status.value,
        "attempts": notification.attempts + 1,
    }
    changes = [Change(attempt.at, "notification", notification.task_id, detail=detail)]
    # The task's lock comes before the outbox everywhere.
    unit = load_locked(conn, changes)
    if not outbox.settle(conn, notification, attempt, body):
        return Effects()
    effects = step_all(unit, changes, context.rules)
    save_locked(conn, unit, context.rules)
    return effects


@asynccontextmanager
async def _traced(db: Database, notification: ClaimedNotification) -> AsyncIterator[traces.Span]:
    """A span around one attempt to notify, in the trace of its task. Costs a read while somebody traces."""
    if not traces.is_on():
        yield traces.Span()
        return
    parent = await db.read(_traceparent_of, notification.task_id)
    ids = {"notification_id": str(notification.id), "task_id": str(notification.task_id)}
    with traces.span("notify", parent=parent, kind="client", notification=notification.type, **ids) as span:
        yield span


def _traceparent_of(conn: sa.Connection, task_id: UUID) -> str | None:
    """Read the trace that a task belongs to."""
    return conn.scalar(sa.select(tasks.c.traceparent).where(tasks.c.id == task_id))


def _crashed(error: BaseException) -> None:
    log.error("notification.crashed", exc_info=error)
