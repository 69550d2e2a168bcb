"""Fair order of submissions: the clients take turns, and each one's oldest task goes first."""

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from app.database.tables import tasks
from app.tasks import task_rows
from app.tasks.task_rows import TaskRecord


def in_turn(names: Sequence[str], last: str | None) -> list[str]:
    """Sort clients in the order of their turns: by name, beginning after the one that came last."""
    return sorted(names, key=lambda name: (last is not None and name <= last, name))


def share(room: int, in_flight: Mapping[str, int], waiting: Sequence[str]) -> list[str]:
    """Share slots out, one after the other: each to the client with the fewest tasks in flight by then, among equals to
    the one that stands first in ``waiting``."""
    turns = [(in_flight.get(name, 0), place) for place, name in enumerate(waiting)]
    heapq.heapify(turns)
    served = []
    for _ in range(room if turns else 0):
        count, place = turns[0]
        heapq.heapreplace(turns, (count + 1, place))
        served.append(waiting[place])
    return served


@dataclass(frozen=True, slots=True)
class LockedTasks:
    """Locked tasks that may be sent, and whose turn came last. ``has_more``: tasks were parked or made due again, and
    there may be more of them."""

    records: list[TaskRecord]
    last_client: str | None
    has_more: bool = False


def _waiting() -> sa.Select[Any]:
    """A recursive query that goes from one client to the next along the index, so that their tasks are not looked at;
    each with its oldest."""
    queued = tasks.c.dispatch_due_at.is_not(None)
    first = sa.select(sa.func.min(tasks.c.client_name).label("client_name")).where(queued)
    clients = first.cte("waiting", recursive=True)
    next_client = sa.select(sa.func.min(tasks.c.client_name)).where(queued, tasks.c.client_name > clients.c.client_name)
    clients = clients.union_all(sa.select(next_client.scalar_subquery()).where(clients.c.client_name.is_not(None)))
    oldest = sa.select(sa.func.min(tasks.c.dispatch_due_at)).where(queued, tasks.c.client_name == clients.c.client_name)
    return sa.select(clients.c.client_name, oldest.scalar_subquery().label("oldest_at")).where(
        clients.c.client_name.is_not(None)
    )


_WAITING: Final = _waiting()


def waiting_clients(conn: sa.Connection, now: datetime) -> list[str]:
    """Read the clients that have a queued task that is due."""
    rows = conn.execute(_WAITING)
    return [row.client_name for row in rows if row.oldest_at is not None and row.oldest_at <= now]


def lock_next(
    conn: sa.Connection,
    now: datetime,
    room: int,
    in_flight: Mapping[str, int],
    last_client: str | None,
    *,
    oldest: bool = False,
) -> LockedTasks:
    """Lock at most ``room`` queued tasks that are due, shared out between the clients by what each has in flight,
    and among equals by turns; or (``oldest``) those that have been due longest, whosever they are.

    Call it under the lock of the limit. Tasks that another transaction holds are passed over. The cost grows with
    the clients that wait and with ``room``, not with the tasks that wait.
    """
    if room <= 0:
        return LockedTasks([], last_client)
    if oldest:
        return LockedTasks(task_rows.lock_queued(conn, now, room), last_client)
    waiting = in_turn(waiting_clients(conn, now), last_client)
    records_of: dict[str, list[TaskRecord]] = {}
    exhausted: set[str] = set()
    while True:
        others = [name for name in waiting if name not in exhausted]
        served = share(room - sum(len(records_of[name]) for name in exhausted), in_flight, others)
        short = set()
        for name, size in Counter(served).items():
            if len(records_of.get(name, ())) < size:
                # Rows that this transaction has locked already are found again: the larger set holds them.
                records_of[name] = task_rows.lock_queued(conn, now, size, name)
                if len(records_of[name]) < size:
                    short.add(name)
        if not short:
            records = [record for records in records_of.values() for record in records]
            return LockedTasks(records, served[-1] if served else last_client)
        exhausted |= short
