"""Telling clients: claim what is due of the outbox, post it signed, note what came of it.

Transaction → call → transaction. At least once: a sender that dies leaves its claim to its lease, and the receiver
may see a notification again, under the same ``webhook-id``. A receiver has a few places at once, so that a slow or
dead one delays nobody but itself.
"""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
import structlog

from app.caller.post import Answer, Caller, Delivered, Failed, Forbidden, Gone, Rejected
from app.caller.signing import sign
from app.domain.timing import JITTER, later
from app.domain.transition import Change
from app.flows.apply import apply
from app.flows.clients import ROTATION
from app.flows.context import Context
from app.storage import clients, outbox
from app.storage.outbox import Attempt, Letter, NotificationStatus
from app.telemetry import metrics

SCHEDULE_S: Final = (5.0, 30.0, 120.0, 600.0, 3600.0, 21_600.0, 86_400.0)
"""Waits after each failed attempt (contract); after the last there is one more attempt, and then none."""
SENDERS: Final = 64
"""Posts that one process has under way at most."""
PER_RECEIVER: Final = 4

log = structlog.get_logger(__name__)


class Notifier:
    """Claims and posts. ``step`` is called by its loop; posts go on beside it."""

    def __init__(self, context: Context, caller: Caller) -> None:
        self._context = context
        self._caller = caller
        self._db = context.loops_db()
        self._posting: dict[asyncio.Task[None], str] = {}
        self.stopping = False

    async def step(self) -> float | None:
        """Claim what there are places for and start posting it. Returns 0 if there may be more."""
        places = SENDERS - len(self._posting)
        if self.stopping or places <= 0:
            return None
        busy = Counter(self._posting.values())
        letters = await self._db.write(claim, self._context, busy, places, self._context.clock.now())
        for letter in letters:
            task = asyncio.create_task(self._post(letter), name=f"notify {letter.id}")
            self._posting[task] = letter.receiver
            task.add_done_callback(self._posted)
        return 0 if letters else None

    async def finish(self, timeout_s: float) -> None:
        """Stop claiming, and wait for what is being posted, at most so long."""
        self.stopping = True
        if self._posting:
            await asyncio.wait(self._posting, timeout=timeout_s)

    def _posted(self, task: asyncio.Task[None]) -> None:
        self._posting.pop(task, None)
        self._context.wakes.notify.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("notification.crashed", exc_info=error)

    async def _post(self, letter: Letter) -> None:
        context = self._context
        if self.stopping or context.clock.now() >= letter.leased_until:
            await self._db.write(outbox.give_back, [letter], context.clock.now())
            return
        answer: Answer | None = None
        if letter.secrets:
            message = sign(str(letter.id), letter.body, letter.secrets, context.clock.now())
            answer = await self._caller.post(letter.url, message)
        attempt = judge(letter.attempts, answer, context.clock.now())
        metrics.notifications.labels(outcome_of(answer)).inc()
        if attempt.status is not NotificationStatus.DELIVERED:
            log.warning(
                "notification.failed",
                notification_id=str(letter.id),
                task_id=str(letter.task_id),
                error=attempt.error,
                status=attempt.http_status,
                attempts=letter.attempts + 1,
                dead=attempt.due_at is None,
            )
        await self._db.write(settle, context, letter, attempt)


@dataclass(frozen=True, slots=True)
class _Said:
    """An answer as the log of notifications shows it."""

    http_status: int | None
    error: str | None
    retry_after_s: float | None = None


def claim(conn: sa.Connection, context: Context, busy: Counter[str], places: int, now: datetime) -> list[Letter]:
    """Claim what is due, at most ``places``, and of each receiver no more than it has places left."""
    lease_until = later(now, context.policy.lease_s)
    clients.end_rotations(conn, now - ROTATION)
    letters: list[Letter] = []
    for receiver in outbox.due_receivers(conn, now):
        room = min(PER_RECEIVER - busy[receiver], places - len(letters))
        if room > 0:
            letters += outbox.claim(conn, receiver, now, lease_until, room)
        if len(letters) >= places:
            break
    return letters


def judge(attempts: int, answer: Answer | None, now: datetime) -> Attempt:
    """What becomes of a notification after its attempt number ``attempts`` + 1. No answer: its client is gone."""
    if isinstance(answer, Delivered):
        return Attempt(NotificationStatus.DELIVERED, now, None, answer.status, None)
    said = _said(answer)
    if answer is None or isinstance(answer, Gone) or attempts >= len(SCHEDULE_S):
        return Attempt(NotificationStatus.DEAD, now, None, said.http_status, said.error)
    wait_s = SCHEDULE_S[attempts] * (1 + JITTER * random.uniform(-1, 1))
    due_at = later(now, wait_s if said.retry_after_s is None else max(said.retry_after_s, 1.0))
    return Attempt(NotificationStatus.PENDING, now, due_at, said.http_status, said.error)


def settle(conn: sa.Connection, context: Context, letter: Letter, attempt: Attempt) -> None:
    """Note what came of an attempt; its end is told in the task's timeline too."""
    if not outbox.settle(conn, letter, attempt) or attempt.due_at is not None:
        return
    detail = {
        "notification_id": str(letter.id),
        "notification": letter.type,
        "outcome": attempt.status.value,
        "attempts": letter.attempts + 1,
    }
    apply(conn, [Change(attempt.at, "notification", letter.task_id, detail=detail)], context.rules)


def outcome_of(answer: Answer | None) -> str:
    """A label of few values."""
    match answer:
        case None:
            return "client_revoked"
        case Delivered():
            return "delivered"
        case Gone():
            return "gone"
        case Rejected():
            return "rejected"
        case Failed(reason) | Forbidden(reason):
            return reason


def _said(answer: Answer | None) -> _Said:
    match answer:
        case Rejected(status, retry_after_s):
            return _Said(status, "rejected", retry_after_s)
        case Gone():
            return _Said(410, "gone")
        case Delivered(status):
            return _Said(status, None)
        case _:
            return _Said(None, outcome_of(answer))
