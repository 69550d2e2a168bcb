"""Who holds the vendor's slots, and who waits for one."""

from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from app.database.tables import tasks
from app.rules.times import FAR

MOST_SHOWN: Final = 1000
MOST_COUNTED: Final = 100_000


def list_held(conn: sa.Connection, now: datetime) -> list[dict[str, Any]]:
    """Describe the tasks that hold a slot, for people, those that have held it longest first, at most ``MOST_SHOWN``.
    ``until`` is None for one that counts until it ends."""
    since = sa.func.coalesce(tasks.c.claimed_at, tasks.c.submitted_at, tasks.c.created_at)
    chosen = sa.select(tasks.c.id, tasks.c.client_name, tasks.c.status, since.label("since"), tasks.c.slot_until)
    statement = chosen.where(tasks.c.slot_until > now).order_by(sa.text("since"), tasks.c.id).limit(MOST_SHOWN)
    return [
        {
            "task_id": str(row.id),
            "client": row.client_name,
            "status": row.status,
            "since": row.since,
            "until": row.slot_until if row.slot_until < FAR else None,
        }
        for row in conn.execute(statement)
    ]


def count_waiting(conn: sa.Connection, now: datetime) -> list[dict[str, Any]]:
    """Describe the queued tasks of each client, by name, for people: how many, and when the oldest came.
    ``MOST_COUNTED`` of all are counted, those due first."""
    queued = (
        sa.select(tasks.c.client_name, tasks.c.created_at)
        .where(tasks.c.dispatch_due_at.is_not(None))
        .order_by(tasks.c.dispatch_due_at)
        .limit(MOST_COUNTED)
        .subquery()
    )
    oldest_at = sa.func.min(queued.c.created_at).label("oldest_at")
    counted = sa.select(queued.c.client_name, sa.func.count().label("n"), oldest_at)
    rows = conn.execute(counted.group_by(queued.c.client_name).order_by(queued.c.client_name))
    return [
        {
            "client": row.client_name,
            "count": row.n,
            "oldest_at": row.oldest_at,
            "oldest_age_s": max(round((now - row.oldest_at).total_seconds(), 1), 0.0),
        }
        for row in rows
    ]
