"""Callbacks: many at once into one transaction, and none acknowledged before it is committed (G1).

A request is admitted, read, and handed to a writer; it waits until the writer's group is committed.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from app.callbacks.batch import Writer
from app.callbacks.commit import Acknowledgement
from app.callbacks.inbox import Callback, digest_of
from app.context import Context
from app.database.database import Lane
from app.errors import Unavailable
from app.rules.observation import Reading
from app.runtime import metrics
from app.runtime.deadlines import Deadlines
from app.tasks import store
from app.tempolor import decoding, drift, wire
from app.tempolor.kinds import FAMILIES
from app.tempolor.tokens import SELF_CHECK

MOST_ENTRIES: Final = 512
MOST_BYTES: Final = 32 * 1024 * 1024
FULL: Final = "too many callbacks at once"
ANSWER_TIMEOUT_S: Final = 15.0
READ_AT_ONCE_BYTES: Final = 32 * 1024
"""What is larger is read beside the loop. The vendor sends a few kilobytes; a megabyte that is made for it, full of
escapes or nested numbers, takes some tenths of a second."""


class Admission:
    """What is being read or waits to be committed, in bytes: half-read bodies count from their first chunk."""

    def __init__(self) -> None:
        self._bytes = 0
        self._entries = 0

    def enter(self) -> None:
        """Take a place. Raises ``Unavailable`` over capacity."""
        if self._entries >= MOST_ENTRIES:
            raise Unavailable(FULL)
        self._entries += 1

    def hold(self, size: int) -> None:
        """Count bytes that arrived. Raises ``Unavailable`` over capacity."""
        if self._bytes + size > MOST_BYTES:
            raise Unavailable(FULL)
        self._bytes += size

    def leave(self, size: int) -> None:
        """Give the place and the bytes back."""
        self._entries -= 1
        self._bytes -= size


class Address(msgspec.Struct, frozen=True):
    """Where a callback came in: a family, and whom its token binds (None: nobody)."""

    family: str
    task_id: UUID | None


class _ReadBody(NamedTuple):
    """What a body says. ``body``: itself, without our secrets."""

    body: bytes
    readings: tuple[Reading, ...]
    oddities: wire.Oddities
    fault: str | None
    unknown: list[drift.Finding]


def _give_up(answer: asyncio.Future[Acknowledgement]) -> None:
    if not answer.done():
        answer.set_exception(Unavailable("the callback could not be stored in time"))


class CallbackIntake:
    """Takes callbacks in, and hands them to the writers: all of one task to the same, so that two never meet."""

    def __init__(self, context: Context, *, answer_timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self._context = context
        self._deadlines = Deadlines(answer_timeout_s, _give_up)
        patience = asyncio.Lock()
        self.writers = tuple(Writer(context, patience) for _ in range(context.db.groups_at_once))
        self.admission = Admission()
        self._reading_large = asyncio.Lock()

    async def rehearse(self) -> None:
        """Make the statements of an everyday group on a connection for each writer: the first callbacks would wait for
        that. A database that does not allow it now (it only reads) is no reason not to
        start."""
        db = self._context.db.on(Lane.CALLBACKS)
        with contextlib.suppress(Unavailable):
            await asyncio.gather(*(db.attempt(store.rehearse) for _ in self.writers))

    def open(self, family: str, token: str) -> Address | None:
        """Check the token of a callback URL (G7). None for anything but a valid one of this family."""
        found = self._context.tokens.verify(family, token)
        if found is None or family not in FAMILIES:
            return None
        return Address(family, found.task_id)

    def is_self_check(self, token: str) -> bool:
        """Whether a token is none for callbacks, but comes from a gateway with the same secrets."""
        return self._context.tokens.verify(SELF_CHECK, token) is not None

    def note_drift(self, to: Address, headers: Iterable[tuple[bytes, bytes]], client_address: str | None) -> None:
        """Note what is new of a request itself."""
        found = drift.of_request(to.family, headers, client_address)
        self._context.drift.note(found, self._context.clock.now())

    async def receive(self, to: Address, body: bytes, client_address: str | None) -> Acknowledgement:
        """Have one callback stored and applied; it is durable when this returns. Raises ``Unavailable``."""
        received = await self._read(to, body, client_address)
        writer = self.writers[to.task_id.int % len(self.writers) if to.task_id is not None else 0]
        answer = writer.put(received)
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

    async def _read(self, to: Address, raw: bytes, client_address: str | None) -> Callback:
        """A callback as it goes on. Repeats are known by what came."""
        received_at = self._context.clock.now()
        if len(raw) <= READ_AT_ONCE_BYTES:
            found = self._look(to, raw)
        else:
            async with self._reading_large:
                found = await asyncio.to_thread(self._look, to, raw)
        for oddity, times in found.oddities.items():
            metrics.callback_oddities.labels(oddity).inc(times)
        if found.unknown:
            self._context.drift.note(found.unknown, received_at)
        return Callback(
            id=self._context.ids(),
            digest=digest_of(to.task_id, to.family, raw),
            task_id=to.task_id,
            family=to.family,
            body=found.body,
            received_at=received_at,
            address=client_address,
            readings=found.readings,
            fault=found.fault,
        )

    def _look(self, to: Address, raw: bytes) -> _ReadBody:
        """Read a body without our secrets, which the vendor may send back. Called in threads too."""
        body = self._context.redactor.body(raw)
        family = FAMILIES[to.family]
        parsed, fault = wire.Body(), None
        try:
            parsed = wire.read_callback(body, family)
        except decoding.Malformed as error:
            fault = str(error)
        return _ReadBody(
            body, tuple(parsed.readings), parsed.oddities, fault, drift.of_callback(family, body, parsed.readings)
        )
