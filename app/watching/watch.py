"""Who waits for what: requests that wait for a task, and streams of tasks, woken when their tasks change.

One hub in each process. It is told of this process's changes at once, and of other processes' by ``announce``; and
since a hint can be lost and the tables are the truth, it asks them once per second about everything that is waited
for, in one statement however many wait. Documents are read for all who are woken together.
"""

import asyncio
from collections.abc import Collection, Mapping
from itertools import islice
from typing import Final
from uuid import UUID

from app.clients import key_store
from app.context import Context
from app.errors import NotFound, Unavailable
from app.rules.client import Client
from app.runtime.concurrency_limit import ConcurrencyLimit
from app.runtime.loops import Loop
from app.watching import store
from app.watching.announce import Announcements
from app.watching.current import BATCH, Current
from app.watching.recent import Recent
from app.watching.store import Head
from app.watching.streams import ClientStream, Stream, TaskStream, read_position, read_version
from app.watching.waits import Until, Waits

LOOK_EVERY_S: Final = 1.0
PACE_S: Final = 0.01
"""Least time between two turns: what comes meanwhile is looked up together."""
AWAY_S: Final = 0.5
MOST_WOKEN: Final = 20_000


class Watch:
    """The hub. ``waits`` and ``streams`` bound how many requests wait and how many streams are open. ``look_every_s``:
    how often the tables are asked about everything that is waited for."""

    def __init__(
        self,
        context: Context,
        *,
        waits: ConcurrencyLimit | None = None,
        streams: ConcurrencyLimit | None = None,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._context = context
        self.look_every_s = look_every_s
        self._places = streams or ConcurrencyLimit("streams", 500, 0.2)
        self._task_streams: dict[UUID, set[TaskStream]] = {}
        self._client_streams: set[ClientStream] = set()
        self._woken: set[UUID] = set()
        self._changed: set[UUID] = set()
        self._everywhere = self._draining = False
        self._turned_at = self._checked_at = 0.0
        self._opening = asyncio.Lock()
        self._current = Current(context)
        self._waits = Waits(self._current, waits or ConcurrencyLimit("waits", 5000, 0.5), self._look_up)
        self.recent = Recent(context)
        self.wake = asyncio.Event()
        self.announcements = Announcements(context, self.tell, self.look_everywhere)
        context.watchers.append(self.tell)

    def loops(self) -> list[Loop]:
        """What has to turn for it."""
        return [Loop("watch", self.step, self.look_every_s, self.wake), *self.announcements.loops()]

    async def wait(self, task_id: UUID, client: Client, wait_s: float, until: Until) -> bytes:
        """See ``Waits.wait``."""
        self.announcements.start_listening()
        return await self._waits.wait(task_id, client, wait_s, until)

    async def open_task(self, task_id: UUID, client: Client, last_event_id: str | None) -> TaskStream | None:
        """A stream of one task, to be given to ``close_stream``; None if the reader has all that there will be.
        Raises ``NotFound``, ``InvalidRequest``, ``Unavailable``."""
        after_version = read_version(last_event_id)
        stream = TaskStream(client, task_id, self._current, after_version)
        self._enter(stream)
        self._task_streams.setdefault(task_id, set()).add(stream)
        try:
            shown = (await self._current.read([task_id])).get(task_id)
            if shown is None or stream.scope not in (None, shown.client_name):
                raise NotFound("there is no such task")
        except BaseException:
            self.close_stream(stream)
            raise
        if shown.ended and shown.version <= after_version:
            self.close_stream(stream)
            return None
        return stream

    async def open_client(self, client: Client, last_event_id: str | None) -> ClientStream:
        """A stream of all tasks that the client may see, to be given to ``close_stream``. What changes after this
        has returned is in it. Raises ``InvalidRequest``, ``Unavailable``."""
        resume_at = read_position(last_event_id)
        stream = ClientStream(client, self._context, self._current, self.recent.overlap, resume_at)
        self._enter(stream)
        self._client_streams.add(stream)
        try:
            async with self._opening:
                if not self.recent.started:
                    await self.recent.start()
        except BaseException:
            self.close_stream(stream)
            raise
        return stream

    def close_stream(self, stream: Stream) -> None:
        """End a stream and give its place back."""
        stream.close()
        if isinstance(stream, TaskStream):
            streams = self._task_streams[stream.task_id]
            streams.discard(stream)
            if not streams:
                del self._task_streams[stream.task_id]
        elif isinstance(stream, ClientStream):
            self._client_streams.discard(stream)
            if not self._client_streams:
                self.recent.forget()
        self._places.leave(stream.client.name)

    def tell(self, task_ids: Collection[UUID]) -> None:
        """These tasks changed, durably."""
        if not self._client_streams:
            waited, streamed = self._waits.task_ids, self._task_streams
            task_ids = [task_id for task_id in task_ids if task_id in waited or task_id in streamed]
        if not task_ids:
            return
        self._changed.update(task_ids)
        if len(self._changed) > MOST_WOKEN:
            self._changed.clear()
            self._read_anew()
            self._checked_at = 0.0
        self.wake.set()

    def look_everywhere(self) -> None:
        """Changes were perhaps not heard: look at everything, now."""
        self._everywhere, self._checked_at = True, 0.0
        self.wake.set()

    def drain(self) -> None:
        """Waits are answered with the task as it is, streams end: at once, and from now on."""
        self._draining = True
        self._waits.drain()
        for stream in self._streams():
            stream.close()

    async def close(self) -> None:
        """The loops have ended: nobody waits any more."""
        self._waits.close()
        await self.announcements.close()

    async def step(self) -> float | None:
        """Look up the tasks that changed, and wake who waits for them. A turn of a loop."""
        await self._pace()
        changed, self._changed = self._changed, set()
        woken, self._woken = self._woken | changed, set()
        try:
            if self._context.clock.monotonic() - self._checked_at >= self.look_every_s:
                changed |= await self._check()
                woken |= {*changed, *self._waits.task_ids, *self._task_streams}
            horizon = self.recent.position
            if woken:
                found = await self._context.db.read(store.heads, woken)
                heads = {head.task_id: head for head in found}
                await self._waits.answer(woken, heads)
                await self._offer(woken, changed, heads)
        except BaseException as error:
            self._resume_later(woken, changed, error)
            if isinstance(error, Unavailable):
                return AWAY_S
            raise
        for stream in self._client_streams:
            stream.reach(horizon)
        return None

    def _resume_later(self, woken: set[UUID], changed: set[UUID], error: BaseException) -> None:
        self._waits.fail(woken, error if isinstance(error, Unavailable) else Unavailable("the task cannot be read"))
        if self._client_streams:
            self._changed |= changed
        self._everywhere, self._checked_at = True, 0.0

    async def _pace(self) -> None:
        rest_s = self._turned_at + PACE_S - self._context.clock.monotonic()
        if rest_s > 0:
            await asyncio.sleep(rest_s)
        self._turned_at = self._context.clock.monotonic()

    async def _check(self) -> set[UUID]:
        """What changed, as far as the streams were not told. Raises ``Unavailable``."""
        self._checked_at = self._context.clock.monotonic()
        found: set[UUID] = set()
        if self._client_streams and self.recent.started:
            everywhere = self._everywhere or self.announcements.deaf
            changed = await self.recent.look(everywhere=everywhere)
            if changed is None:
                self._read_anew()
            found.update(changed or ())
        self._everywhere = False
        await self._end_revoked()
        return found

    async def _end_revoked(self) -> None:
        """A key ends at once, also that of somebody who waits. Raises ``Unavailable``."""
        streams = self._streams()
        held = self._waits.keys() | {(stream.client.name, stream.client.key) for stream in streams}
        now = self._context.clock.now()
        ended = await self._context.db.read(key_store.ended, held, now) if held else set()
        if ended:
            self._waits.end_keys(ended)
            for stream in streams:
                if (stream.client.name, stream.client.key) in ended:
                    stream.close()

    async def _offer(self, woken: set[UUID], changed: set[UUID], heads: Mapping[UUID, Head]) -> None:
        """Tell the streams what there is for them, with the documents at hand. What was only looked up because
        somebody waits for it is no news to the clients' streams. Raises ``Unavailable``."""
        for task_id in woken - heads.keys():
            for own in self._task_streams.get(task_id, ()):
                own.close()
        news = {task_id for task_id in changed if task_id in heads and self.recent.is_news(heads[task_id])}
        readers = self._readers_by_scope() if news else {}
        followed = (head for head in heads.values() if head.task_id in self._task_streams or head.task_id in news)
        pairs = ((head, _of(readers, head) if head.task_id in news else []) for head in followed)
        wanted = ((head, some) for head, some in pairs if some or head.task_id in self._task_streams)
        while batch := list(islice(wanted, BATCH)):
            await self._current.at_least({head.task_id: head.version for head, _ in batch})
            for head, some in batch:
                for own in self._task_streams.get(head.task_id, ()):
                    own.offer(head.version, ended=head.ended)
                for reader in some:
                    reader.offer(head.task_id, head.version)
        if self.recent.started:
            for task_id in news:
                self.recent.note(task_id, heads[task_id].version)

    def _readers_by_scope(self) -> dict[str | None, list[ClientStream]]:
        readers: dict[str | None, list[ClientStream]] = {}
        for stream in self._client_streams:
            readers.setdefault(stream.scope, []).append(stream)
        return readers

    def _enter(self, stream: Stream) -> None:
        if self._draining:
            raise Unavailable("the gateway is stopping")
        self._places.enter(stream.client.name)
        self.announcements.start_listening()

    def _look_up(self, task_id: UUID) -> None:
        self._woken.add(task_id)
        self.wake.set()

    def _read_anew(self) -> None:
        for stream in self._client_streams:
            stream.read_anew()

    def _streams(self) -> list[Stream]:
        own = [stream for streams in self._task_streams.values() for stream in streams]
        return [*own, *self._client_streams]


def _of(readers: Mapping[str | None, list[ClientStream]], head: Head) -> list[ClientStream]:
    """The streams that a task is for: its client's, and the admins'."""
    return [*readers.get(head.client_name, ()), *readers.get(None, ())]
