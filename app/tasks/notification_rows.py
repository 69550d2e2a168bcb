"""The rows of the outbox, written in the transaction of the change that they report: one for each milestone.

What a client is notified of is frozen there as a snapshot: the task and its items as the change left them. What never
changes (params, metadata, a large value under its digest) is not copied, but read when the notification is sent; so
a callback does not pay for the ten kilobytes that its client will see.
"""

from collections.abc import Collection
from enum import StrEnum
from uuid import UUID

import msgspec
import sqlalchemy as sa

from app.database import dialect
from app.database.tables import notifications
from app.rules.loaded_state import Loaded, Rules
from app.rules.task import Item, Task
from app.tasks.webhook_url import origin_of
from app.tasks.writes import Row


class NotificationStatus(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


def receiver_of(client_name: str, origin: str) -> str:
    """The name of a receiver, which has its own share of places: a client at one origin (scheme, host and port of its
    URL)."""
    return f"{client_name}\n{origin}"


def client_of(receiver: str) -> str:
    """The client of a receiver."""
    return receiver.partition("\n")[0]


class Snapshot(msgspec.Struct, frozen=True):
    """A task at one moment, as it is kept in the outbox, with the settings that what is shown of it depends on."""

    task: Task
    items: list[Item]
    unknown_grace_s: float
    follow_ups: int


def new_rows(loaded: Loaded, rules: Rules) -> list[Row]:
    """The outbox rows for the milestones that loaded tasks have passed, frozen as this transaction leaves them and due
    at once, as ``writes`` has them."""
    policy, pending = rules.policy, NotificationStatus.PENDING.value
    rows: list[Row] = []
    for milestone in loaded.milestones:
        if milestone.task_id in loaded.removed:
            continue
        task, at = loaded.tasks[milestone.task_id], milestone.at
        snapshot = Snapshot(task, loaded.items_of(task), policy.unknown_grace_s, policy.follow_ups)
        type_, url = f"task.{milestone.name}", task.webhook_url or ""
        receiver = receiver_of(task.client_name, origin_of(url))
        row = (rules.new_id(), task.client_name, task.id, type_, url, receiver, snapshot, pending, 0, at, at)
        rows.append(row)
    return rows


def named_digests(conn: sa.Connection, task_ids: Collection[UUID]) -> set[str]:
    """Read which large values notifications of some tasks are made of, by digest."""
    if not task_ids:
        return set()
    table = notifications.c
    own = dialect.any_of(conn, table.task_id, sorted(task_ids))
    return {
        digest
        for snapshot in conn.scalars(sa.select(table.snapshot).where(own))
        for item in snapshot.get("items", ())
        for _, digest in item.get("state", {}).get("large", {}).values()
    }
