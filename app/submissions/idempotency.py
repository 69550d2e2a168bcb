"""Idempotency keys: which tasks a request made, so that the same request again returns them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import sqlalchemy as sa

from app.database import dialect
from app.database.tables import idempotency_keys
from app.errors import IdempotencyMismatch

_KEY: Final = ("client_name", "route", "key")


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """An idempotency key of a client, in its scope. ``digest`` is that of the parsed JSON of the request."""

    route: str
    key: str
    digest: bytes


def take(
    conn: sa.Connection, client_name: str, request: IdempotentRequest, task_ids: Sequence[UUID], now: datetime
) -> tuple[UUID, ...] | None:
    """Take a client's key for new tasks; returns those that it stands for if the same request took it before. The
    insert waits for whoever is inserting the same key; then one of the two finds it taken. Raises
    ``IdempotencyMismatch``."""
    insert = dialect.insert(conn, idempotency_keys).on_conflict_do_nothing(index_elements=_KEY)
    key = {"client_name": client_name, "route": request.route, "key": request.key}
    row = key | {"digest": request.digest, "task_ids": [str(task_id) for task_id in task_ids], "created_at": now}
    if conn.execute(insert.values(row)).rowcount == 1:
        return None
    columns = idempotency_keys.c
    same = (columns[name] == value for name, value in key.items())
    stored = conn.execute(sa.select(columns.digest, columns.task_ids).where(*same)).one()
    if stored.digest != request.digest:
        raise IdempotencyMismatch("this Idempotency-Key was used with another request")
    return tuple(UUID(text) for text in stored.task_ids)
