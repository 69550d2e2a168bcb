"""Files in the archive's store that belong to items, as rows: they are deleted from the store after the rows."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from app.database import dialect
from app.database.tables import files, items, uploads
from app.tasks.items import owners


def of_tasks(conn: sa.Connection, task_ids: Collection[UUID]) -> Sequence[Any]:
    """The files of the items of some tasks. Ask before the tasks are deleted."""
    if not task_ids:
        return ()
    own = sa.and_(items.c.family == files.c.family, items.c.item_id == files.c.item_id)
    statement = sa.select(files.c.path, files.c.family, files.c.item_id).join(items, own)
    return conn.execute(statement.where(dialect.any_of(conn, items.c.task_id, list(task_ids)))).all()


def doom(conn: sa.Connection, paths: Sequence[str] | sa.Select[tuple[str]], at: datetime | sa.Column[datetime]) -> None:
    """Have kept files deleted from the store, from ``at`` on."""
    conn.execute(files.update().where(files.c.path.in_(paths), files.c.doomed_at.is_(None)).values(doomed_at=at))


def doom_uploads(conn: sa.Connection, client_name: str) -> None:
    """Have all uploads of a client deleted that has no task any more."""
    doom(conn, sa.select(uploads.c.path).where(uploads.c.client_name == client_name), files.c.kept_at)
    conn.execute(uploads.delete().where(uploads.c.client_name == client_name))


def doom_ownerless(conn: sa.Connection, found: Sequence[Any], at: datetime) -> None:
    """Have those of the files deleted whose items are gone by now."""
    there = owners(conn, [(row.family, row.item_id) for row in found])
    doom(conn, [row.path for row in found if (row.family, row.item_id) not in there], at)
