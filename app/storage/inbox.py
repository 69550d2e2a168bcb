"""The inbound log: every callback with a valid token, as it came, once per (task, body) with a count."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
import sqlalchemy as sa

from app.domain.filters import first_id_of
from app.domain.observation import Disposition
from app.storage import sets, statements
from app.storage.tables import UNCLAIMED, callbacks

MOST_BODIES: Final = 200
"""Bodies stored per task; later ones are only counted, so that a leaked token cannot fill the disk. As many are stored
of a purged task, and in a day of an unbound token's callbacks that name no item."""
BODY_UNIT: Final = 32 * 1024
"""A body counts once more for each so many bytes of it: an ordinary one has 2 to 8 KB."""
_DAY: Final = timedelta(days=1)


class Delivery(msgspec.Struct, frozen=True):
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
    """A callback that is in the log already: of its first copy, when it came and what became of it. ``hex_digest``: as
    PostgreSQL writes bytes in JSON."""

    hex_digest: str = msgspec.field(name="digest")
    received_at: datetime
    disposition: Disposition

    @property
    def digest(self) -> bytes:
        return bytes.fromhex(self.hex_digest.removeprefix("\\x"))


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


_NEW: Final = statements.Insert(
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
    all_written=True,
)
_AGAIN: Final = statements.Update(
    callbacks, ("digest",), ("last_received_at",), add=("times",), all_written=True, rare=True
)
_SETTLED: Final = statements.Update(
    callbacks, ("digest",), ("last_received_at", "disposition", "detail"), add=("times",), all_written=True, rare=True
)


def of_digests(given: sa.FromClause) -> sa.Select[Any]:
    """What the log knows of a set of digests."""
    table = callbacks.c
    statement = sa.select(table.digest, table.received_at, table.disposition)
    return statement.join(given, given.c.digest == table.digest)


_RECEIPTS: Final = statements.Select(
    {"digests": (callbacks.c.digest,)},
    of_digests,
    msgspec.json.Decoder(list[Receipt]).decode,
    lambda row: Receipt(row[0].hex(), row[1], Disposition(row[2])),
)


def digest_of(task_id: UUID | None, family: str, body: bytes) -> bytes:
    """One key that is never null, so that it can be unique also for callbacks that are bound to nobody."""
    bound = task_id.hex if task_id else ""
    found = hashlib.sha256(f"{bound}\x00{family}\x00".encode())
    found.update(body)
    return found.digest()


def receipts(conn: sa.Connection, digests: Sequence[bytes]) -> list[Receipt]:
    """Which of these callbacks are in the log."""
    return sets.select_each(conn, _RECEIPTS, digests) if digests else []


def recorded(deliveries: Iterable[Delivery], held: Mapping[bytes, Receipt]) -> list[statements.Change]:
    """Callbacks added, or, where they are ``held`` already, counted once more; what became of one and why is written
    only where it is another thing now. At most one of each digest. Rows are written in the order of their keys, or two
    replicas would deadlock. Writing raises ``Conflicted`` if somebody else added or deleted one meanwhile."""
    new, again, settled = [], [], []
    for one in sorted(deliveries, key=lambda each: each.digest):
        receipt = held.get(one.digest)
        if receipt is None:
            new.append(_row(one))
        elif receipt.disposition is one.disposition:
            again.append((one.digest, one.received_at, one.times))
        else:
            settled.append((one.digest, one.received_at, one.disposition.value, one.detail, one.times))
    return [(_NEW, new), (_AGAIN, again), (_SETTLED, settled)]


def _row(one: Delivery) -> tuple[Any, ...]:
    return (
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


def allowance(conn: sa.Connection, task_id: UUID | None, family: str, at: datetime) -> int:
    """How many more bodies are to be stored for a task that is no more, or, without a task, for the unbound token of a
    family on the day before ``at``."""
    if task_id is not None:
        charged: sa.ColumnElement[bool] = callbacks.c.task_id == task_id
    else:
        charged = sa.and_(callbacks.c.family == family, callbacks.c.id >= first_id_of(at - _DAY), UNCLAIMED)
    some = sa.select(sa.literal(1)).where(charged).limit(MOST_BODIES).subquery()
    return MOST_BODIES - (conn.scalar(sa.select(sa.func.count()).select_from(some)) or 0)


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
