"""Admit, read and queue callbacks, bounded in number, bytes and time; none is acknowledged before it is committed (G1).

A request is admitted, read, and handed to a writer; it waits until the writer's group is committed.
"""

import asyncio
import contextlib
from collections.abc import Callable, Hashable, Iterable
from datetime import datetime
from functools import partial
from typing import Final, Generic, TypeVar
from uuid import UUID

from app.app_context import Context
from app.callbacks.batch import Writer
from app.callbacks.commit import Acknowledgement, Callback, digest_of
from app.database.database import Lane
from app.errors import Unavailable
from app.runtime import metrics
from app.tasks import state_store
from app.tempolor import decoding, drift, item_readings
from app.tempolor.callback_tokens import Token
from app.tempolor.kinds import FAMILIES

MOST_ENTRIES: Final = 512
MOST_BYTES: Final = 32 * 1024 * 1024
FULL: Final = "too many callbacks at once"
ANSWER_TIMEOUT_S: Final = 15.0
READ_AT_ONCE_BYTES: Final = 32 * 1024
"""What is larger is read beside the loop. The vendor sends a few kilobytes; a megabyte that is made for it, full of
escapes or nested numbers, takes some tenths of a second."""

T = TypeVar("T", bound=Hashable)


class Admission:
    """Bound what is read or waits to be committed, in entries and bytes: half-read bodies count from their first
    chunk."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._entries = 0

    def enter(self) -> None:
        """Take a place. Raises ``Unavailable`` over capacity."""
        if self._entries >= MOST_ENTRIES:
            raise Unavailable(FULL)
        self._entries += 1

    def take_bytes(self, size: int) -> None:
        """Count bytes that arrived. Raises ``Unavailable`` over capacity."""
        if self._bytes + size > self._most_bytes:
            raise Unavailable(FULL)
        self._bytes += size

    def leave(self, size: int) -> None:
        """Give the place and the bytes back."""
        self._entries -= 1
        self._bytes -= size


class Deadlines(Generic[T]):
    """Calls ``give_up`` for each waiter that is not removed within ``timeout_s``. All have the same time-out, so they
    expire in the order in which they were added, and only the first needs a timer: one of the event loop for each
    callback, or a time-out context, costs more than to hash its body. Belongs to one event loop."""

    def __init__(self, timeout_s: float, give_up: Callable[[T], None]) -> None:
        self._timeout_s = timeout_s
        self._give_up = give_up
        self._due: dict[T, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, waiter: T) -> None:
        """Start a waiter's time-out; restart it if the waiter was added before."""
        loop = asyncio.get_running_loop()
        self._due.pop(waiter, None)
        self._due[waiter] = due = loop.time() + self._timeout_s
        if self._timer is None:
            self._timer = loop.call_at(due, self._expire)

    def remove(self, waiter: T) -> None:
        """End a waiter's time-out. Nothing happens if it was given up before."""
        self._due.pop(waiter, None)

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        try:
            for waiter in [waiter for waiter, due in self._due.items() if due <= now]:
                self.remove(waiter)
                self._give_up(waiter)
        finally:
            first_due = next(iter(self._due.values()), None)
            self._timer = loop.call_at(first_due, self._expire) if first_due is not None else None


def _give_up(answer: asyncio.Future[Acknowledgement]) -> None:
    if not answer.done():
        answer.set_exception(Unavailable("the callback could not be stored in time"))


class CallbackIntake:
    """Read callbacks and hand them to the writers: all of one task to the same writer, so that two never meet."""

    def __init__(
        self, context: Context, *, most_body_bytes: int = 0, answer_timeout_s: float = ANSWER_TIMEOUT_S
    ) -> None:
        self._context = context
        self._deadlines = Deadlines(answer_timeout_s, _give_up)
        lock_waiter = asyncio.Lock()
        self.writers = tuple(Writer(context, lock_waiter) for _ in range(context.db.groups_at_once))
        # There is room for one body of the greatest size that is allowed.
        self.admission = Admission(max(MOST_BYTES, most_body_bytes))
        self.tokens = context.tokens
        self._reading_large = asyncio.Lock()

    async def rehearse(self) -> None:
        """Prepare the statements of an everyday group on a connection for each writer: the first callbacks would wait
        for that. A database that takes no writes now is no reason not to start."""
        db = self._context.db.on(Lane.CALLBACKS)
        with contextlib.suppress(Unavailable):
            await asyncio.gather(*(db.attempt(state_store.rehearse) for _ in self.writers))

    async def receive(
        self, token: Token, body: bytes, address: str | None, headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> Acknowledgement:
        """Have one callback stored and applied; it is durable when this returns. What is odd in it is counted, what is
        unknown noted. Raises ``Unavailable``."""
        context, received_at = self._context, self._context.clock.now()
        read = partial(self._read, token, body, address, context.ids(), received_at)
        if len(body) <= READ_AT_ONCE_BYTES:
            callback, oddities, unknown = read()
        else:
            async with self._reading_large:
                callback, oddities, unknown = await asyncio.to_thread(read)
        for oddity, times in oddities.items():
            metrics.callback_oddities.labels(oddity).inc(times)
        of_request = drift.of_request(token.family, frozenset([name for name, _ in headers]), address)
        context.drift.note((*of_request, *unknown), received_at)
        writer = self.writers[token.task_id.int % len(self.writers) if token.task_id is not None else 0]
        answer = writer.put(callback)
        self._deadlines.add(answer)
        try:
            return await answer
        finally:
            self._deadlines.remove(answer)
            # An answer that is an error has this frame in its traceback: they would hold each other, and the body.
            del answer

    def fail_all(self) -> None:
        """Answer everybody who waits with 503: the process ends."""
        for writer in self.writers:
            writer.fail_all()

    def _read(
        self, token: Token, raw: bytes, address: str | None, callback_id: UUID, received_at: datetime
    ) -> tuple[Callback, item_readings.Oddities, list[drift.Finding]]:
        """Read a body without our secrets, which the vendor may send back. A repeat is known by what came, with them.
        Called in threads too."""
        body = self._context.redactor.body(raw)
        family = FAMILIES[token.family]
        parsed, fault = item_readings.Body(), None
        try:
            parsed = item_readings.read_callback(body, family)
        except decoding.Malformed as error:
            fault = str(error)
        callback = Callback(
            id=callback_id,
            digest=digest_of(token.task_id, token.family, raw),
            task_id=token.task_id,
            family=token.family,
            body=body,
            received_at=received_at,
            address=address,
            readings=tuple(parsed.readings),
            fault=fault,
        )
        return callback, parsed.oddities, drift.of_callback(family, body, parsed.readings)
