"""A callback on its way into the inbound log: its key, its row, and how many bodies may be stored of a task."""

import hashlib
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec
import sqlalchemy as sa

from app.database.tables import UNCLAIMED, callbacks
from app.rules.observation import Disposition, Reading
from app.runtime.clock import first_id_of
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


def digest_of(task_id: UUID | None, family: str, body: bytes) -> bytes:
    """The key of a callback in the log: never null, so that it can be unique also for those that are bound to
    nobody."""
    bound = task_id.hex if task_id else ""
    digest = hashlib.sha256(f"{bound}\x00{family}\x00".encode())
    digest.update(body)
    return digest.digest()


def row_of(callback: Callback, disposition: Disposition, detail: str | None = None) -> Row:
    """The row of a callback, as ``writes`` has it. ``detail``: why it could not be applied."""
    return (
        callback.id,
        callback.digest,
        callback.task_id,
        callback.family,
        disposition.value,
        callback.body,
        callback.received_at,
        callback.received_at,
        callback.times,
        callback.address,
        detail,
    )


def settled_row_of(callback: Callback, disposition: Disposition) -> Row:
    """The row that updates a first copy, where a repeat of it came to another disposition, as ``writes`` has it."""
    return (callback.digest, callback.received_at, disposition.value, None, callback.times)


def allowance(conn: sa.Connection, task_id: UUID | None, family: str, at: datetime) -> int:
    """Count how many more bodies may be stored for a task that is no more, or, without a task, for the unbound token of
    a family on the day before ``at``."""
    if task_id is not None:
        charged: sa.ColumnElement[bool] = callbacks.c.task_id == task_id
    else:
        charged = sa.and_(callbacks.c.family == family, callbacks.c.id >= first_id_of(at - _DAY), UNCLAIMED)
    bounded = sa.select(sa.literal(1)).where(charged).limit(MOST_BODIES).subquery()
    return MOST_BODIES - (conn.scalar(sa.select(sa.func.count()).select_from(bounded)) or 0)
