"""The inbound log: every callback with a valid token, as it came, once per (task, body) with a count.

Rows are written with the state that they change (``commit``); here they are found, listed and shown.
"""

import base64
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from app.app_context import Context
from app.database.database import Database
from app.database.tables import UNAPPLIED, callbacks
from app.documents.document import Document
from app.errors import NotFound
from app.rules.observation import Disposition
from app.rules.times import rfc3339

MOST_LOOKED_AT: Final = 10_000
_TOO_OLD: Final = (
    sa.select(callbacks.c.id).order_by(callbacks.c.id.desc()).offset(MOST_LOOKED_AT).limit(1).scalar_subquery()
)


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


async def read(context: Context, callback_id: UUID) -> Document:
    """One row of the inbound log. Raises ``NotFound``."""
    callback = await context.db.read(find, callback_id)
    if callback is None:
        raise NotFound("there is no such callback")
    # Bodies of earlier releases were stored as they came.
    return {**callback_document(callback), **body_document(context.redactor.body(callback.body))}


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackFilters:
    """Which callbacks a list shows; None: all. ``repeated``: only those that came more than once, which no index finds,
    so that no more than the newest ``MOST_LOOKED_AT`` are looked at. ``before_id``: only ids below this, where the page
    before ended."""

    task_id: UUID | None = None
    disposition: str | None = None
    family: str | None = None
    repeated: bool = False
    before_id: UUID | None = None


async def page(db: Database, filters: CallbackFilters, limit: int) -> list[Document]:
    """The newest callbacks that match, without their bodies."""
    return [callback_document(callback) for callback in await db.read(list_page, filters, limit)]


async def bodies_of_task(context: Context, task_id: UUID, limit: int) -> list[Document]:
    """The newest callbacks of a task with their bodies, of which a task stores no more than a few megabytes."""
    stored = await context.db.read(list_page, CallbackFilters(task_id=task_id), limit)
    return [
        {**callback_document(callback), **body_document(context.redactor.body(callback.body))} for callback in stored
    ]


def callback_document(stored: StoredCallback) -> Document:
    """A row of the inbound log, without its body."""
    return {
        "id": str(stored.id),
        "task_id": str(stored.task_id) if stored.task_id else None,
        "family": stored.family,
        "disposition": stored.disposition,
        "detail": stored.detail,
        "received_at": rfc3339(stored.received_at),
        "last_received_at": rfc3339(stored.last_received_at),
        "count": stored.times,
        "address": stored.address,
        "size": len(stored.body),
    }


def body_document(body: bytes) -> Document:
    """The raw body as text, and in base64 where it is not UTF-8."""
    try:
        return {"body": body.decode(), "body_base64": None}
    except UnicodeDecodeError:
        return {"body": None, "body_base64": base64.b64encode(body).decode()}


def find(conn: sa.Connection, callback_id: UUID) -> StoredCallback | None:
    row = conn.execute(sa.select(callbacks).where(callbacks.c.id == callback_id)).one_or_none()
    return _stored(row) if row else None


def settle(conn: sa.Connection, callback_id: UUID, disposition: str, detail: str | None) -> None:
    """Update what became of a callback, and why."""
    row = callbacks.update().where(callbacks.c.id == callback_id)
    conn.execute(row.values(disposition=disposition, detail=detail))


def list_page(conn: sa.Connection, filters: CallbackFilters, limit: int) -> list[StoredCallback]:
    """The newest callbacks that match, at most ``limit`` (keyset page)."""
    statement = sa.select(callbacks).order_by(callbacks.c.id.desc()).limit(limit)
    equal = {"task_id": filters.task_id, "disposition": filters.disposition, "family": filters.family}
    for name, value in equal.items():
        if value is not None:
            statement = statement.where(callbacks.c[name] == value)
    if filters.disposition not in (None, Disposition.APPLIED.value):
        statement = statement.where(UNAPPLIED)
    if filters.repeated:
        statement = statement.where(callbacks.c.times > 1, sa.or_(_TOO_OLD.is_(None), callbacks.c.id > _TOO_OLD))
    if filters.before_id is not None:
        statement = statement.where(callbacks.c.id < filters.before_id)
    return [_stored(row) for row in conn.execute(statement)]


def _stored(row: Any) -> StoredCallback:
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
