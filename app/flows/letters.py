"""Notifications: each milestone becomes a row of the outbox, in the transaction of the change itself.

What a client is told is frozen there as a snapshot: the task and its items as the change left them. What never
changes (params, metadata, a large value under its digest) is not copied, but read when the notification is sent; so
a callback does not pay for the ten kilobytes that its client will see.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from uuid import UUID

import msgspec
import sqlalchemy as sa
import structlog

from app.caller.urls import origin_of
from app.domain.board import Board, Rules
from app.domain.policy import Policy
from app.domain.task import Item, Task
from app.domain.timing import rfc3339
from app.flows.present import task_document
from app.storage import items, outbox, tasks
from app.storage.database import dumps
from app.storage.outbox import Letter
from app.storage.tasks import Given, Record
from app.storage.writes import Row

log = structlog.get_logger(__name__)


class Snapshot(msgspec.Struct, frozen=True):
    """A task at one moment, as it is kept in the outbox, with the settings that what is shown of it depends on."""

    task: Task
    items: list[Item]
    unknown_grace_s: float
    follow_ups: int


def written(board: Board, rules: Rules) -> list[Row]:
    """The outbox rows for what the tasks of a board have passed, frozen as this transaction leaves them."""
    policy = rules.policy
    rows = []
    for one in board.milestones:
        if one.task_id in board.removed:
            continue
        task = board.tasks[one.task_id]
        url = task.webhook_url or ""
        snapshot = Snapshot(task, board.items_of(task), policy.unknown_grace_s, policy.follow_ups)
        rows.append(
            outbox.row_of(
                outbox.New(
                    rules.new_id(), task.client_name, task.id, f"task.{one.name}", url, origin_of(url), snapshot, one.at
                )
            )
        )
    return rows


def rendered(conn: sa.Connection, letters: Sequence[Letter], policy: Policy) -> list[bytes | None]:
    """The bodies of notifications, in their order; None where the snapshot cannot be read. One that was posted
    before stays as it was. Reads in the caller's transaction: two statements, however many there are."""
    snapshots = {letter.id: _read(letter) for letter in letters if letter.body is None}
    found = {letter_id: snapshot for letter_id, snapshot in snapshots.items() if snapshot is not None}
    given = tasks.given_of(conn, {snapshot.task.id for snapshot in found.values()})
    values = items.values_of(conn, (item for snapshot in found.values() for item in snapshot.items))
    bodies: list[bytes | None] = []
    for letter in letters:
        snapshot = found.get(letter.id)
        if snapshot is None:
            bodies.append(letter.body)
            continue
        # A task that was purged meanwhile is still told of, without what its client sent.
        record = Record(snapshot.task, given.get(snapshot.task.id, Given({}, {})))
        then = replace(policy, unknown_grace_s=snapshot.unknown_grace_s, follow_ups=snapshot.follow_ups)
        document = task_document(record, snapshot.items, values, then)
        body = {"type": letter.type, "timestamp": rfc3339(letter.created_at), "data": document}
        bodies.append(dumps(body).encode())
    return bodies


def named_digests(conn: sa.Connection, task_ids: Collection[UUID]) -> set[str]:
    """The large values that notifications of some tasks are made of, by digest."""
    return {
        digest
        for snapshot in outbox.snapshots_of(conn, task_ids)
        for item in snapshot.get("items", ())
        for _, digest in item.get("state", {}).get("large", {}).values()
    }


def _read(letter: Letter) -> Snapshot | None:
    try:
        return msgspec.convert(letter.snapshot, Snapshot)
    except msgspec.ValidationError as error:
        log.error("notification.unreadable", notification_id=str(letter.id), error=str(error))
        return None
