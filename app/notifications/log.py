"""The outbound log as clients see it: list, send again, and try a receiver."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from app.audit import audit
from app.audit.audit import Act, Action, By, act, note
from app.clients import client_rows
from app.clients.clients import BATCH, ROTATION
from app.context import Context
from app.database.database import dumps
from app.documents.document import Document
from app.errors import InvalidRequest, NotFound, Unauthenticated
from app.notifications import outbox
from app.notifications.deliver import outcome_of
from app.notifications.post import Delivered, Gone, Rejected, WebhookSender
from app.notifications.render import sign
from app.rules.client import Client
from app.rules.timing import rfc3339
from app.tasks.webhook_url import check_url

PING = "gateway.ping"


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which notifications a list shows; None shows all."""

    client_name: str | None = None
    task_id: UUID | None = None
    status: str | None = None
    before_id: UUID | None = None


async def notification_list(context: Context, chosen: Chosen, limit: int) -> list[Document]:
    """A page of notifications, newest first, without their bodies."""
    found = await context.db.read(
        outbox.list_page,
        client_name=chosen.client_name,
        task_id=chosen.task_id,
        status=chosen.status,
        before_id=chosen.before_id,
        limit=limit,
    )
    return [_document(row) for row in found]


async def redeliver(context: Context, by: By, notification_id: UUID, client_name: str | None) -> Document:
    """Send one again, with the whole schedule before it. Raises ``NotFound``."""
    done = act(context.clock, by, Action.REDELIVER, str(notification_id))
    found = await context.db.write(_redeliver, notification_id, client_name, context.clock.now(), done)
    if found is None:
        raise NotFound("there is no such notification")
    context.wakes.notify.set()
    return _document(found)


async def redeliver_dead(context: Context, by: By, client_name: str, since: datetime, *, dry_run: bool) -> int:
    """Send all dead ones of a client again that were written since a time, ``BATCH`` in a transaction. Returns how
    many there are. Raises ``Unavailable``: those of the batches before are sent then, the rest by the next call."""
    if dry_run:
        return await context.db.read(outbox.count_dead, client_name, since)
    if client_name != by.actor:
        await note(context.db, context.clock, by, Action.REDELIVER, client=client_name, since=rfc3339(since))
    started, after_id, count = context.clock.now(), None, 0
    while some := await context.db.read(outbox.dead_after, client_name, since, started, after_id, BATCH):
        count += await context.db.write(outbox.redeliver_dead, some, context.clock.now())
        context.wakes.notify.set()
        after_id = some[-1]
    return count


async def ping(context: Context, caller: WebhookSender, client: Client, url: str) -> Document:
    """Post a signed ``gateway.ping`` to a URL, as notifications are posted, and tell the answer. Nothing is stored.
    Raises ``InvalidRequest`` for what can be no receiver's URL."""
    try:
        check_url(url)
    except InvalidRequest as error:
        raise InvalidRequest("the request is not valid", (("url", error.detail),)) from None
    webhook_id, now = context.ids(), context.clock.now()
    found = await context.db.read(client_rows.webhook_secrets, [client.name], rotated_after=now - ROTATION)
    if client.name not in found:
        raise Unauthenticated("nobody has this API key")
    body = dumps({"type": PING, "timestamp": rfc3339(now), "data": {"client": client.name}}).encode()
    answer = await caller.post(url, sign(str(webhook_id), body, found[client.name], now))
    heard = isinstance(answer, (Delivered, Gone, Rejected))
    return {
        "webhook_id": str(webhook_id),
        "delivered": isinstance(answer, Delivered),
        "outcome": outcome_of(answer),
        "status": 410 if isinstance(answer, Gone) else getattr(answer, "status", None),
        "answer": getattr(answer, "text", None) if heard else None,
    }


def _redeliver(
    conn: sa.Connection, notification_id: UUID, client_name: str | None, now: datetime, done: Act
) -> Any | None:
    if not outbox.redeliver(conn, notification_id, client_name, now):
        return None
    found = outbox.find(conn, notification_id, client_name)
    if found is not None and found.client_name != done.by.actor:
        audit.record(conn, replace(done, detail={"client": found.client_name}))
    return found


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
