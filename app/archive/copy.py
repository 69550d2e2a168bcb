"""Copy result files into the store: claim jobs under a lease, the soonest end of a link first, and settle each.

Transaction → download → transaction. A copy is noted as kept only after the whole file is durable in the store under
the lease that it was claimed with. What fails is tried again by a schedule; of a link that is dead the vendor is asked
for a new one. A store that is away counts against no copy: all wait, and go on by themselves.
"""

import asyncio
import contextlib
import functools
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import sqlalchemy as sa
import structlog

from app.app_context import Context
from app.archive import rows
from app.archive.download import Downloader, DownloadFailed
from app.archive.file_store import FileMissing, FileStore, StoreFailed, path_part
from app.archive.rows import Job, Reservation
from app.database.database import StaleRead
from app.errors import Unavailable
from app.rules.archive_copies import CopyResult
from app.rules.schedule import LINK_DEAD
from app.rules.task import Copy, CopyStatus, EntryType
from app.rules.transition import Change
from app.rules.views import ready_artifact
from app.runtime import metrics
from app.runtime.file_links import extension_of
from app.runtime.loops import Background
from app.tasks import item_rows, stored_files
from app.tasks import state_store as state
from app.tasks.apply import Effects, UnitOfWork, load_locked, save_locked, step_all
from app.tempolor.kinds import FAMILIES

AT_ONCE: Final = 4
"""Copies that one process has under way: each holds some 10 MB."""
PER_TASK: Final = 2
LEASE: Final = timedelta(seconds=60)
RENEW_S: Final = 15.0
SCHEDULE_S: Final = (5.0, 30.0, 120.0, 600.0, 3600.0, 21_600.0)
"""Waits after each failed attempt; after the last there is one more."""
ASK_WAITS_S: Final = (60.0, 600.0)
"""Waits for a new link after the vendor was asked for one; then the copy is given up."""
ENDED_EVERY_S: Final = 1.0
"""Links that have ended wait for those that have not, and few are tried at once: the vendor is asked for as many new
ones as can be copied before they end too."""
STORE_WAIT_S: Final = (5.0, 60.0)
COUNT_S: Final = 15.0

log = structlog.get_logger(__name__)


class _LeaseLost(Exception):
    """Another process may be copying the file by now."""


class Archiver:
    """``step`` is called by its loop; copies go on beside it."""

    def __init__(self, context: Context, store: FileStore, downloader: Downloader) -> None:
        self._context = context
        self._db = context.loops_db()
        self._store = store
        self._downloader = downloader
        self._copying = Background[None](_crashed, context.wakes.archive.set)
        self._busy: Counter[UUID] = Counter()
        self._store_wait_s = STORE_WAIT_S[0]
        self._store_due = self._count_due = self._ended_due = 0.0
        self.stopping = False

    async def step(self) -> float | None:
        """Claim what there are places for, and start copying it. Returns 0 if there may be more."""
        monotonic = self._context.clock.monotonic()
        if monotonic >= self._count_due:
            self._count_due = monotonic + COUNT_S
            await self._count()
        places = AT_ONCE - len(self._copying)
        if self.stopping or places <= 0:
            return None
        if monotonic < self._store_due:
            return self._store_due - monotonic
        with_ended = monotonic >= self._ended_due
        if with_ended:
            self._ended_due = monotonic + ENDED_EVERY_S
        now, busy = self._context.clock.now(), list(self._busy.elements())
        claim = functools.partial(rows.claim, with_ended=with_ended)
        jobs = await self._db.write(claim, now, now + LEASE, places, PER_TASK, busy)
        for job in jobs:
            self._busy[job.task_id] += 1
            self._copying.start(self._copy(job), f"copy {job.ref.item_id} {job.ref.name}")
        return 0 if jobs else None

    async def finish(self, timeout_s: float) -> None:
        """Stop claiming, and wait for what is being copied, at most so long; what is left is given up to its lease."""
        self.stopping = True
        copying = list(self._copying)
        await self._copying.finish(timeout_s)
        for task in copying:
            task.cancel()
        await asyncio.gather(*copying, return_exceptions=True)
        self._downloader.close()

    async def _copy(self, job: Job) -> None:
        held = _Lease(self._context, job)
        try:
            with structlog.contextvars.bound_contextvars(
                task_id=str(job.task_id), item_id=job.ref.item_id, artifact=job.ref.name, client=job.client_name
            ):
                await self._copy_under(held)
        finally:
            self._busy[job.task_id] -= 1
            if not self._busy[job.task_id]:
                del self._busy[job.task_id]

    async def _copy_under(self, held: "_Lease") -> None:
        try:
            copy = await self._store_file(held)
        except StoreFailed as error:
            self._store_due = self._context.clock.monotonic() + self._store_wait_s
            log.warning("archive.store_failed", error=str(error), wait_s=self._store_wait_s)
            metrics.archive_copies.labels("store_failed").inc()
            self._store_wait_s = min(self._store_wait_s * 2, STORE_WAIT_S[1])
            due_at = self._context.clock.now() + timedelta(seconds=self._store_wait_s)
            await self._db.write(rows.put_back, held.job, due_at)
        except DownloadFailed as error:
            await self._fail(held.job, error)
        except _LeaseLost:
            log.warning("archive.lease_lost")
        except Unavailable:
            raise
        except Exception as error:
            # Counted as any failure, or a file of which nobody has thought would be tried for ever.
            _crashed(error)
            await self._fail(held.job, DownloadFailed("crashed"))
        else:
            self._store_wait_s = STORE_WAIT_S[0]
            metrics.archive_copies.labels("kept").inc()
            metrics.archive_bytes.inc(copy.bytes or 0)
            await self._settle(held.job, copy, held.reserved)

    async def _store_file(self, held: "_Lease") -> Copy:
        """Download the file and store it. Raises ``DownloadFailed``, ``StoreFailed``, ``_LeaseLost``."""
        job = held.job
        url = await self._db.read(_link_of, job)
        if url is None:
            raise DownloadFailed(LINK_DEAD)
        download = self._downloader.get(url, job.ref.name)
        pieces = download.pieces()
        renewing = asyncio.create_task(held.keep())
        try:
            # What the file is called depends on its first bytes.
            first = await anext(pieces)
            reserved = await held.reserve(download.media_type)
            await self._put(held, reserved, held.guarded(first, pieces))
        finally:
            renewing.cancel()
            await pieces.aclose()
        try:
            if await self._store.size(reserved.path) != download.size:
                raise DownloadFailed("stored_cut")
        except FileMissing:
            raise DownloadFailed("stored_cut") from None
        if reserved.number > 1:
            await self._clear(job, reserved)
        return Copy(CopyStatus.KEPT, reserved.path, download.size, download.sha256, download.media_type)

    async def _put(self, held: "_Lease", reserved: Reservation, pieces: AsyncIterator[bytes]) -> None:
        try:
            await self._store.put(reserved.path, pieces)
        except (DownloadFailed, StoreFailed, _LeaseLost) as error:
            # What had all pieces may have been stored by a server whose answer was lost, or be stored yet.
            if not held.is_whole or (isinstance(error, StoreFailed) and error.is_void):
                with contextlib.suppress(Unavailable):
                    await self._db.write(rows.release, reserved)
            raise

    async def _clear(self, job: Job, reserved: Reservation) -> None:
        """Delete what writers before this one may have left of a file. Their paths stay listed: one that is only slow
        may still store it."""
        for path in await self._db.read(rows.left_over, job, reserved):
            with contextlib.suppress(StoreFailed):
                await self._store.delete(path)

    async def _fail(self, job: Job, error: DownloadFailed) -> None:
        is_dead = error.reason == LINK_DEAD
        # Apart: a link that dies after many attempts was never asked for anew.
        waits, failed = (ASK_WAITS_S, job.dead_links) if is_dead else (SCHEDULE_S, job.attempts)
        metrics.archive_copies.labels(error.reason).inc()
        if error.is_final or failed >= len(waits):
            log.warning("archive.given_up", reason=error.reason, attempts=failed + 1)
            await self._settle(job, Copy(CopyStatus.FAILED, reason=error.reason))
            return
        log.info("archive.failed", reason=error.reason, attempts=failed + 1)
        due_at = self._context.clock.now() + timedelta(seconds=waits[failed])
        if not is_dead:
            await self._db.write(rows.put_back, job, due_at, "attempts")
            return
        self._context.committed(await self._db.write(_wait_for_link, self._context, job, due_at))
        self._context.wakes.reconcile.set()

    async def _settle(self, job: Job, copy: Copy, reserved: Reservation | None = None) -> None:
        """Record the end of a job; tried until its lease has run out, since what is not recorded is copied again."""
        while True:
            try:
                self._context.committed(await self._db.write(settle, self._context, job, copy, reserved))
                return
            except Unavailable:
                if self._context.clock.now() >= job.leased_until:
                    raise
                await self._context.clock.sleep(1.0)

    async def _count(self) -> None:
        number, oldest_at = await self._db.read(rows.backlog)
        metrics.archive_pending.set(number)
        age_s = (self._context.clock.now() - oldest_at).total_seconds() if oldest_at is not None else 0.0
        metrics.archive_oldest_age.set(max(age_s, 0.0))


class _Lease:
    """The lease of a job, renewed while its file is copied. ``is_whole``: the store was given all of the file."""

    def __init__(self, context: Context, job: Job) -> None:
        self._context = context
        self.job = job
        self.reserved: Reservation | None = None
        self.is_whole = False

    async def reserve(self, media_type: str) -> Reservation:
        """Take a path for the file. Raises ``_LeaseLost``."""
        now = self._context.clock.now()
        path_at = functools.partial(path_of, self.job, media_type)
        self.reserved = await self._context.loops_db().write(rows.reserve_for, self.job, path_at, now)
        if self.reserved is None:
            raise _LeaseLost
        return self.reserved

    async def keep(self) -> None:
        """Renew it until this is cancelled."""
        while True:
            await self._context.clock.sleep(RENEW_S)
            leased_until = self._context.clock.now() + LEASE
            try:
                held = await self._context.loops_db().write(rows.renew, self.job, leased_until)
            except Unavailable:
                continue
            if held:
                self.job = replace(self.job, leased_until=leased_until)

    async def guarded(self, first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The pieces of a download, and no end of them once the lease has run out: nothing is stored then."""
        yield first
        async for piece in rest:
            yield piece
        if self._context.clock.now() >= self.job.leased_until:
            raise _LeaseLost
        self.is_whole = True


def path_of(job: Job, media_type: str, number: int) -> str:
    """Where a file lies in the store: readable without us. ``number``: in a folder of that name, where writers before
    this one were lost."""
    at = job.created_at
    parts = [job.client_name, f"{at:%Y}", f"{at:%m}", str(job.task_id), job.ref.item_id]
    parts += [str(number)] if number > 1 else []
    return "/".join(path_part(part) for part in parts) + f"/{job.ref.name}.{extension_of(media_type)}"


def settle(conn: sa.Connection, context: Context, job: Job, copy: Copy, reserved: Reservation | None = None) -> Effects:
    """Note what has become of a copy, in its item and in the list of files; nothing if its lease was lost: its file is
    to be deleted then."""
    now = context.clock.now()
    unit, changes = _load(conn, job, copy, "archived", now)
    if copy.status is CopyStatus.FAILED and rows.has_new_link(conn, job):
        rows.put_back(conn, job, now)
        return Effects()
    if reserved is not None and not rows.keep(conn, reserved, copy, now):
        rows.put_back(conn, job, now)
        return Effects()
    if not rows.finish(conn, job):
        if reserved is not None:
            stored_files.doom(conn, [reserved.path], now)
        return Effects()
    applied = step_all(unit, changes, context.rules)
    save_locked(conn, unit, context.rules)
    return applied


def _wait_for_link(conn: sa.Connection, context: Context, job: Job, due_at: datetime) -> Effects:
    """Try again later, and have the vendor asked about the item meanwhile: it may have a new link."""
    waiting = Copy(CopyStatus.PENDING, reason=LINK_DEAD)
    unit, changes = _load(conn, job, waiting, None, context.clock.now())
    is_waiting = not rows.has_new_link(conn, job)
    if not rows.put_back(conn, job, due_at, "dead_links") or not is_waiting:
        return Effects()
    applied = step_all(unit, changes, context.rules)
    save_locked(conn, unit, context.rules)
    return applied


def _load(
    conn: sa.Connection, job: Job, copy: Copy, entry: EntryType | None, now: datetime
) -> tuple[UnitOfWork, list[Change]]:
    """Lock and load the task that an item belongs to now, with the change that notes its copy. The task's lock comes
    first everywhere. Raises ``StaleRead`` where the item goes to another task meanwhile."""
    owner = item_rows.owners(conn, [job.key]).get(job.key)
    result = CopyResult(*job.key, job.ref.name, copy)
    changes = [Change(now, entry, owner or job.task_id, copies=(result,))]
    unit = load_locked(conn, changes)
    if owner is not None and job.key not in unit.loaded.items:
        raise StaleRead
    return unit, changes


def _link_of(conn: sa.Connection, job: Job) -> str | None:
    """The latest link to a job's file."""
    for item in state.items_of(conn, list(item_rows.owners(conn, [job.key]).values())):
        for artifact in FAMILIES[item.family].shape.artifacts:
            if item.key == job.key and artifact.name == job.ref.name:
                ready = ready_artifact(artifact, item.state)
                return ready.url if ready is not None and isinstance(ready.url, str) else None
    return None


def _crashed(error: BaseException) -> None:
    log.error("archive.crashed", exc_info=error)
