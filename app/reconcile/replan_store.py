"""Work that was planned by a clock that has been set back since, and so is due hours from now: found along the indexes
of due times, from their far end, a batch at a time. Rows that another transaction holds are left for the next batch."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from app.database import dialect
from app.database.tables import items as items_table
from app.database.tables import notifications, tasks
from app.tasks import items

Cursor = tuple[datetime, UUID]


def questions(conn: sa.Connection, now: datetime, reach: datetime, leased_until: datetime, limit: int) -> int:
    """Questions that are due later than ``reach`` are due now; those that somebody asks, when that lease ends.
    Returns how many there were."""
    table = items_table.c
    far = (
        sa.select(table.family, table.item_id, table.query_leased_until)
        .where(table.query_due_at > reach)
        .order_by(table.query_due_at.desc())
        .limit(limit)
    )
    rows = conn.execute(dialect.locked(far, of=items_table, skip=True)).all()
    items.lease(conn, [(row.family, row.item_id) for row in rows if row.query_leased_until is not None], leased_until)
    for row in rows:
        if row.query_leased_until is None:
            one = sa.and_(table.family == row.family, table.item_id == row.item_id)
            conn.execute(items_table.update().where(one).values(query_due_at=now))
    return len(rows)


def submissions(conn: sa.Connection, now: datetime, reach: datetime, parked: datetime, limit: int) -> int:
    """Queued tasks that are due later than ``reach`` (parked ones: later than ``parked``) are due now. Returns how
    many there were."""
    due_at = tasks.c.dispatch_due_at
    too_far = sa.and_(due_at > reach, sa.or_(tasks.c.parked_as.is_(None), due_at > parked))
    far = sa.select(tasks.c.id).where(too_far).order_by(due_at.desc(), tasks.c.id.desc()).limit(limit)
    chosen = list(conn.scalars(dialect.locked(far, of=tasks, skip=True)))
    if chosen:
        these = dialect.any_of(conn, tasks.c.id, chosen)
        conn.execute(tasks.update().where(these).values(dispatch_due_at=now, not_before_at=None))
    return len(chosen)


def letters(conn: sa.Connection, reaches: Sequence[datetime], limit: int) -> int:
    """Notifications that are due later than the reach of their number of attempts are due then. Returns how many
    there were."""
    table = notifications.c
    last = len(reaches) - 1
    for attempts, reach in enumerate(reaches):
        so_many = table.attempts == attempts if attempts < last else table.attempts >= last
        far = sa.select(table.id).where(table.due_at > reach, so_many).order_by(table.due_at.desc()).limit(limit)
        chosen = list(conn.scalars(dialect.locked(far, of=notifications, skip=True)))
        if chosen:
            these = dialect.any_of(conn, table.id, chosen)
            conn.execute(notifications.update().where(these).values(due_at=reach))
            return len(chosen)
    return 0


def timers(conn: sa.Connection, after: Cursor | None, limit: int) -> list[Cursor]:
    """The next tasks that the clock has still to look at, the latest first, each with when."""
    due_at, task_id = tasks.c.timer_due_at, tasks.c.id
    statement = sa.select(due_at, task_id).where(due_at.is_not(None)).order_by(due_at.desc(), task_id.desc())
    if after is not None:
        bound: Any = sa.tuple_(
            *(sa.literal(value, one.type) for value, one in zip(after, (due_at, task_id), strict=True))
        )
        statement = statement.where(sa.tuple_(due_at, task_id) < bound)
    return [(row.timer_due_at, row.id) for row in conn.execute(statement.limit(limit))]
