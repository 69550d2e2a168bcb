"""The rows of files in the archive's store: files are marked for deletion when the items or clients that they belong to
go."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from app.database import dialect
from app.database.tables import files, items, uploads


def of_tasks(conn: sa.Connection, task_ids: Collection[UUID]) -> Sequence[Any]:
    """Read the files of the items of some tasks. Ask before the tasks are deleted."""
    if not task_ids:
        return ()
    own = sa.and_(items.c.family == files.c.family, items.c.item_id == files.c.item_id)
    statement = sa.select(files.c.path, files.c.family, files.c.item_id).join(items, own)
    return conn.execute(statement.where(dialect.any_of(conn, items.c.task_id, list(task_ids)))).all()


def doom_uploads(conn: sa.Connection, client_name: str) -> None:
    """Mark all uploads of a client for deletion that has no task any more."""
    own = sa.select(uploads.c.path).where(uploads.c.client_name == client_name)
    conn.execute(files.update().where(files.c.path.in_(own)).values(doomed_at=files.c.kept_at))
    conn.execute(uploads.delete().where(uploads.c.client_name == client_name))


def doom(conn: sa.Connection, found: Sequence[Any], now: datetime) -> None:
    """Mark those files for deletion whose items are gone by now."""
    for row in found:
        gone = ~sa.exists().where(items.c.family == row.family, items.c.item_id == row.item_id)
        conn.execute(files.update().where(files.c.path == row.path, gone).values(doomed_at=now))
