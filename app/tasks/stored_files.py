"""The rows of files in the archive's store: files are marked for deletion when the items or clients that they belong to
go."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from app.database import dialect
from app.database.tables import files, items, uploads
from app.tasks.item_rows import owners


def of_tasks(conn: sa.Connection, task_ids: Collection[UUID]) -> Sequence[Any]:
    """Read the files of the items of some tasks. Ask before the tasks are deleted."""
    if not task_ids:
        return ()
    own = sa.and_(items.c.family == files.c.family, items.c.item_id == files.c.item_id)
    statement = sa.select(files.c.path, files.c.family, files.c.item_id).join(items, own)
    return conn.execute(statement.where(dialect.any_of(conn, items.c.task_id, list(task_ids)))).all()


def doom(conn: sa.Connection, paths: Sequence[str] | sa.Select[tuple[str]], at: datetime | sa.Column[datetime]) -> None:
    """Mark kept files for deletion from the store, from ``at`` on."""
    conn.execute(files.update().where(files.c.path.in_(paths), files.c.doomed_at.is_(None)).values(doomed_at=at))


def doom_uploads(conn: sa.Connection, client_name: str) -> None:
    """Mark all uploads of a client for deletion that has no task any more."""
    doom(conn, sa.select(uploads.c.path).where(uploads.c.client_name == client_name), files.c.kept_at)
    conn.execute(uploads.delete().where(uploads.c.client_name == client_name))


def doom_ownerless(conn: sa.Connection, candidates: Sequence[Any], at: datetime) -> None:
    """Mark those of the files for deletion whose items are gone by now."""
    if not candidates:
        return
    owned = owners(conn, [(row.family, row.item_id) for row in candidates])
    doom(conn, [row.path for row in candidates if (row.family, row.item_id) not in owned], at)
