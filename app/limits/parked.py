"""Queued tasks that wait for their kind and model to be offered again.

Parked, a task keeps its place in the queue, but its due time is moved out of the range that a claim looks at; so
those that wait are not passed over again and again. It comes due by itself after a while, and is parked anew if it
must: nothing waits for ever because somebody forgot it, such as a release that knows nothing of this.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import sqlalchemy as sa

from app.database import dialect
from app.database.tables import tasks
from app.tasks.task_rows import Record, record_of

MOST_COUNTED: Final = 10_000

_QUEUED: Final = tasks.c.dispatch_due_at.is_not(None)


def park(conn: sa.Connection, ids: Sequence[UUID], key: str, until: datetime) -> None:
    """Park locked tasks under a key."""
    if ids:
        these = tasks.update().where(dialect.any_of(conn, tasks.c.id, list(ids)))
        conn.execute(these.values(parked_as=key, dispatch_due_at=until))


def unpark(conn: sa.Connection, key: str, now: datetime, limit: int) -> int:
    """Make the oldest tasks of a key due again, as they were; returns how many. Those that another transaction holds
    are passed over."""
    found = sa.select(tasks.c.id).where(tasks.c.parked_as == key, _QUEUED).order_by(tasks.c.id).limit(limit)
    ids = list(conn.scalars(dialect.locked(found, of=tasks, skip=True)))
    if ids:
        # Made later than now: the clock was set back since.
        made_at = sa.case((tasks.c.created_at > now, now), else_=tasks.c.created_at)
        due_at = sa.func.coalesce(tasks.c.not_before_at, made_at)
        these = tasks.update().where(dialect.any_of(conn, tasks.c.id, ids))
        conn.execute(these.values(parked_as=None, dispatch_due_at=due_at))
    return len(ids)


def lock_first(conn: sa.Connection, key: str) -> Record | None:
    """Lock the oldest of the tasks of a key that were sent the fewest times: one that can never be accepted must not
    be the only probe there is. None if there is none, or another transaction holds it."""
    these = sa.select(tasks).where(tasks.c.parked_as == key, _QUEUED)
    first = these.order_by(tasks.c.submit_attempts, tasks.c.id).limit(1)
    row = conn.execute(dialect.locked(first, of=tasks, skip=True)).one_or_none()
    return record_of(row) if row else None


def count(conn: sa.Connection, key: str) -> int:
    """How many wait under a key, counted up to ``MOST_COUNTED``."""
    some = sa.select(sa.literal(1)).where(tasks.c.parked_as == key, _QUEUED).limit(MOST_COUNTED).subquery()
    return conn.scalar(sa.select(sa.func.count()).select_from(some)) or 0


def _keys() -> sa.Select[tuple[str]]:
    """From one key to the next along the index, so that their tasks are not looked at."""
    parked = sa.and_(tasks.c.parked_as.is_not(None), _QUEUED)
    found = sa.select(sa.func.min(tasks.c.parked_as).label("key")).where(parked).cte("parked", recursive=True)
    following = sa.select(sa.func.min(tasks.c.parked_as)).where(parked, tasks.c.parked_as > found.c.key)
    found = found.union_all(sa.select(following.scalar_subquery()).where(found.c.key.is_not(None)))
    return sa.select(found.c.key).where(found.c.key.is_not(None))


_KEYS: Final = _keys()


def keys(conn: sa.Connection) -> list[str]:
    """The keys under which tasks wait."""
    return list(conn.scalars(_KEYS))
