"""Telling clients: claim what is due of the outbox, post it signed, note what came of it.

Transaction → call → transaction. At least once: a sender that dies leaves its claim to its lease, and the receiver
may see a notification again, under the same ``webhook-id``. A receiver has a few places at once, so that a slow or
dead one delays nobody but itself.
"""

import asyncio
import logging
import random
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

import sqlalchemy as sa
import structlog

from app.clients.clients import ROTATION
from app.context import Context
from app.errors import Unavailable
from app.notifications import outbox
from app.notifications.outbox import Attempt, ClaimedNotification
from app.notifications.post import Answer, Delivered, Failed, Forbidden, Gone, Rejected, WebhookSender
from app.notifications.render import rendered, sign
from app.rules.timing import JITTER, later
from app.rules.transition import Change
from app.runtime import metrics, traces
from app.runtime.loops import Background
from app.tasks import tracing
from app.tasks.apply import Applied, load_locked, save_locked, step_all
from app.tasks.notices import NotificationStatus, client_of

SCHEDULE_S: Final = (5.0, 30.0, 120.0, 600.0, 3600.0, 21_600.0, 86_400.0)
"""Waits after each failed attempt (contract); after the last there is one more attempt, and then none."""
SENDERS: Final = 64
"""Posts that one process has under way at most."""
PER_RECEIVER: Final = 4
PER_CLIENT: Final = SENDERS * 3 // 4
OPEN_TO_ALL: Final = SENDERS // 2
"""Places that any receiver may take. The rest are kept for receivers that have nothing under way, or a few dead ones
would take all of them."""
PROMPT_ATTEMPTS: Final = 3
"""After so many attempts a receiver can only ask for later than the schedule has it: a short ``Retry-After`` at each
attempt would use up a schedule of a day within seconds."""
SETTLE_RETRY_S: Final = 1.0

log = structlog.get_logger(__name__)


class Turns:
    """Whose turn it is. ``first``: where to go on among more receivers than can be looked at in one claim."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._count = 0
        self.first = ""

    def took(self, batch: list[ClaimedNotification], first: str) -> None:
        """These were claimed; the next claim begins at ``first``."""
        self.first = first
        for notification in batch:
            self._count += 1
            self._last.pop(notification.receiver, None)
            self._last[notification.receiver] = self._count
        while len(self._last) > outbox.MOST_RECEIVERS:
            del self._last[next(iter(self._last))]

    def ordered(self, receivers: list[str], busy: Counter[str]) -> list[str]:
        """Clients in turns, those with the least under way first; of each its receivers with the least under way
        first, then those that were served longest ago. By due time alone a few dead receivers, whose backlog is the
        oldest, would take each place that becomes free; and a client with many receivers all of them."""
        of_client: dict[str, list[str]] = {}
        for one in sorted(receivers, key=lambda each: (busy[each], self._last.get(each, 0))):
            of_client.setdefault(client_of(one), []).append(one)
        held = _by_client(busy)
        ranked = [(held[name] + rank, one) for name, own in of_client.items() for rank, one in enumerate(own)]
        return [one for _, one in sorted(ranked, key=lambda pair: pair[0])]


class Notifier:
    """Claims and posts. ``step`` is called by its loop; posts go on beside it."""

    def __init__(self, context: Context, caller: WebhookSender) -> None:
        self._context = context
        self._caller = caller
        self._db = context.loops_db()
        self._posting = Background[None](_crashed, context.wakes.notify.set)
        self._busy: Counter[str] = Counter()
        self._turns = Turns()
        self.stopping = False

    async def step(self) -> float | None:
        """Claim what there are places for and start posting it. Returns 0 if there may be more."""
        places = SENDERS - len(self._posting)
        if self.stopping or places <= 0:
            return None
        now = self._context.clock.now()
        claimed = await self._db.write(claim, self._context, self._turns, self._busy.copy(), places, now)
        batch, go_on = claimed.batch, claimed.go_on
        self._turns.took(batch, go_on)
        for notification, body in zip(batch, claimed.bodies, strict=True):
            self._busy[notification.receiver] += 1
            task = self._posting.start(self._post(notification, body), f"notify {notification.id}")
            task.add_done_callback(partial(self._posted, notification.receiver))
        return 0 if batch or go_on else None

    async def finish(self, timeout_s: float) -> None:
        """Stop claiming, and wait for what is being posted, at most so long; what is left is given up to its lease."""
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
        named = {"task_id": str(notification.task_id), "client": notification.client_name}
        structlog.contextvars.bind_contextvars(notification_id=str(notification.id), **named)
        # A post must end within the lease, or another sender posts the same beside it: who begins late gives it back.
        is_late = later(context.clock.now(), context.policy.lease_s / 2) >= notification.leased_until
        if self.stopping or is_late:
            await self._db.write(outbox.give_back, notification, context.clock.now())
            return
        answer: Answer | Unreadable | None = None
        if notification.secrets and body is None:
            answer = Unreadable()
        elif notification.secrets and body is not None:
            message = sign(str(notification.id), body, notification.secrets, context.clock.now())
            async with tracing.notifying(self._db, notification.id, notification.task_id, notification.type) as span:
                answer = await self._caller.post(notification.url, message, traces.headers())
                span.note(outcome=outcome_of(answer))
        attempt = judge(notification.attempts, answer, context.clock.now())
        metrics.notifications.labels(outcome_of(answer)).inc()
        if attempt.status is NotificationStatus.DEAD:
            metrics.notifications_dead.inc()
        if attempt.status is not NotificationStatus.DELIVERED:
            # A dead receiver fails at every attempt of every notification: its first word and its last will do.
            loud = notification.attempts == 0 or attempt.due_at is None
            log.log(
                logging.WARNING if loud else logging.DEBUG,
                "notification.failed",
                error=attempt.error,
                status=attempt.http_status,
                attempts=notification.attempts + 1,
                dead=attempt.due_at is None,
            )
        await self._settle(notification, attempt, body)

    async def _settle(self, notification: ClaimedNotification, attempt: Attempt, body: bytes | None) -> None:
        """Note what came of a post, again and again while the database is away and the lease lasts: what is not
        noted is posted once more."""
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


class Unreadable:
    """In place of an answer: a snapshot that cannot be read, of another release say, was not posted. It is tried
    again as if it had failed, and nobody else's notifications wait for it."""


@dataclass(frozen=True, slots=True)
class _LoggedAnswer:
    """An answer as the log of notifications shows it."""

    http_status: int | None
    error: str | None
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """``bodies`` matches the batch; None for one that cannot be read. ``go_on``: the receiver at which the next
    claim begins."""

    batch: list[ClaimedNotification]
    bodies: list[bytes | None]
    go_on: str


def claim(
    conn: sa.Connection, context: Context, turns: Turns, busy: Counter[str], places: int, now: datetime
) -> Claimed:
    """Claim what is due, at most ``places``, and of each receiver no more than it has places left."""
    lease_until = later(now, context.policy.lease_s)
    batch: list[ClaimedNotification] = []
    held = _by_client(busy)
    due, go_on = outbox.due_receivers(conn, now, turns.first)
    for receiver in turns.ordered(due, busy):
        left = places - len(batch)
        shared = left - (SENDERS - OPEN_TO_ALL)
        client_name = client_of(receiver)
        room = min(PER_RECEIVER - busy[receiver], max(shared, 0 if busy[receiver] else min(left, 1)))
        room = min(room, PER_CLIENT - held[client_name])
        if room > 0:
            found = outbox.claim(conn, receiver, now, lease_until, room, rotated_after=now - ROTATION)
            held[client_name] += len(found)
            batch += found
    return Claimed(batch, rendered(conn, batch, context.policy), go_on)


def _by_client(busy: Counter[str]) -> Counter[str]:
    """How much each client has under way."""
    held: Counter[str] = Counter()
    for receiver, count in busy.items():
        held[client_of(receiver)] += count
    return held


def judge(attempts: int, answer: Answer | Unreadable | None, now: datetime) -> Attempt:
    """What becomes of a notification after its attempt number ``attempts`` + 1. No answer: its client is gone."""
    if isinstance(answer, Delivered):
        return Attempt(NotificationStatus.DELIVERED, now, None, answer.status, None)
    said = _said(answer)
    if answer is None or isinstance(answer, Gone) or attempts >= len(SCHEDULE_S):
        return Attempt(NotificationStatus.DEAD, now, None, said.http_status, said.error)
    wait_s = SCHEDULE_S[attempts] * (1 + JITTER * random.uniform(-1, 1))
    if said.retry_after_s is not None:
        wait_s = max(said.retry_after_s, 1.0 if attempts < PROMPT_ATTEMPTS else wait_s)
    due_at = later(now, wait_s)
    return Attempt(NotificationStatus.PENDING, now, due_at, said.http_status, said.error)


def settle(
    conn: sa.Connection, context: Context, notification: ClaimedNotification, attempt: Attempt, body: bytes | None
) -> Applied:
    """Note what came of an attempt; its end is told in the task's timeline too."""
    if attempt.due_at is not None:
        outbox.settle(conn, notification, attempt, body)
        return Applied()
    detail = {
        "notification_id": str(notification.id),
        "notification": notification.type,
        "outcome": attempt.status.value,
        "attempts": notification.attempts + 1,
    }
    changes = [Change(attempt.at, "notification", notification.task_id, detail=detail)]
    # The task's lock comes before the outbox everywhere.
    loaded = load_locked(conn, changes)
    if not outbox.settle(conn, notification, attempt, body):
        return Applied()
    applied = step_all(loaded, changes, context.rules)
    save_locked(conn, loaded, context.rules)
    return applied


def _crashed(error: BaseException) -> None:
    log.error("notification.crashed", exc_info=error)


def outcome_of(answer: Answer | Unreadable | None) -> str:
    """A label of few values."""
    match answer:
        case None:
            return "client_revoked"
        case Unreadable():
            return "unreadable"
        case Delivered():
            return "delivered"
        case Gone():
            return "gone"
        case Rejected():
            return "rejected"
        case Failed(reason) | Forbidden(reason):
            return reason


def _said(answer: Answer | Unreadable | None) -> _LoggedAnswer:
    match answer:
        case Rejected(status, retry_after_s):
            return _LoggedAnswer(status, "rejected", retry_after_s)
        case Gone():
            return _LoggedAnswer(410, "gone")
        case Delivered(status):
            return _LoggedAnswer(status, None)
        case _:
            return _LoggedAnswer(None, outcome_of(answer))
