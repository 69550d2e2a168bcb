"""Notifications: each milestone becomes a row of the outbox, in the transaction of the change itself.

What a client is told is frozen there as a snapshot: the task and its items as the change left them. What never
changes (params, metadata, a large value under its digest) is not copied, but read when the notification is sent; so
a callback does not pay for the ten kilobytes that its client will see.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa

from app.caller.urls import origin_of
from app.domain.board import Board, Rules
from app.domain.policy import Policy
from app.domain.task import Item, Task
from app.flows.present import rfc3339, task_document
from app.storage import items, outbox, sets, tasks
from app.storage.database import dumps
from app.storage.outbox import Letter
from app.storage.tasks import Given, Record


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A task at one moment, as it is kept in the outbox."""

    task: Task
    items: list[Item]


def written(board: Board, rules: Rules) -> sets.Change:
    """The outbox rows for what the tasks of a board have passed, frozen as this transaction leaves them."""
    rows = []
    for one in board.milestones:
        if one.task_id in board.removed:
            continue
        task = board.tasks[one.task_id]
        url = task.webhook_url or ""
        snapshot = Snapshot(task, board.items_of(task))
        rows.append(
            outbox.New(
                rules.new_id(), task.client_name, task.id, f"task.{one.name}", url, origin_of(url), snapshot, one.at
            )
        )
    return outbox.added(rows)


def rendered(conn: sa.Connection, letters: Sequence[Letter], policy: Policy) -> list[bytes]:
    """The bodies of notifications, in their order; the same at each attempt. Reads in the caller's transaction: two
    statements, however many there are."""
    snapshots = [msgspec.convert(letter.snapshot, Snapshot) for letter in letters]
    given = tasks.given_of(conn, {letter.task_id for letter in letters})
    values = items.values_of(conn, (item for snapshot in snapshots for item in snapshot.items))
    bodies = []
    for letter, snapshot in zip(letters, snapshots, strict=True):
        # A task that was purged meanwhile is still told of, without what its client sent.
        record = Record(snapshot.task, given.get(letter.task_id, Given({}, {})))
        document = task_document(record, snapshot.items, values, policy)
        body = {"type": letter.type, "timestamp": rfc3339(letter.created_at), "data": document}
        bodies.append(dumps(body).encode())
    return bodies
