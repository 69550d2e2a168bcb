"""Routes of the outbound log: list notifications, send them again, test a receiver."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, StrictBool, StrictStr

from app.clients.auth import TheClient, TheContext, actor_of, scope_of
from app.errors import Forbidden
from app.notifications import outbound_log
from app.notifications.outbox import NotificationFilters
from app.notifications.post import WebhookSender
from app.rules.task import NotificationType
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
    type: NotificationType
    url: str
    status: NotificationStatusName
    attempts: int
    created_at: datetime
    next_attempt_at: datetime | None
    last_attempt_at: datetime | None
    last_status: int | None
    last_error: str | None
    ended_at: datetime | None


class NotificationPage(BaseModel):
    data: list[Notification]
    next_cursor: str | None


class LoggedAttempt(BaseModel):
    """One attempt to post it. `status`: of the answer, null where there was none; `error`: why it was not delivered;
    `answer`: the beginning of what the receiver answered."""

    at: datetime
    status: int | None
    error: str | None
    answer: str | None


class NotificationWithBody(Notification):
    """A notification with its latest attempts, oldest first, and its body, which is null where it cannot be read any
    more."""

    attempt_log: list[LoggedAttempt]
    body: dict[str, Any] | None


class PingRequest(BaseModel):
    """The receiver to test."""

    model_config = ConfigDict(extra="forbid")

    url: StrictStr


class PingAnswer(BaseModel):
    """The outcome of the test. `answer`: the beginning of the receiver's answer."""

    webhook_id: str
    delivered: bool
    outcome: str
    status: int | None
    answer: str | None


class RedeliverRequest(BaseModel):
    """Which dead notifications to send again. `client` is for admins; without it the caller's own."""

    model_config = ConfigDict(extra="forbid")

    since: RequestTime
    client: StrictStr | None = None
    dry_run: StrictBool = False


class Redelivered(BaseModel):
    count: int
    dry_run: bool


router = APIRouter(prefix="/v1/notifications", responses=PROBLEMS, tags=["Notifications"])
TheSender = Annotated[WebhookSender, service("sender")]
PingLimit = Annotated[ConcurrencyLimit, service("pings")]


@router.get("", response_model=NotificationPage, summary="List notifications")
async def list_notifications(
    client: TheClient,
    context: TheContext,
    task_id: UUID | None = None,
    status: NotificationStatusName | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str | None = None,
) -> Response:
    """The client's outbound log, newest first, dead ones too; an admin sees all clients'."""
    bound_to = ("notifications", scope_of(client), task_id, status)
    before_id = cursors.read(cursor, bound_to)
    filters = NotificationFilters(client_name=scope_of(client), task_id=task_id, status=status, before_id=before_id)
    return json_answer(cursors.page(await outbound_log.list_page(context, filters, limit + 1), limit, bound_to))


@router.post(
    "/test",
    response_model=PingAnswer,
    openapi_extra=documented(PingRequest, {"url": "https://hooks.example/tempolor"}),
    summary="Try a receiver",
)
async def test_webhook(
    request: Request, client: TheClient, context: TheContext, sender: TheSender, limit: PingLimit
) -> Response:
    """Post a signed `gateway.ping` to a URL, by the code and the egress rules that notifications go by, and show
    the answer."""
    body = parse(PingRequest, await read_json(request))
    with limit.place(client.name):
        return json_answer(await outbound_log.ping(context, sender, client, body.url))


@router.post(
    "/redeliver",
    response_model=Redelivered,
    openapi_extra=documented(RedeliverRequest, {"since": "2026-01-31T00:00:00Z", "dry_run": True}),
    summary="Send all dead ones again",
)
async def redeliver_dead_notifications(request: Request, client: TheClient, context: TheContext) -> Response:
    """Send dead notifications written since a time again; with `dry_run` only count them."""
    body = parse(RedeliverRequest, await read_json(request))
    name = body.client if body.client is not None else client.name
    if name != client.name and not client.is_admin:
        raise Forbidden("only an admin sends other clients' notifications again")
    count = await outbound_log.redeliver_dead(context, actor_of(client), name, body.since, dry_run=body.dry_run)
    return json_answer({"count": count, "dry_run": body.dry_run})


@router.get("/{notification_id}", response_model=NotificationWithBody, summary="Read a notification")
async def get_notification(notification_id: str, client: TheClient, context: TheContext) -> Response:
    """One notification with its body and its attempts."""
    return json_answer(await outbound_log.read(context, uuid_of(notification_id, "notification"), scope_of(client)))


@router.post("/{notification_id}/redeliver", response_model=Notification, summary="Send a notification again")
async def redeliver_notification(notification_id: str, client: TheClient, context: TheContext) -> Response:
    """Send it again now, under the same `webhook-id`, and restart its schedule of retries."""
    return json_answer(
        await outbound_log.redeliver(
            context, actor_of(client), uuid_of(notification_id, "notification"), scope_of(client)
        )
    )
