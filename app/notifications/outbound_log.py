"""The outbound log as clients see it: list notifications, send them again, and test a receiver."""

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa

from app.app_context import Context
from app.audit import audit
from app.audit.audit import Action, Actor, AuditEntry, append_now, new_entry
from app.clients import client_rows
from app.clients.clients import BATCH, ROTATION
from app.database.database import dumps
from app.documents.document import Document
from app.errors import InvalidRequest, NotFound, Unauthenticated
from app.notifications import outbox
from app.notifications.outbox import NotificationFilters
from app.notifications.post import Answered, Delivered, WebhookSender, outcome_of
from app.notifications.render import rendered
from app.rules.client import Client
from app.rules.times import rfc3339
from app.runtime.signing import sign
from app.tasks.webhook_url import read_url

PING = "gateway.ping"


async def list_page(context: Context, filters: NotificationFilters, limit: int) -> list[Document]:
    """Read a page of notifications, newest first, without their bodies."""
    return [_document(row) for row in await context.db.read(outbox.list_page, filters, limit)]


async def of_task(context: Context, client_name: str | None, task_id: UUID, limit: int) -> list[Document]:
    """Read the newest notifications of a task with their attempts, if they are this client's (None: anybody's)."""
    filters = NotificationFilters(client_name=client_name, task_id=task_id)
    rows = await context.db.read(outbox.list_page, filters, limit, attempts=True)
    return [{**_document(row), "attempt_log": row.attempt_log or []} for row in rows]


async def read(context: Context, notification_id: UUID, client_name: str | None) -> Document:
    """Read one notification with its body and its attempts, if it is this client's (None: anybody's). A body that was
    not posted yet is rendered as it would be. Raises ``NotFound``."""
    document = await context.db.read(_read, notification_id, client_name, context)
    if document is None:
        raise NotFound("there is no such notification")
    return document


async def redeliver(context: Context, actor: Actor, notification_id: UUID, client_name: str | None) -> Document:
    """Send a notification again, and restart its schedule. Raises ``NotFound``."""
    audit_entry = new_entry(context.clock, actor, Action.REDELIVER, str(notification_id))
    row = await context.db.write(_redeliver, notification_id, client_name, context.clock.now(), audit_entry)
    if row is None:
        raise NotFound("there is no such notification")
    context.wakes.notify.set()
    return _document(row)


async def redeliver_dead(context: Context, actor: Actor, client_name: str, since: datetime, *, dry_run: bool) -> int:
    """Send a client's dead notifications written since a time again, ``BATCH`` in a transaction; none if the client was
    revoked. Returns how many there are. Raises ``Unavailable``: those of earlier batches are sent then, the rest by the
    next call."""
    if dry_run:
        return (await count_dead(context, client_name, since)).get(client_name, 0)
    if client_name != actor.name:
        await append_now(context.db, context.clock, actor, Action.REDELIVER, client=client_name, since=rfc3339(since))
    started, after_id, count = context.clock.now(), None, 0
    while dead_ids := await context.db.read(outbox.dead_after, client_name, since, started, after_id, BATCH):
        count += await context.db.write(outbox.redeliver_dead, dead_ids, context.clock.now())
        context.wakes.notify.set()
        after_id = dead_ids[-1]
    return count


async def count_dead(context: Context, client_name: str | None, since: datetime) -> dict[str, int]:
    """Count the dead notifications written since a time that would be sent again, by client: of one, or of all."""
    return await context.db.read(outbox.count_dead, client_name, since)


async def ping(context: Context, sender: WebhookSender, client: Client, url: str) -> Document:
    """Post a signed ``gateway.ping`` to a URL, as notifications are posted, and return the answer. Nothing is stored.
    Raises ``InvalidRequest`` for what can be no receiver's URL."""
    try:
        read_url(url)
    except InvalidRequest as error:
        raise InvalidRequest("the request is not valid", (("url", error.detail),)) from None
    webhook_id, now = context.ids(), context.clock.now()
    secrets = await context.db.read(client_rows.webhook_secrets, [client.name], rotated_after=now - ROTATION)
    if client.name not in secrets:
        raise Unauthenticated("no client has this API key")
    body = dumps({"type": PING, "timestamp": rfc3339(now), "data": {"client": client.name}}).encode()
    answer = await sender.post(url, sign(str(webhook_id), body, secrets[client.name], now))
    answered = answer if isinstance(answer, Answered) else None
    return {
        "webhook_id": str(webhook_id),
        "delivered": isinstance(answer, Delivered),
        "outcome": outcome_of(answer),
        "status": answered.status if answered else None,
        "answer": answered.text if answered else None,
    }


def _read(conn: sa.Connection, notification_id: UUID, client_name: str | None, context: Context) -> Document | None:
    row = outbox.find(conn, notification_id, client_name)
    if row is None:
        return None
    [body] = rendered(conn, [row], context)
    shown = msgspec.json.decode(body) if body is not None else None
    return {**_document(row), "attempt_log": row.attempt_log or [], "body": shown}


def _redeliver(
    conn: sa.Connection, notification_id: UUID, client_name: str | None, now: datetime, audit_entry: AuditEntry
) -> Any | None:
    if not outbox.redeliver(conn, notification_id, client_name, now):
        return None
    row = outbox.find(conn, notification_id, client_name)
    if row is not None and row.client_name != audit_entry.actor.name:
        audit.append(conn, replace(audit_entry, detail={"client": row.client_name}))
    return row


def _document(row: Any) -> Document:
    return {
        "id": str(row.id),
        "client": row.client_name,
        "task_id": str(row.task_id),
        "type": row.type,
        "url": row.url,
        "status": row.status,
        "attempts": row.attempts,
        "created_at": rfc3339(row.created_at),
        "next_attempt_at": rfc3339(row.due_at),
        "last_attempt_at": rfc3339(row.last_attempt_at),
        "last_status": row.last_status,
        "last_error": row.last_error,
        "ended_at": rfc3339(row.ended_at),
    }
