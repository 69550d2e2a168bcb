"""The hub of a process for long polls and streams: wakes them when their tasks change.

Changes of this process come at once, those of other processes by ``announce``. Since an announcement can be lost and
the tables are the truth, the hub polls them once per second for everything that is waited for, in one statement
however many wait. Documents are read once for all that are woken together.
"""

import asyncio
from collections.abc import Collection, Mapping
from itertools import islice
from typing import Final
from uuid import UUID

from app.app_context import Context
from app.clients import key_store
from app.errors import NotFound, Unavailable
from app.rules.client import Client
from app.runtime.concurrency_limit import ConcurrencyLimit
from app.runtime.loops import Loop
from app.watching import store
from app.watching.announce import Announcements
from app.watching.current_documents import BATCH, Current
from app.watching.recent import Recent
from app.watching.store import Head
from app.watching.streams import ClientStream, Stream, TaskStream, read_position, read_version
from app.watching.waits import LATEST_ANSWER_S, Until, Waits

POLL_S: Final = 1.0
PACE_S: Final = 0.01
"""Least time between two iterations: what changes meanwhile is looked up together."""
AWAY_S: Final = 0.5
MOST_WOKEN: Final = 20_000


class Watch:
    """The hub. ``poll_s``: how often the tables are polled for everything that is waited for."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.poll_s = POLL_S
        self._places = ConcurrencyLimit("streams", 500, 0.2)
        self._pages: set[Stream] = set()
        self._page_places = ConcurrencyLimit("pages", 500, 0.5)
        self._task_streams: dict[UUID, set[TaskStream]] = {}
        self._client_streams: set[ClientStream] = set()
        self._woken: set[UUID] = set()
        self._changed: set[UUID] = set()
        self._gap = self._draining = False
        self._stepped_at = self._checked_at = 0.0
        self._opening = asyncio.Lock()
        self._current = Current(context)
        self._waits = Waits(self._current, ConcurrencyLimit("waits", 5000, 0.5), self._look_up)
        self.recent = Recent(context)
        self.wake = asyncio.Event()
        self.announcements = Announcements(context, self.note_changed, self.note_gap)
        context.watchers.append(self.note_changed)

    def loops(self) -> list[Loop]:
        """The loops that it needs."""
        return [Loop("watch", self.step, self.poll_s, self.wake), *self.announcements.loops()]

    async def wait(
        self, task_id: UUID, client: Client, wait_s: float, until: Until, latest_s: float = LATEST_ANSWER_S
    ) -> bytes:
        """See ``Waits.wait``."""
        self.announcements.start_listening()
        return await self._waits.wait(task_id, client, wait_s, until, latest_s)

    async def open_task(self, task_id: UUID, client: Client, last_event_id: str | None) -> TaskStream | None:
        """Open a stream of one task, to be given to ``close_stream``; None if the reader has the last state already.
        Raises ``NotFound``, ``InvalidRequest``, ``Unavailable``."""
        after_version = read_version(last_event_id)
        stream = TaskStream(client, task_id, self._current, after_version)
        self._enter(stream, self._places)
        self.announcements.start_listening()
        self._task_streams.setdefault(task_id, set()).add(stream)
        try:
            state = (await self._current.read([task_id])).get(task_id)
            if state is None or stream.scope not in (None, state.client_name):
                raise NotFound("there is no such task")
        except BaseException:
            self.close_stream(stream)
            raise
        if after_version > state.version:
            # The id is another stream's, or from before the database was restored: nothing would be newer than it.
            stream.begin_anew()
        elif state.ended and state.version == after_version:
            self.close_stream(stream)
            return None
        return stream

    async def open_client(self, client: Client, last_event_id: str | None) -> ClientStream:
        """Open a stream of all tasks that the client may see, to be given to ``close_stream``. What changes after this
        has returned is in it. Raises ``InvalidRequest``, ``Unavailable``."""
        resume_at = read_position(last_event_id)
        stream = ClientStream(client, self._context, self._current, self.recent.overlap, resume_at)
        self._enter(stream, self._places)
        self.announcements.start_listening()
        self._client_streams.add(stream)
        try:
            async with self._opening:
                if not self.recent.started:
                    await self.recent.start()
        except BaseException:
            self.close_stream(stream)
            raise
        return stream

    def open_page(self, stream: Stream) -> None:
        """Open a stream that keeps a page of the console up to date, to be given to ``close_stream``. It is no task's,
        and is closed where the others are: with its key, and when the process ends. Raises ``Unavailable``."""
        self._enter(stream, self._page_places)
        self._pages.add(stream)

    @property
    def pages(self) -> int:
        """How many pages of the console are kept up to date."""
        return len(self._pages)

    def close_stream(self, stream: Stream) -> None:
        """Close a stream and release its place."""
        stream.close()
        if stream in self._pages:
            self._pages.discard(stream)
            self._page_places.leave(stream.client.name)
            return
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

    def note_changed(self, task_ids: Collection[UUID]) -> None:
        """Wake whoever waits for tasks whose change was committed."""
        if not self._client_streams:
            waited, streamed = self._waits.waiting, self._task_streams
            task_ids = [task_id for task_id in task_ids if task_id in waited or task_id in streamed]
        if not task_ids:
            return
        self._changed.update(task_ids)
        if len(self._changed) > MOST_WOKEN:
            self._changed.clear()
            self._catch_up_all()
            self._checked_at = 0.0
        self.wake.set()

    def note_gap(self) -> None:
        """Check everything now, since announcements may have been lost."""
        self._gap, self._checked_at = True, 0.0
        self.wake.set()

    def drain(self) -> None:
        """Answer waits with the task as it is and end streams: at once, and from now on."""
        self._draining = True
        self._waits.drain()
        for stream in self._streams():
            stream.close()

    async def close(self) -> None:
        """Fail what still waits and stop listening; after the loops have ended."""
        self._waits.close()
        await self.announcements.close()

    async def step(self) -> float | None:
        """Look up the tasks that changed, and wake whoever waits for them. A loop iteration."""
        await self._pace()
        changed, self._changed = self._changed, set()
        woken, self._woken = self._woken | changed, set()
        try:
            if self._context.clock.monotonic() - self._checked_at >= self.poll_s:
                changed |= await self._check()
                woken |= {*changed, *self._waits.waiting, *self._task_streams}
            horizon = self.recent.position
            if woken:
                heads = {head.task_id: head for head in await self._context.db.read(store.heads, woken)}
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
        self._gap, self._checked_at = True, 0.0

    async def _pace(self) -> None:
        rest_s = self._stepped_at + PACE_S - self._context.clock.monotonic()
        if rest_s > 0:
            await asyncio.sleep(rest_s)
        self._stepped_at = self._context.clock.monotonic()

    async def _check(self) -> set[UUID]:
        """Find changed tasks that the streams were not offered, and end revoked keys. Raises ``Unavailable``."""
        self._checked_at = self._context.clock.monotonic()
        changed: set[UUID] = set()
        if self._client_streams and self.recent.started:
            versions = await self.recent.check(whole_overlap=self._gap or self.announcements.may_miss)
            if versions is None:
                self._catch_up_all()
            changed.update(versions or ())
        self._gap = False
        await self._end_revoked()
        return changed

    async def _end_revoked(self) -> None:
        """End waits and streams whose API key has ended. Raises ``Unavailable``."""
        streams = self._streams()
        keys = self._waits.keys() | {(stream.client.name, stream.client.key) for stream in streams}
        now = self._context.clock.now()
        ended = await self._context.db.read(key_store.ended, keys, now) if keys else set()
        if ended:
            self._waits.end_keys(ended)
            for stream in streams:
                if (stream.client.name, stream.client.key) in ended:
                    stream.close()

    async def _offer(self, woken: set[UUID], changed: set[UUID], heads: Mapping[UUID, Head]) -> None:
        """Offer changed tasks to the streams, with their documents read ahead. What was only looked up because
        somebody waits for it is no news to the clients' streams. Raises ``Unavailable``."""
        for task_id in woken - heads.keys():
            for task_stream in self._task_streams.get(task_id, ()):
                task_stream.close()
        news = {task_id for task_id in changed if task_id in heads and self.recent.is_news(heads[task_id])}
        by_scope = self._client_streams_by_scope() if news else {}
        followed = (head for head in heads.values() if head.task_id in self._task_streams or head.task_id in news)
        pairs = ((head, _subscribers(by_scope, head) if head.task_id in news else []) for head in followed)
        wanted = ((head, streams) for head, streams in pairs if streams or head.task_id in self._task_streams)
        while batch := list(islice(wanted, BATCH)):
            await self._current.at_least({head.task_id: head.version for head, _ in batch})
            for head, client_streams in batch:
                for task_stream in self._task_streams.get(head.task_id, ()):
                    task_stream.offer(head.version, ended=head.ended)
                for client_stream in client_streams:
                    client_stream.offer(head.task_id, head.version)
        if self.recent.started:
            for task_id in news:
                self.recent.note_offered(task_id, heads[task_id].version)

    def _client_streams_by_scope(self) -> dict[str | None, list[ClientStream]]:
        by_scope: dict[str | None, list[ClientStream]] = {}
        for stream in self._client_streams:
            by_scope.setdefault(stream.scope, []).append(stream)
        return by_scope

    def _enter(self, stream: Stream, places: ConcurrencyLimit) -> None:
        if self._draining:
            raise Unavailable("the gateway is stopping")
        places.enter(stream.client.name)

    def _look_up(self, task_id: UUID) -> None:
        self._woken.add(task_id)
        self.wake.set()

    def _catch_up_all(self) -> None:
        for stream in self._client_streams:
            stream.fall_behind()

    def _streams(self) -> list[Stream]:
        of_tasks = [stream for streams in self._task_streams.values() for stream in streams]
        return [*of_tasks, *self._client_streams, *self._pages]


def _subscribers(by_scope: Mapping[str | None, list[ClientStream]], head: Head) -> list[ClientStream]:
    """The client streams that a task belongs in: its client's, and those of admins."""
    return [*by_scope.get(head.client_name, ()), *by_scope.get(None, ())]
