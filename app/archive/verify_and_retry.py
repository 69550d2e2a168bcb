"""Verify kept files against the store, and retry copies that were given up: what an operator does by hand."""

import hashlib
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from app.app_context import Context
from app.archive.file_store import FileMissing, FileStore
from app.audit.audit import Action, Actor, append_now
from app.database.tables import items, tasks
from app.errors import ArchiveOff
from app.rules.archive_copies import CopyResult, retries
from app.rules.loaded_state import CopyJob
from app.rules.observation import ItemKey
from app.rules.task import Copy, CopyStatus, Item
from app.rules.transition import Change
from app.tasks import state_store as state
from app.tasks.apply import Effects, load_locked, save_locked, step_all
from app.tempolor.kinds import FAMILIES

BATCH: Final = 200
MISSING: Final = "it is missing"
DAMAGED: Final = "its content is not what was recorded"


class Damaged(Exception):
    """The content of a file is not what was recorded."""


async def fault_of(store: FileStore, row: Any, *, deep: bool) -> str | None:
    """What is wrong with a listed file, None if nothing is; with ``deep`` its content is read too. Raises
    ``StoreFailed``."""
    try:
        size = await store.size(row.path)
        if size != row.bytes:
            return f"it has {size} bytes instead of {row.bytes}"
        if deep:
            async for _ in checked(store, row):
                pass
    except FileMissing:
        return MISSING
    except Damaged:
        return DAMAGED
    return None


async def checked(store: FileStore, row: Any) -> AsyncIterator[bytes]:
    """Read a listed file, piece by piece. Raises ``Damaged`` in place of its end where it is not what was recorded, and
    what the store raises."""
    digest = hashlib.sha256()
    async for piece in store.read(row.path, 0, row.bytes):
        digest.update(piece)
        yield piece
    if digest.hexdigest() != row.sha256:
        raise Damaged


async def retry_failed(context: Context, actor: Actor, task_id: UUID | None = None) -> int:
    """Queue every copy again that was given up, of one task or of all that are still there, but for those whose
    retention is over. Returns how many. In transactions of ``BATCH`` items. Raises ``ArchiveOff``, ``Unavailable``."""
    if context.files is None:
        raise ArchiveOff("the gateway keeps no files: GATEWAY_ARCHIVE_URL is not set")
    await append_now(context.db, context.clock, actor, Action.RETRY_COPIES, str(task_id or ""))
    count, after = 0, ("", "")
    while True:
        applied, last, queued = await context.db.write(_retry_some, context, task_id, after, context.clock.now())
        context.committed(applied)
        count += queued
        if last is None:
            return count
        after = last


def _retry_some(
    conn: sa.Connection, context: Context, task_id: UUID | None, after: ItemKey, now: datetime
) -> tuple[Effects, ItemKey | None, int]:
    key = sa.tuple_(items.c.family, items.c.item_id)
    statement = (
        sa.select(items.c.family, items.c.item_id, items.c.task_id)
        .join(tasks, tasks.c.id == items.c.task_id)
        .where(items.c.copies.is_not(None), key > sa.tuple_(*map(sa.literal, after)))
        .order_by(items.c.family, items.c.item_id)
        .limit(BATCH)
    )
    page = conn.execute(statement if task_id is None else statement.where(items.c.task_id == task_id)).all()
    wanted = {(row.family, row.item_id) for row in page}
    found = state.items_of(conn, sorted({row.task_id for row in page}))
    tasks_of_failed = {item.task_id for item in found if item.key in wanted and _retries(item, now)}
    unit = load_locked(conn, [Change(now, None, task_id) for task_id in sorted(tasks_of_failed)])
    jobs = [job for key in sorted(wanted & unit.loaded.items.keys()) for job in _retries(unit.loaded.items[key], now)]
    unit.loaded.copy_jobs |= {(job.key, job.name): job for job in jobs}
    results = [(job.task_id, CopyResult(*job.key, job.name, Copy(CopyStatus.PENDING))) for job in jobs]
    changes = [Change(now, "archive_retried", task_id, copies=(result,)) for task_id, result in results]
    applied = step_all(unit, changes, context.rules)
    save_locked(conn, unit, context.rules)
    last = (page[-1].family, page[-1].item_id) if len(page) == BATCH else None
    return applied, last, len(jobs)


def _retries(item: Item, now: datetime) -> list[CopyJob]:
    return retries(item, FAMILIES[item.family].shape, now)
