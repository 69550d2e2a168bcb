"""The routes of notifications: what was told to a client, sent again, or tried."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, StrictBool, StrictStr

from app.clients.auth import TheClient, TheContext, by, scope_of
from app.errors import Forbidden
from app.notifications import log
from app.notifications.post import WebhookSender
from app.runtime.concurrency_limit import ConcurrencyLimit
from app.web import cursors
from app.web.answers import PROBLEMS, json_answer
from app.web.bodies import documented, parse, read_json
from app.web.parameters import RequestTime, uuid_of
from app.web.services import service

NotificationStatusName = Literal["pending", "delivered", "dead"]


class Notification(BaseModel):
    """A notification, without its body. `next_attempt_at` is null once it has ended."""

    id: str
    client: str
    task_id: str
    type: str
    url: str
    status: NotificationStatusName
    attempts: int
    created_at: datetime
    next_attempt_at: datetime | None = None
    last_attempt_at: datetime | None = None
    last_status: int | None = None
    last_error: str | None = None
    ended_at: datetime | None = None


class NotificationPage(BaseModel):
    data: list[Notification]
    next_cursor: str | None = None


class PingRequest(BaseModel):
    """Whom to try."""

    model_config = ConfigDict(extra="forbid")

    url: StrictStr


class PingAnswer(BaseModel):
    """What came of it. `answer`: the beginning of what the receiver said."""

    webhook_id: str
    delivered: bool
    outcome: str
    status: int | None = None
    answer: str | None = None


class RedeliverRequest(BaseModel):
    """`client` is for admins; without it the own ones are meant."""

    model_config = ConfigDict(extra="forbid")

    since: RequestTime
    client: StrictStr | None = None
    dry_run: StrictBool = False


class Redelivered(BaseModel):
    count: int
    dry_run: bool


router = APIRouter(prefix="/v1/notifications", responses=PROBLEMS)
TheSender = Annotated[WebhookSender, service("sender")]
Pings = Annotated[ConcurrencyLimit, service("pings")]


@router.get("", response_model=NotificationPage, summary="List notifications")
async def list_notifications(
    client: TheClient,
    context: TheContext,
    task_id: UUID | None = None,
    status: NotificationStatusName | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str | None = None,
) -> Response:
    """The own outbound log, newest first, dead ones too; an admin sees everybody's."""
    filters = ("notifications", scope_of(client), task_id, status)
    chosen = log.Chosen(
        scope_of(client),
        task_id,
        status,
        cursors.read(cursor, filters) if cursor is not None else None,
    )
    return json_answer(cursors.page(await log.notification_list(context, chosen, limit + 1), limit, filters))


@router.post(
    "/test",
    response_model=PingAnswer,
    openapi_extra=documented(PingRequest, {"url": "https://hooks.example/tempolor"}),
    summary="Try a receiver",
)
async def try_receiver(
    request: Request, client: TheClient, context: TheContext, sender: TheSender, pings: Pings
) -> Response:
    """Post a signed `gateway.ping` to a URL, by the code and the egress rules that notifications go by, and show
    the answer."""
    asked = parse(PingRequest, await read_json(request))
    with pings.place(client.name):
        return json_answer(await log.ping(context, sender, client, asked.url))


@router.post(
    "/redeliver",
    response_model=Redelivered,
    openapi_extra=documented(RedeliverRequest, {"since": "2026-01-31T00:00:00Z", "dry_run": True}),
    summary="Send all dead ones again",
)
async def redeliver_dead(request: Request, client: TheClient, context: TheContext) -> Response:
    """Send again what died since a time; with `dry_run` only count it."""
    asked = parse(RedeliverRequest, await read_json(request))
    name = asked.client if asked.client is not None else client.name
    if name != client.name and not client.is_admin:
        raise Forbidden("only an admin sends other clients' notifications again")
    count = await log.redeliver_dead(context, by(client), name, asked.since, dry_run=asked.dry_run)
    return json_answer({"count": count, "dry_run": asked.dry_run})


@router.post("/{notification_id}/redeliver", response_model=Notification, summary="Send a notification again")
async def redeliver(notification_id: str, client: TheClient, context: TheContext) -> Response:
    """Send it again now, under its `webhook-id`, with the whole schedule of repeats before it."""
    wanted, scope = uuid_of(notification_id), scope_of(client)
    return json_answer(await log.redeliver(context, by(client), wanted, scope))
