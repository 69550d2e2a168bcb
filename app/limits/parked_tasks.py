"""The queued tasks that are parked under a key, out of the range that a claim looks at."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import sqlalchemy as sa

from app.database import dialect
from app.database.tables import tasks
from app.tasks.task_rows import TaskRecord, record_of

PARKED_S: Final = 3600.0
"""After which a parked task comes due by itself."""
MOST_COUNTED: Final = 10_000

_QUEUED: Final = tasks.c.dispatch_due_at.is_not(None)


def park(conn: sa.Connection, ids: Sequence[UUID], key: str, until: datetime) -> None:
    """Park locked tasks under a key."""
    if ids:
        locked = tasks.update().where(dialect.any_of(conn, tasks.c.id, list(ids)))
        conn.execute(locked.values(parked_as=key, dispatch_due_at=until))


def unpark(conn: sa.Connection, key: str, now: datetime, limit: int) -> int:
    """Make the oldest tasks of a key due again, as they were; returns how many. Those that another transaction holds
    are passed over."""
    oldest = sa.select(tasks.c.id).where(tasks.c.parked_as == key, _QUEUED).order_by(tasks.c.id).limit(limit)
    ids = list(conn.scalars(dialect.locked(oldest, of=tasks, skip=True)))
    if ids:
        # Made later than now: the clock was set back since.
        made_at = sa.case((tasks.c.created_at > now, now), else_=tasks.c.created_at)
        due_at = sa.func.coalesce(tasks.c.not_before_at, made_at)
        chosen = tasks.update().where(dialect.any_of(conn, tasks.c.id, ids))
        conn.execute(chosen.values(parked_as=None, dispatch_due_at=due_at))
    return len(ids)


def lock_first(conn: sa.Connection, key: str) -> TaskRecord | None:
    """Lock the oldest of the tasks of a key that were sent the fewest times: one that can never be accepted must not
    be the only probe there is. None if there is none, or another transaction holds it."""
    parked = sa.select(tasks).where(tasks.c.parked_as == key, _QUEUED)
    fewest_attempts = parked.order_by(tasks.c.submit_attempts, tasks.c.id).limit(1)
    row = conn.execute(dialect.locked(fewest_attempts, of=tasks, skip=True)).one_or_none()
    return record_of(row) if row else None


def count(conn: sa.Connection, key: str) -> int:
    """Count the tasks that wait under a key, up to ``MOST_COUNTED``."""
    bounded = sa.select(sa.literal(1)).where(tasks.c.parked_as == key, _QUEUED).limit(MOST_COUNTED).subquery()
    return conn.scalar(sa.select(sa.func.count()).select_from(bounded)) or 0


def _keys() -> sa.Select[tuple[str]]:
    """A recursive query that goes from one key to the next along the index, so that their tasks are not looked at."""
    parked = sa.and_(tasks.c.parked_as.is_not(None), _QUEUED)
    keys = sa.select(sa.func.min(tasks.c.parked_as).label("key")).where(parked).cte("parked", recursive=True)
    next_key = sa.select(sa.func.min(tasks.c.parked_as)).where(parked, tasks.c.parked_as > keys.c.key)
    keys = keys.union_all(sa.select(next_key.scalar_subquery()).where(keys.c.key.is_not(None)))
    return sa.select(keys.c.key).where(keys.c.key.is_not(None))


_KEYS: Final = _keys()


def keys(conn: sa.Connection) -> list[str]:
    """Read the keys under which tasks wait."""
    return list(conn.scalars(_KEYS))
