"""Idempotency keys: which tasks a request made, so that the same request again returns them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import sqlalchemy as sa

from app.database import dialect
from app.database.tables import idempotency_keys

_KEY: Final = ("client_name", "route", "key")


@dataclass(frozen=True, slots=True)
class Key:
    client_name: str
    route: str
    key: str


def take(conn: sa.Connection, key: Key, digest: bytes, task_ids: Sequence[UUID], now: datetime) -> bool:
    """Insert a key, after whoever is inserting it now; false if it was taken."""
    texts = [str(task_id) for task_id in task_ids]
    insert = dialect.insert(conn, idempotency_keys).on_conflict_do_nothing(index_elements=_KEY)
    insert_row = insert.values(
        client_name=key.client_name, route=key.route, key=key.key, digest=digest, task_ids=texts, created_at=now
    )
    return conn.execute(insert_row).rowcount == 1


def find(conn: sa.Connection, key: Key) -> tuple[bytes, tuple[UUID, ...]]:
    """Read the digest and the tasks of a key that is taken."""
    table = idempotency_keys.c
    row = conn.execute(
        sa.select(table.digest, table.task_ids).where(
            table.client_name == key.client_name, table.route == key.route, table.key == key.key
        )
    ).one()
    return row.digest, tuple(UUID(text) for text in row.task_ids)
