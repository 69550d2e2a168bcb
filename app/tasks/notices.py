"""Notifications are written with the change that they tell of: each milestone becomes a row of the outbox, in its
transaction.

What a client is told is frozen there as a snapshot: the task and its items as the change left them. What never
changes (params, metadata, a large value under its digest) is not copied, but read when the notification is sent; so
a callback does not pay for the ten kilobytes that its client will see.
"""

from collections.abc import Collection
from uuid import UUID

import msgspec
import sqlalchemy as sa

from app.rules.loaded import Loaded, Rules
from app.rules.task import Item, Task
from app.tasks import notice_rows
from app.tasks.webhook_url import origin_of
from app.tasks.writes import Row


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
            notice_rows.row_of(
                notice_rows.New(
                    rules.new_id(), task.client_name, task.id, f"task.{one.name}", url, origin_of(url), snapshot, one.at
                )
            )
        )
    return rows


def named_digests(conn: sa.Connection, task_ids: Collection[UUID]) -> set[str]:
    """The large values that notifications of some tasks are made of, by digest."""
    return {
        digest
        for snapshot in notice_rows.snapshots_of(conn, task_ids)
        for item in snapshot.get("items", ())
        for _, digest in item.get("state", {}).get("large", {}).values()
    }
