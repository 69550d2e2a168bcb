"""By hand: look whether the store holds what it should, and try copies again that were given up."""

import hashlib
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from app.archive.store import FileMissing, FileStore
from app.context import Context
from app.database.tables import items, tasks
from app.rules.copies import RETENTION, CopyResult
from app.rules.task import Copy, CopyStatus
from app.rules.transition import Change
from app.rules.view import ready_artifact
from app.tasks import store as state
from app.tasks import writes
from app.tasks.apply import Effects, apply
from app.tasks.store import ItemKey, Part
from app.tempolor.kinds import FAMILIES

BATCH: Final = 200


async def fault_of(store: FileStore, row: Any, *, deep: bool) -> str | None:
    """What is wrong with a listed file, None if nothing is; with ``deep`` its content is read too. Raises
    ``StoreFailed``."""
    try:
        size = await store.size(row.path)
        if size != row.bytes:
            return f"it has {size} bytes instead of {row.bytes}"
        if deep:
            digest = hashlib.sha256()
            async for piece in store.read(row.path, 0, size):
                digest.update(piece)
            if digest.hexdigest() != row.sha256:
                return "its content is not what was recorded"
    except FileMissing:
        return "it is missing"
    return None


async def retry_failed(context: Context) -> int:
    """Queue every copy again that was given up, of tasks that are still there, but for those whose retention is over.
    Returns how many. In transactions of ``BATCH`` items. Raises ``Unavailable``."""
    count, after = 0, ("", "")
    while True:
        applied, last, queued = await context.db.write(_retry_some, context, after, context.clock.now())
        context.committed(applied)
        count += queued
        if last is None:
            return count
        after = last


def _retry_some(
    conn: sa.Connection, context: Context, after: ItemKey, now: datetime
) -> tuple[Effects, ItemKey | None, int]:
    key = sa.tuple_(items.c.family, items.c.item_id)
    statement = (
        sa.select(items.c.family, items.c.item_id, items.c.task_id)
        .join(tasks, tasks.c.id == items.c.task_id)
        .where(items.c.copies.is_not(None), key > sa.tuple_(*map(sa.literal, after)))
        .order_by(items.c.family, items.c.item_id)
        .limit(BATCH)
    )
    page = conn.execute(statement).all()
    wanted = {(row.family, row.item_id) for row in page}
    changes, jobs = [], []
    for item in state.items_of(conn, sorted({row.task_id for row in page})):
        if item.key not in wanted:
            continue
        for artifact in FAMILIES[item.family].shape.artifacts:
            copy, ready = (item.copies or {}).get(artifact.name), ready_artifact(artifact, item.state)
            if copy is None or copy.status is not CopyStatus.FAILED or copy.reason == RETENTION:
                continue
            if ready is None or not isinstance(ready.url, str) or ready.expires_at is None:
                continue
            result = CopyResult(item.family, item.item_id, artifact.name, Copy(CopyStatus.PENDING))
            changes.append(Change(now, "archive_retried", item.task_id, copies=(result,)))
            jobs.append((*item.key, artifact.name, item.task_id, now, ready.expires_at, now, 0))
    applied = apply(conn, changes, context.rules)
    state.save(conn, [Part({writes.COPY_JOBS: jobs})])
    last = (page[-1].family, page[-1].item_id) if len(page) == BATCH else None
    return applied, last, len(jobs)
