"""The inbound log: every callback with a valid token, as it came, once per (task, body) with a count."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
import sqlalchemy as sa

from app.domain.observation import Disposition
from app.storage import dialect, sets
from app.storage.tables import callbacks

MOST_BODIES: Final = 200
"""Bodies stored per task; later ones are only counted, so that a leaked token cannot fill the disk."""


class Delivery(msgspec.Struct):
    """One callback to be recorded. ``digest`` is the key: of (task or nobody, family, body)."""

    id: UUID
    digest: bytes
    task_id: UUID | None
    family: str
    body: bytes
    received_at: datetime
    address: str | None
    disposition: Disposition
    detail: str | None = None
    times: int = 1


class Receipt(msgspec.Struct, frozen=True):
    """A recorded callback. ``received_at`` is that of its first copy; ``times`` counts all copies."""

    id: UUID
    received_at: datetime
    times: int
    disposition: Disposition


@dataclass(frozen=True, slots=True)
class Logged:
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


_RECORD: Final = sets.Insert(
    callbacks,
    (
        "id",
        "digest",
        "task_id",
        "family",
        "disposition",
        "body",
        "received_at",
        "last_received_at",
        "times",
        "address",
        "detail",
    ),
    conflict=("digest",),
    overwrite=("last_received_at",),
    add=("times",),
    returning=("digest", "id", "received_at", "times", "disposition"),
)
_SETTLE: Final = sets.Update(callbacks, ("id",), ("disposition", "detail"))


def digest_of(task_id: UUID | None, family: str, body: bytes) -> bytes:
    """One key that is never null, so that it can be unique also for callbacks that are bound to nobody."""
    bound = task_id.hex if task_id else ""
    found = hashlib.sha256(f"{bound}\x00{family}\x00".encode())
    found.update(body)
    return found.digest()


def record(conn: sa.Connection, deliveries: Sequence[Delivery]) -> dict[bytes, Receipt]:
    """Add callbacks, or count them again. At most one of each digest; rows are written in the order of their
    keys, or two replicas would deadlock. Returns by digest."""
    rows = [
        (
            one.id,
            one.digest,
            one.task_id,
            one.family,
            one.disposition.value,
            one.body,
            one.received_at,
            one.received_at,
            one.times,
            one.address,
            one.detail,
        )
        for one in sorted(deliveries, key=lambda each: each.digest)
    ]
    return {
        digest: Receipt(callback_id, received_at, times, Disposition(disposition))
        for digest, callback_id, received_at, times, disposition in sets.insert(conn, _RECORD, rows)
    }


def known(conn: sa.Connection, digests: Sequence[bytes]) -> set[bytes]:
    """Which of these callbacks are in the log."""
    if not digests:
        return set()
    wanted = dialect.any_of(conn, callbacks.c.digest, sorted(digests))
    return set(conn.scalars(sa.select(callbacks.c.digest).where(wanted)))


def settled(verdicts: dict[UUID, Disposition]) -> sets.Change:
    """What became of callbacks, once the join has told."""
    return _SETTLE, [(callback_id, verdict.value, None) for callback_id, verdict in sorted(verdicts.items())]


def find(conn: sa.Connection, callback_id: UUID) -> Logged | None:
    row = conn.execute(sa.select(callbacks).where(callbacks.c.id == callback_id)).one_or_none()
    return _logged(row) if row else None


def list_page(
    conn: sa.Connection,
    *,
    task_id: UUID | None,
    disposition: str | None,
    limit: int,
    family: str | None = None,
    before_id: UUID | None = None,
) -> list[Logged]:
    """The newest callbacks that match, at most ``limit``."""
    statement = sa.select(callbacks).order_by(callbacks.c.id.desc()).limit(limit)
    filters = ((callbacks.c.task_id, task_id), (callbacks.c.disposition, disposition), (callbacks.c.family, family))
    for column, value in filters:
        if value is not None:
            statement = statement.where(column == value)
    if before_id is not None:
        statement = statement.where(callbacks.c.id < before_id)
    return [_logged(row) for row in conn.execute(statement)]


def _logged(row: Any) -> Logged:
    return Logged(
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
