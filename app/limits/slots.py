"""Who holds the vendor's slots, and who waits for one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import sqlalchemy as sa

from app.database.tables import tasks
from app.rules.times import FAR

MOST_SHOWN: Final = 1000
MOST_COUNTED: Final = 100_000


@dataclass(frozen=True, slots=True)
class Slot:
    """A task that counts as in flight. ``until`` is None if it counts until it ends."""

    task_id: UUID
    client_name: str
    status: str
    since: datetime
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A client's queued tasks, and when the oldest came."""

    client_name: str
    count: int
    oldest_at: datetime


def list_held(conn: sa.Connection, now: datetime) -> Sequence[Slot]:
    """List the tasks that hold a slot, those that have held it longest first, at most ``MOST_SHOWN``."""
    since = sa.func.coalesce(tasks.c.claimed_at, tasks.c.submitted_at, tasks.c.created_at)
    chosen = sa.select(tasks.c.id, tasks.c.client_name, tasks.c.status, since.label("since"), tasks.c.slot_until)
    statement = chosen.where(tasks.c.slot_until > now).order_by(sa.text("since"), tasks.c.id).limit(MOST_SHOWN)
    return [
        Slot(row.id, row.client_name, row.status, row.since, row.slot_until if row.slot_until < FAR else None)
        for row in conn.execute(statement)
    ]


def count_waiting(conn: sa.Connection) -> Sequence[Waiting]:
    """Count the queued tasks of each client, by name; ``MOST_COUNTED`` of all are counted, those due first."""
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
    return [Waiting(row.client_name, row.n, row.oldest_at) for row in rows]
