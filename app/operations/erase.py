"""Erase the data of a revoked client: its ended tasks, their callbacks and notifications, its idempotency keys.

In small transactions, each complete in itself, so that it can be resumed. The client's row stays, so that its name is
not given again before its time.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import sqlalchemy as sa

from app.audit import audit
from app.audit.audit import Action, Actor, AuditEntry, new_entry
from app.database import dialect
from app.database.database import Database
from app.database.tables import callbacks, clients, idempotency_keys, notifications, tasks, timeline
from app.errors import Conflict, NotFound
from app.operations.retention import MOST_ROWS, rest_s
from app.operations.retention_store import trim_timeline
from app.runtime.clock import Clock
from app.tasks import stored_files

MOST_COUNTED: Final = 1000


@dataclass(frozen=True, slots=True)
class Part:
    """What one transaction erased: rows of one table. ``ended``: nothing is left."""

    table: str
    deleted: int
    ended: bool = False


def is_revoked(conn: sa.Connection, name: str) -> bool | None:
    """Whether a client was revoked; None if there is no such client."""
    row = conn.execute(sa.select(clients.c.revoked_at).where(clients.c.name == name)).one_or_none()
    return row.revoked_at is not None if row else None


def count_open(conn: sa.Connection, name: str) -> int:
    """Count a client's tasks that are to be sent or that something is still to come of, up to ``MOST_COUNTED``."""
    count = 0
    for due in (tasks.c.dispatch_due_at, tasks.c.timer_due_at):
        bounded = sa.select(sa.literal(1)).where(due.is_not(None), tasks.c.client_name == name).limit(MOST_COUNTED)
        count += conn.scalar(sa.select(sa.func.count()).select_from(bounded.subquery())) or 0
    return min(count, MOST_COUNTED)


def erase_part(conn: sa.Connection, name: str, rows: int) -> Part:
    """Erase some ``rows`` of a client at most, in the caller's transaction: first idempotency keys and notifications,
    then task by task, each after its callbacks, which could not be found without it."""
    for table in (idempotency_keys, notifications):
        keys = list(table.primary_key)
        found = conn.execute(sa.select(*keys).where(table.c.client_name == name).order_by(*keys).limit(rows)).all()
        if found:
            chosen = sa.tuple_(*keys).in_([tuple(row) for row in found])
            return Part(table.name, conn.execute(table.delete().where(chosen)).rowcount)
    return _erase_tasks(conn, name, rows)


def _erase_tasks(conn: sa.Connection, name: str, rows: int) -> Part:
    found = conn.execute(
        sa.select(tasks.c.id, tasks.c.family, tasks.c.kind, tasks.c.timeline_seq, tasks.c.updated_at)
        .where(tasks.c.client_name == name)
        .order_by(tasks.c.id)
        .limit(max(rows // 5, 1))
        .with_for_update(of=tasks)
    ).all()
    if not found:
        stored_files.doom_uploads(conn, name)
        return Part(tasks.name, 0, ended=True)
    callback_ids = _bound_callbacks(conn, [row.id for row in found], rows)
    if not callback_ids:
        external_ids = [row.id for row in found if row.kind == f"{row.family}.external"]
        callback_ids = _unbound_callbacks(conn, external_ids, rows)
    if callback_ids:
        deletion = callbacks.delete().where(dialect.any_of(conn, callbacks.c.id, callback_ids))
        return Part(callbacks.name, conn.execute(deletion).rowcount)
    if found[0].timeline_seq > rows and (trimmed := trim_timeline(conn, found[0].id, rows)):
        return Part(timeline.name, trimmed)
    chosen: list[UUID] = []
    left = rows
    for row in found:
        if chosen and row.timeline_seq > left:
            break
        chosen.append(row.id)
        left -= row.timeline_seq
    owned = stored_files.of_tasks(conn, chosen)
    deleted = conn.execute(tasks.delete().where(dialect.any_of(conn, tasks.c.id, chosen))).rowcount
    stored_files.doom_ownerless(conn, owned, found[0].updated_at)
    return Part(tasks.name, deleted)


def _bound_callbacks(conn: sa.Connection, task_ids: Sequence[UUID], rows: int) -> list[UUID]:
    wanted = dialect.any_of(conn, callbacks.c.task_id, list(task_ids))
    return list(conn.scalars(sa.select(callbacks.c.id).where(wanted).limit(rows)))


def _unbound_callbacks(conn: sa.Connection, task_ids: Collection[UUID], rows: int) -> list[UUID]:
    """Find callbacks to unbound URLs, which the timelines of external tasks name."""
    if not task_ids:
        return []
    details = conn.scalars(
        sa.select(timeline.c.detail).where(
            dialect.any_of(conn, timeline.c.task_id, list(task_ids)), timeline.c.type == "callback"
        )
    )
    named = [UUID(detail["callback_id"]) for detail in details if isinstance(detail.get("callback_id"), str)]
    if not named:
        return []
    wanted = sa.and_(dialect.any_of(conn, callbacks.c.id, named), callbacks.c.task_id.is_(None))
    return list(conn.scalars(sa.select(callbacks.c.id).where(wanted).limit(rows)))


TABLES: Final = ("tasks", "callbacks", "notifications", "idempotency_keys")


@dataclass(slots=True)
class Erased:
    """Rows by table (of a task, its items and its timeline go with it). ``done``: nothing is left."""

    deleted: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TABLES, 0))
    done: bool = False


async def erase(
    db: Database, clock: Clock, actor: Actor, name: str, budget_s: float | None = None, *, rows: int = MOST_ROWS
) -> Erased:
    """Erase the data of a client, in transactions of some ``rows`` with pauses, for ``budget_s`` at most (None: to its
    end). A call that was interrupted is resumed by the next one. Raises ``NotFound``; ``Conflict`` for a client that
    was not revoked, or of which a task is open, and then nothing (more) is erased; ``Unavailable``. The act is recorded
    with the first part that is erased, once per call."""
    end = None if budget_s is None else clock.monotonic() + budget_s
    erased = Erased()
    audit_entry: AuditEntry | None = new_entry(clock, actor, Action.ERASE_CLIENT, name)
    while not erased.done and (end is None or clock.monotonic() < end):
        started = clock.monotonic()
        part = await db.write(_erase, name, audit_entry, rows)
        audit_entry = None
        erased.done = part.ended
        if part.table in erased.deleted:
            erased.deleted[part.table] += part.deleted
        if not part.ended:
            await clock.sleep(rest_s(clock.monotonic() - started))
    return erased


def _erase(conn: sa.Connection, name: str, audit_entry: AuditEntry | None, rows: int) -> Part:
    was_revoked = is_revoked(conn, name)
    if was_revoked is None:
        raise NotFound("there is no such client")
    if not was_revoked:
        raise Conflict(f"the client {name!r} was not revoked; revoke it first")
    still_open = count_open(conn, name)
    if still_open:
        number = f"{still_open} or more" if still_open == MOST_COUNTED else str(still_open)
        raise Conflict(
            f"{number} tasks of {name!r} are open or wait for something to come; cancel those that are queued, and "
            "try again when the others have ended"
        )
    part = erase_part(conn, name, rows)
    if audit_entry is not None and not part.ended:
        audit.append(conn, audit_entry)
    return part
