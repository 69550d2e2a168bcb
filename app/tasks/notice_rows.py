"""The rows of the outbox as a change writes them."""

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa

from app.database import dialect
from app.database.tables import notifications
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
