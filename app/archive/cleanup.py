"""Delete files from the store: after the rows that they belonged to, and after their own retention."""

from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from app.app_context import Context
from app.archive import rows, uploads
from app.archive.file_store import FileStore, StoreFailed
from app.rules.archive_copies import RETENTION, CopyResult
from app.rules.task import Copy, CopyStatus
from app.rules.transition import Change
from app.tasks import stored_files
from app.tasks.apply import Effects, load_locked, save_locked, step_all

BATCH: Final = 100
EVERY_S: Final = 60.0
STALE_EVERY: Final = timedelta(hours=6)
"""No copy takes as long."""
LONGEST: Final = timedelta(days=36_500)
"""A retention beyond it is for ever: no date lies so far back."""


class Cleaner:
    """``step`` is called by its loop. ``retention_days``: how long copies are kept; 0: as long as their tasks."""

    def __init__(self, context: Context, store: FileStore, retention_days: float) -> None:
        self._context = context
        self._db = context.loops_db()
        self._store = store
        self._retention = timedelta(days=min(retention_days, LONGEST.days))
        self._stale_at: datetime | None = None

    async def step(self) -> float | None:
        """Delete some of what is to go. Returns 0 if there may be more. Raises ``StoreFailed``."""
        now, context = self._context.clock.now(), self._context
        more = await self._db.write(uploads.doom_unused, now, BATCH) == BATCH
        if self._retention:
            applied, count = await self._db.write(_end_retention, context, now - self._retention, now)
            context.committed(applied)
            more |= count == BATCH
        if self._stale_at is None or now >= self._stale_at:
            self._stale_at = now + STALE_EVERY
            await self._store.drop_stale(now - STALE_EVERY)
        doomed = await self._db.write(rows.claim_doomed, now, BATCH)
        gone = []
        try:
            for path in doomed:
                await self._store.delete(path)
                gone.append(path)
        except StoreFailed:
            if not gone:
                raise
        await self._db.write(rows.forget, gone)
        return 0 if more or len(doomed) == BATCH else EVERY_S


def _end_retention(conn: sa.Connection, context: Context, before: datetime, now: datetime) -> tuple[Effects, int]:
    """Note in their items that files which were kept long enough are kept no more, and have them deleted."""
    old = rows.kept_before(conn, before, BATCH)
    changes = [Change(now, "archive_ended", row.task_id, copies=(_ended(row),)) for row in old if row.task_id]
    unit = load_locked(conn, changes)
    updated_at = {task_id: task.updated_at for task_id, task in unit.loaded.tasks.items()}
    applied = step_all(unit, changes, context.rules)
    for task_id, task in unit.loaded.tasks.items():
        # It is no news of the task, which would be kept for another retention of its own.
        task.updated_at = updated_at[task_id]
    save_locked(conn, unit, context.rules)
    stored_files.doom(conn, [row.path for row in old], now)
    return applied, len(old)


def _ended(row: Any) -> CopyResult:
    return CopyResult(row.family, row.item_id, row.name, Copy(CopyStatus.FAILED, reason=RETENTION))
