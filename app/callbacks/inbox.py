"""The inbound log: every callback with a valid token, as it came, once per (task, body) with a count."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
import sqlalchemy as sa

from app.database.tables import UNCLAIMED, callbacks
from app.rules.filters import first_id_of
from app.rules.observation import Disposition, Reading
from app.tasks.writes import Row

MOST_BODIES: Final = 200
"""Bodies stored per task; later ones are only counted, so that a leaked token cannot fill the disk. As many are stored
of a purged task, and in a day of an unbound token's callbacks that name no item."""
BODY_UNIT: Final = 32 * 1024
"""A body counts once more for each so many bytes of it: an ordinary one has 2 to 8 KB."""
_DAY: Final = timedelta(days=1)


class Callback(msgspec.Struct, frozen=True):
    """A callback with a valid token, read. ``digest`` is its key in the log: of (task or nobody, family, body).
    ``fault`` says why it is malformed, and then it has no readings. ``times`` is above 1 where several copies were
    collapsed. ``fresh``: not a replay."""

    id: UUID
    digest: bytes
    task_id: UUID | None
    family: str
    body: bytes
    received_at: datetime
    address: str | None
    readings: tuple[Reading, ...]
    fault: str | None = None
    times: int = 1
    fresh: bool = True


@dataclass(frozen=True, slots=True)
class StoredCallback:
    """A row of the log, for reading."""

    id: UUID
    task_id: UUID | None
    family: str
    disposition: str
    body: bytes
    received_at: datetime
    last_received_at: datetime
    times: int
    address: str | None
    detail: str | None


def digest_of(task_id: UUID | None, family: str, body: bytes) -> bytes:
    """One key that is never null, so that it can be unique also for callbacks that are bound to nobody."""
    bound = task_id.hex if task_id else ""
    found = hashlib.sha256(f"{bound}\x00{family}\x00".encode())
    found.update(body)
    return found.digest()


def row_of(one: Callback, disposition: Disposition, detail: str | None = None) -> Row:
    """The row of a callback, as ``writes`` has it. ``detail``: why it could not be applied."""
    return (
        one.id,
        one.digest,
        one.task_id,
        one.family,
        disposition.value,
        one.body,
        one.received_at,
        one.received_at,
        one.times,
        one.address,
        detail,
    )


def settled_row_of(one: Callback, disposition: Disposition) -> Row:
    """The row of a repeat of which something else became than of its first copy, as ``writes`` has it."""
    return (one.digest, one.received_at, disposition.value, None, one.times)


def allowance(conn: sa.Connection, task_id: UUID | None, family: str, at: datetime) -> int:
    """How many more bodies are to be stored for a task that is no more, or, without a task, for the unbound token of a
    family on the day before ``at``."""
    if task_id is not None:
        charged: sa.ColumnElement[bool] = callbacks.c.task_id == task_id
    else:
        charged = sa.and_(callbacks.c.family == family, callbacks.c.id >= first_id_of(at - _DAY), UNCLAIMED)
    some = sa.select(sa.literal(1)).where(charged).limit(MOST_BODIES).subquery()
    return MOST_BODIES - (conn.scalar(sa.select(sa.func.count()).select_from(some)) or 0)


def find(conn: sa.Connection, callback_id: UUID) -> StoredCallback | None:
    row = conn.execute(sa.select(callbacks).where(callbacks.c.id == callback_id)).one_or_none()
    return _logged(row) if row else None


def settle(conn: sa.Connection, callback_id: UUID, disposition: str, detail: str | None) -> None:
    """Note what has become of a callback now, and why."""
    this = callbacks.update().where(callbacks.c.id == callback_id)
    conn.execute(this.values(disposition=disposition, detail=detail))


def list_page(
    conn: sa.Connection,
    *,
    task_id: UUID | None,
    disposition: str | None,
    limit: int,
    family: str | None = None,
    before_id: UUID | None = None,
) -> list[StoredCallback]:
    """The newest callbacks that match, at most ``limit``."""
    statement = sa.select(callbacks).order_by(callbacks.c.id.desc()).limit(limit)
    filters = ((callbacks.c.task_id, task_id), (callbacks.c.disposition, disposition), (callbacks.c.family, family))
    for column, value in filters:
        if value is not None:
            statement = statement.where(column == value)
    if before_id is not None:
        statement = statement.where(callbacks.c.id < before_id)
    return [_logged(row) for row in conn.execute(statement)]


def _logged(row: Any) -> StoredCallback:
    return StoredCallback(
        row.id,
        row.task_id,
        row.family,
        row.disposition,
        row.body,
        row.received_at,
        row.last_received_at,
        row.times,
        row.address,
        row.detail,
    )
