"""Who is sent next: the clients take turns, and each one's oldest task goes first."""

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa

from app.domain.turns import share
from app.storage import tasks
from app.storage.tasks import Record


def lock_next(conn: sa.Connection, now: datetime, room: int, in_flight: Mapping[str, int]) -> list[Record]:
    """Lock at most ``room`` queued tasks that are due, shared out between the clients by what each has in flight.
    Call it under the lock of the limit. Tasks that another transaction holds are passed over. The cost grows with
    the clients that wait and with ``room``, not with the tasks that wait."""
    waiting = tasks.waiting(conn, now)
    found: dict[str, list[Record]] = {}
    exhausted: set[str] = set()
    while True:
        others = [name for name in waiting if name not in exhausted]
        left = room - sum(len(found[name]) for name in exhausted)
        short = set()
        for name, size in share(left, in_flight, others).items():
            if len(found.get(name, ())) < size:
                # Rows that this transaction has locked already are found again: the larger set holds them.
                found[name] = tasks.lock_queued(conn, now, size, name)
                if len(found[name]) < size:
                    short.add(name)
        if not short:
            return [record for records in found.values() for record in records]
        exhausted |= short
