"""Reading the inbound log: a page of it, or one callback with its body."""

import base64
from uuid import UUID

from app.callbacks import inbox
from app.callbacks.inbox import StoredCallback
from app.context import Context
from app.database.database import Database
from app.documents.document import Document
from app.errors import NotFound
from app.rules.timing import rfc3339


async def read(context: Context, callback_id: UUID) -> Document:
    """One row of the inbound log. Raises ``NotFound``."""
    found = await context.db.read(inbox.find, callback_id)
    if found is None:
        raise NotFound("there is no such callback")
    # Bodies of earlier releases were stored as they came.
    return {**callback_document(found), **body_document(context.redactor.body(found.body))}


async def page(
    db: Database,
    *,
    task_id: UUID | None,
    disposition: str | None,
    family: str | None = None,
    before_id: UUID | None = None,
    limit: int,
) -> list[Document]:
    """The newest callbacks that match, without their bodies."""
    found = await db.read(
        inbox.list_page, task_id=task_id, disposition=disposition, family=family, before_id=before_id, limit=limit
    )
    return [callback_document(one) for one in found]


def callback_document(logged: StoredCallback) -> Document:
    """A row of the inbound log, without its body."""
    return {
        "id": str(logged.id),
        "task_id": str(logged.task_id) if logged.task_id else None,
        "family": logged.family,
        "disposition": logged.disposition,
        "detail": logged.detail,
        "received_at": rfc3339(logged.received_at),
        "last_received_at": rfc3339(logged.last_received_at),
        "count": logged.times,
        "address": logged.address,
        "size": len(logged.body),
    }


def body_document(body: bytes) -> Document:
    """The raw body as text, and in base64 where it is not UTF-8."""
    try:
        return {"body": body.decode(), "body_base64": None}
    except UnicodeDecodeError:
        return {"body": None, "body_base64": base64.b64encode(body).decode()}
