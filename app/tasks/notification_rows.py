"""The rows of the outbox, written in the transaction of the change that they tell of: one for each milestone.

What a client is told is frozen there as a snapshot: the task and its items as the change left them. What never
changes (params, metadata, a large value under its digest) is not copied, but read when the notification is sent; so
a callback does not pay for the ten kilobytes that its client will see.
"""

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa

from app.database import dialect
from app.database.tables import notifications
from app.rules.loaded import Loaded, Rules
from app.rules.task import Item, Task
from app.tasks.webhook_url import origin_of
from app.tasks.writes import Row


class NotificationStatus(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


class New(msgspec.Struct, frozen=True):
    """A notification to be written. ``origin``: of its URL. ``snapshot``: what its body is made of, as JSON."""

    id: UUID
    client_name: str
    task_id: UUID
    type: str
    url: str
    origin: str
    snapshot: Any
    created_at: datetime


def receiver_of(client_name: str, origin: str) -> str:
    """Who has places of its own: a client at one origin (scheme, host and port of its URL)."""
    return f"{client_name}\n{origin}"


def client_of(receiver: str) -> str:
    """The client of a receiver."""
    return receiver.partition("\n")[0]


def row_of(one: New) -> Row:
    """The row of a new notification, due at once, as ``writes`` has it."""
    return (
        one.id,
        one.client_name,
        one.task_id,
        one.type,
        one.url,
        receiver_of(one.client_name, one.origin),
        one.snapshot,
        NotificationStatus.PENDING.value,
        0,
        one.created_at,
        one.created_at,
    )


def snapshots_of(conn: sa.Connection, task_ids: Collection[UUID]) -> list[Any]:
    """The snapshots of all notifications of some tasks."""
    if not task_ids:
        return []
    table = notifications.c
    return list(conn.scalars(sa.select(table.snapshot).where(dialect.any_of(conn, table.task_id, sorted(task_ids)))))


class Snapshot(msgspec.Struct, frozen=True):
    """A task at one moment, as it is kept in the outbox, with the settings that what is shown of it depends on."""

    task: Task
    items: list[Item]
    unknown_grace_s: float
    follow_ups: int


def written(loaded: Loaded, rules: Rules) -> list[Row]:
    """The outbox rows for what loaded tasks have passed, frozen as this transaction leaves them."""
    policy = rules.policy
    rows = []
    for one in loaded.milestones:
        if one.task_id in loaded.removed:
            continue
        task = loaded.tasks[one.task_id]
        url = task.webhook_url or ""
        snapshot = Snapshot(task, loaded.items_of(task), policy.unknown_grace_s, policy.follow_ups)
        rows.append(
            row_of(
                New(
                    rules.new_id(), task.client_name, task.id, f"task.{one.name}", url, origin_of(url), snapshot, one.at
                )
            )
        )
    return rows


def named_digests(conn: sa.Connection, task_ids: Collection[UUID]) -> set[str]:
    """The large values that notifications of some tasks are made of, by digest."""
    return {
        digest
        for snapshot in snapshots_of(conn, task_ids)
        for item in snapshot.get("items", ())
        for _, digest in item.get("state", {}).get("large", {}).values()
    }
