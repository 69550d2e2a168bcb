"""Streams of tasks: what one reader is still to be sent, bounded however slowly it reads (backpressure).

A reader is sent the latest state of each task, not each change: while it does not read, a task that changes again
takes no more room. One that falls far behind catches up from the timeline, from the position up to which it has
everything.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final
from uuid import UUID

from app.app_context import Context
from app.errors import InvalidRequest, Unavailable
from app.rules.client import Client
from app.rules.times import from_us, to_us
from app.watching import store
from app.watching.current_documents import Current, EncodedTask

MOST_PENDING: Final = 1_000
"""Tasks that wait to be sent to one reader."""
MOST_REMEMBERED: Final = 1_000
"""Tasks of which a stream remembers what it sent, so that it does not send the same twice."""
CHUNK: Final = 20
"""Tasks that are held in memory for one reader."""


@dataclass(frozen=True, slots=True)
class Event:
    """``id``: where to resume after it. ``body``: a task as JSON; None if only the position has moved."""

    id: str
    body: bytes | None


class Stream(ABC):
    """A stream to one reader of this client. ``events`` ends when the stream is closed, or by itself."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.closed = asyncio.Event()
        self._news = asyncio.Event()

    @property
    def scope(self) -> str | None:
        """Whose tasks the reader may see; None: everybody's."""
        return None if self.client.is_admin else self.client.name

    @property
    @abstractmethod
    def position(self) -> str:
        """The event id from which a reader that has read everything sent so far may resume."""

    @abstractmethod
    def events(self) -> AsyncIterator[Any]:
        """Yield what is sent as it comes."""

    def close(self) -> None:
        """End the stream; the reader may resume elsewhere."""
        self.closed.set()
        self._news.set()

    async def _wait(self) -> None:
        await self._news.wait()
        self._news.clear()


class TaskStream(Stream):
    """A stream of one task. Event ids are its versions. Ends once the task has ended and its last state was sent."""

    def __init__(self, client: Client, task_id: UUID, current: Current, after_version: int) -> None:
        super().__init__(client)
        self.task_id = task_id
        self._current = current
        self._sent = after_version
        self._offered = 0
        self._ended_at: int | None = None

    @property
    def position(self) -> str:
        return str(self._sent)

    def begin_anew(self) -> None:
        """Take the reader for one that has nothing of the task."""
        self._sent = 0

    def offer(self, version: int, *, ended: bool) -> None:
        """Note that there is this version; ``ended``: it may be the last."""
        if version > max(self._sent, self._offered) or ended:
            self._offered = max(version, self._offered)
            self._ended_at = version if ended else None
            self._news.set()

    async def events(self) -> AsyncIterator[Event]:
        """Yield the task as it is, and at each change; ends without an error where the database is away or the task is
        gone."""
        while not self.closed.is_set():
            try:
                states = await self._current.at_least({self.task_id: max(self._offered, 1)})
            except Unavailable:
                return
            state = states.get(self.task_id)
            if state is None:
                return
            if state.version > self._sent:
                yield Event(str(state.version), state.body)
                self._sent = state.version
            # A task may end without a visible change.
            if (state.ended or state.version == self._ended_at) and state.version >= self._offered:
                return
            if self._offered <= self._sent:
                await self._wait()


class ClientStream(Stream):
    """A stream of all tasks that a client may see. Event ids are positions in time, in microseconds: everything that
    happened more than ``overlap`` before one was sent before it. ``resume_at``: the position to resume from; None: from
    now on. A slow reader, for whom more than ``most_pending`` tasks wait, catches up from the timeline."""

    def __init__(
        self, client: Client, context: Context, current: Current, overlap: timedelta, resume_at: datetime | None
    ) -> None:
        super().__init__(client)
        self._overlap = overlap
        self._context = context
        self._current = current
        now = context.clock.now()
        self._position = min(resume_at, now) if resume_at is not None else now
        self._reached = self._position
        self._behind = resume_at is not None
        self._pending: dict[UUID, int] = {}
        self._sent: dict[UUID, int] = {}
        self._sending = False
        self.most_pending = MOST_PENDING

    @property
    def position(self) -> str:
        return str(to_us(self._done_until()))

    @property
    def pending(self) -> int:
        """How many tasks wait to be sent."""
        return len(self._pending)

    def offer(self, task_id: UUID, version: int) -> None:
        """Note that there is this version of one of the reader's tasks."""
        if len(self._pending) >= self.most_pending and task_id not in self._pending:
            self.fall_behind()
        else:
            self._pending[task_id] = version
        self._news.set()

    def fall_behind(self) -> None:
        """Have the stream catch up from its position, since something may not have been offered."""
        # A position that lies ahead is of a clock that was set back since.
        self._position = self._reached = min(self._done_until(), self._context.clock.now())
        self._pending.clear()
        self._behind = True
        self._news.set()

    def reach(self, position: datetime) -> None:
        """Note that everything up to this position was offered."""
        self._reached = max(self._reached, position)

    async def events(self) -> AsyncIterator[Event]:
        """Yield tasks that change, each as it is when it is sent; ends without an error where the database is away."""
        yield Event(self.position, None)
        try:
            while not self.closed.is_set():
                if self._behind:
                    async for event in self._catch_up():
                        yield event
                elif self._pending:
                    async for event in self._send_pending():
                        yield event
                else:
                    await self._wait()
        except Unavailable:
            return

    def _done_until(self) -> datetime:
        idle = not (self._sending or self._pending or self._behind)
        return max(self._position, self._reached) if idle else self._position

    async def _send_pending(self) -> AsyncIterator[Event]:
        pending, self._pending = self._pending, {}
        reached = self._reached
        self._sending = True
        async for event in self._send(pending, reached):
            yield event
        self._sending = False

    async def _catch_up(self) -> AsyncIterator[Event]:
        """Read what changed since the position, by keyset pages. What changes meanwhile is offered all the same."""
        self._behind = False
        self._sending = True
        after = self._position - self._overlap - timedelta(microseconds=1)
        until: datetime | None = after
        while until is not None and not self.closed.is_set():
            now = self._context.clock.now()
            page = await self._context.db.read(store.changed_after, after, self.scope)
            until = page.until
            position = now if until is None else min(until + self._overlap, now)
            async for event in self._send(dict.fromkeys(page.task_ids), position):
                yield event
            after = until or after
        self._sending = False

    async def _send(self, wanted: Mapping[UUID, int | None], position: datetime) -> AsyncIterator[Event]:
        """Send tasks; the last of them carries the new position."""
        previous: EncodedTask | None = None
        rest = iter(wanted.items())
        while not self.closed.is_set() and (chunk := dict(islice(rest, CHUNK))):
            for task_id, state in await self._read(chunk):
                if state.version <= self._sent.get(task_id, 0):
                    continue
                if previous is not None:
                    yield Event(str(to_us(self._position)), previous.body)
                previous = state
                self._remember(task_id, state.version)
        if self.closed.is_set():
            return
        position = max(self._position, position)
        if previous is not None:
            yield Event(str(to_us(position)), previous.body)
        self._position = position

    async def _read(self, wanted: Mapping[UUID, int | None]) -> Iterable[tuple[UUID, EncodedTask]]:
        known = {task_id: version for task_id, version in wanted.items() if version is not None}
        unknown = [task_id for task_id, version in wanted.items() if version is None]
        states = await self._current.at_least(known) | await self._current.read(unknown)
        return [(task_id, states[task_id]) for task_id in wanted if task_id in states]

    def _remember(self, task_id: UUID, version: int) -> None:
        self._sent.pop(task_id, None)
        self._sent[task_id] = version
        if len(self._sent) > MOST_REMEMBERED:
            del self._sent[next(iter(self._sent))]


def read_position(last_event_id: str | None) -> datetime | None:
    """Parse the position in a client stream's event id; None where there is none. Raises ``InvalidRequest``."""
    if not last_event_id:
        return None
    try:
        return from_us(_number(last_event_id))
    except OverflowError:
        raise InvalidRequest("the Last-Event-ID is not of this stream") from None


def read_version(last_event_id: str | None) -> int:
    """Parse the version in a task stream's event id; 0 where there is none. Raises ``InvalidRequest``."""
    return _number(last_event_id) if last_event_id else 0


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidRequest("the Last-Event-ID is not of this stream")
    return int(text)
