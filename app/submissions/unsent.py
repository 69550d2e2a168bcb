"""Tasks that the database shows as not sent, or as being sent, and may be wrong about."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from app.database import dialect
from app.database.tables import tasks, timeline
from app.rules.filters import first_id_of
from app.rules.status import TaskStatus
from app.tasks.task_rows import ID_LATER_S

MOST_COUNTED: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Doubtful:
    """Tasks in a status, accepted by a moment, without an entry of a type in their timeline since ``told_since``
    (None: with or without)."""

    status: TaskStatus
    accepted_by: datetime
    entry: str
    told_since: datetime | None


def some(conn: sa.Connection, doubtful: Doubtful, after: UUID | None, limit: int) -> list[UUID]:
    """The first of these tasks after an id, at most ``limit``, by their ids."""
    statement = _select(doubtful).order_by(tasks.c.id).limit(limit)
    if after is not None:
        statement = statement.where(tasks.c.id > after)
    return list(conn.scalars(statement))


def count(conn: sa.Connection, doubtful: Doubtful) -> int:
    """How many there are, counted up to ``MOST_COUNTED``."""
    found = _select(doubtful).limit(MOST_COUNTED).subquery()
    return conn.scalar(sa.select(sa.func.count()).select_from(found)) or 0


def set_callback_key(conn: sa.Connection, ids: Sequence[UUID], key_id: str) -> None:
    """Note which secret signs the URLs of those tasks of which the database does not know it."""
    if ids:
        unknown = sa.and_(dialect.any_of(conn, tasks.c.id, ids), tasks.c.callback_key_id.is_(None))
        conn.execute(tasks.update().where(unknown).values(callback_key_id=key_id))


def _select(doubtful: Doubtful) -> sa.Select[Any]:
    statement = sa.select(tasks.c.id).where(
        tasks.c.status == doubtful.status.value,
        # The id's bound is what the index serves; the exact time decides.
        tasks.c.id < first_id_of(doubtful.accepted_by, ID_LATER_S),
        tasks.c.created_at <= doubtful.accepted_by,
    )
    if doubtful.told_since is None:
        return statement
    told = sa.exists().where(
        timeline.c.task_id == tasks.c.id, timeline.c.type == doubtful.entry, timeline.c.at >= doubtful.told_since
    )
    return statement.where(~told)
