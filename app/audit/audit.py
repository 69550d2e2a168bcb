"""The audit log: what admins did, by whom, to what. Append-only, kept for good.

A story that changes state makes the entry beforehand (``new_entry``) and appends it in the transaction of the change
(``append``), so that there is never one without the other. An act that changes no state here is recorded by
``append_now``, before it is done. Nothing deletes from the log, retention neither, and the database itself refuses to
change or delete a row.
"""

import os
import pwd
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Concatenate, Final, ParamSpec
from uuid import UUID

import sqlalchemy as sa

from app.database.database import Database
from app.database.tables import audit
from app.runtime.clock import Clock, Ids

P = ParamSpec("P")

COMMAND_LINE: Final = "cli:"
"""Prefix of the actor of a command, before the name of the system's user. No client's name begins with it."""

MOST_TEXT: Final = 300
"""Characters of a target, at most."""


class Action(StrEnum):
    """All kinds of acts that are recorded."""

    CREATE_CLIENT = "clients.create"
    REVOKE_CLIENT = "clients.revoke"
    ROTATE_KEY = "clients.rotate_key"
    DROP_KEY = "clients.drop_previous_key"
    ROTATE_WEBHOOK = "clients.rotate_webhook_secret"
    ERASE_CLIENT = "clients.erase"
    CONSOLE_LINK = "console.link"
    HOLD = "submissions.hold"
    RELEASE = "submissions.release"
    RECOVER = "submissions.recover"
    SUBMIT_TASK = "tasks.submit"
    RESOLVE_TASK = "tasks.resolve"
    ADOPT_ITEMS = "tasks.adopt"
    CANCEL_TASK = "tasks.cancel"
    RETRY_TASK = "tasks.retry"
    REFRESH_TASK = "tasks.refresh"
    VERIFY_TASK = "tasks.verify"
    """Only in what earlier releases recorded."""
    REPLAY_CALLBACK = "callbacks.replay"
    RETRY_COPIES = "archive.retry"
    REDELIVER = "notifications.redeliver"
    PURGE = "purge"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a client's name, or ``cli:`` and the system's user; and the request it came with, if that has an
    id."""

    name: str
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One act of an admin. ``target``: what it was done to, by the name or id that the API knows it by, "" for the
    whole. ``detail`` is JSON and holds no secret. ``action``: an ``Action``, or one of a later release."""

    id: UUID
    at: datetime
    actor: Actor
    action: str
    target: str
    detail: dict[str, Any]


def new_entry(clock: Clock, actor: Actor, action: Action, target: str = "", **detail: Any) -> AuditEntry:
    """Make the entry of an act that is about to be done. ``detail``: what of it matters later, as JSON; never a secret,
    a signed URL or a body."""
    return AuditEntry(Ids(clock.now)(), clock.now(), actor, action, target[:MOST_TEXT], detail)


async def append_now(db: Database, clock: Clock, actor: Actor, action: Action, target: str = "", **detail: Any) -> None:
    """Append the entry of an act that changes no state here, in a transaction of its own. Raises ``Unavailable``."""
    await db.write(append, new_entry(clock, actor, action, target, **detail))


async def page(db: Database, before_id: UUID | None, limit: int) -> list[dict[str, Any]]:
    """Read a page of the audit log as documents, newest first (keyset page)."""
    return [_document(entry) for entry in await db.read(list_page, before_id, limit)]


def command_line() -> Actor:
    """The actor of a command: the system's user, not what the environment says of it."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid {uid}"  # a container may run as a user that it has no name for
    return Actor(f"{COMMAND_LINE}{name}"[:120])


def _document(entry: AuditEntry) -> dict[str, Any]:
    return {
        "id": str(entry.id),
        "at": entry.at,
        "actor": entry.actor.name,
        "action": str(entry.action),
        "target": entry.target or None,
        "detail": entry.detail,
        "request_id": entry.actor.request_id,
    }


def append(conn: sa.Connection, entry: AuditEntry) -> None:
    """Append an entry, in the caller's transaction."""
    conn.execute(
        audit.insert().values(
            id=entry.id,
            at=entry.at,
            actor=entry.actor.name,
            action=str(entry.action),
            target=entry.target,
            detail=entry.detail,
            request_id=entry.actor.request_id,
        )
    )


def recorded(
    conn: sa.Connection,
    entry: AuditEntry,
    change: Callable[Concatenate[sa.Connection, P], bool],
    *args: P.args,
    **kwargs: P.kwargs,
) -> bool:
    """Make a change in the caller's transaction, and append its entry, unless it found nothing to change (False)."""
    if not change(conn, *args, **kwargs):
        return False
    append(conn, entry)
    return True


def list_page(conn: sa.Connection, before_id: UUID | None, limit: int) -> Sequence[AuditEntry]:
    """Read the newest entries before an id, at most ``limit``."""
    statement = sa.select(audit).order_by(audit.c.id.desc()).limit(limit)
    if before_id is not None:
        statement = statement.where(audit.c.id < before_id)
    return [_entry_of_row(row) for row in conn.execute(statement)]


def find_first(conn: sa.Connection, action: Action, target: str) -> AuditEntry | None:
    """Find the first entry of an action on a target."""
    matches = sa.and_(audit.c.action == action.value, audit.c.target == target)
    row = conn.execute(sa.select(audit).where(matches).order_by(audit.c.id).limit(1)).one_or_none()
    return _entry_of_row(row) if row else None


def _entry_of_row(row: Any) -> AuditEntry:
    return AuditEntry(row.id, row.at, Actor(row.actor, row.request_id), row.action, row.target, row.detail)
