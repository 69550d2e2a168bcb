"""The two logs: callbacks that were received, for admins, to be read again; notifications, to be sent again."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final, get_args
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Request, Response

from app.app_context import Context
from app.callbacks import inbound_log
from app.callbacks.inbound_log import CallbackFilters
from app.callbacks.replay import replay
from app.clients.auth import TheContext
from app.console import phrases
from app.console.pages import PageRoute, page, see
from app.console.phrases import INBOX, NOTICES
from app.console.signed_in import AdminVisitor, TheForm, TheVisitor
from app.notifications import outbound_log
from app.notifications.outbox import NotificationFilters
from app.notifications.routes import NotificationStatusName
from app.web import cursors
from app.web.parameters import uuid_of

router = APIRouter(route_class=PageRoute, include_in_schema=False)
PAGE: Final = 50
REPEATED: Final = "repeated"
PERIODS: Final = {1: "the last day", 7: "the last week", 30: "the last 30 days", 0: "all that are kept"}
"""By how many days they go back; 0 without end."""
_OUTCOMES: Final = get_args(NotificationStatusName)


@router.get("/console/callbacks")
async def list_callbacks(request: Request, visitor: AdminVisitor, context: TheContext) -> Response:
    """The inbound log, newest first."""
    chosen = _one_of(INBOX, request.query_params.get("disposition"))
    task_id = _task_in(request)
    bound_to = ("console callbacks", task_id, chosen)
    filters = CallbackFilters(
        task_id=task_id,
        disposition=None if chosen == REPEATED else chosen,
        repeated=chosen == REPEATED,
        before_id=_before(request, bound_to),
    )
    callbacks = await inbound_log.page(context.db, filters, PAGE + 1)
    listed = _listed(request, callbacks, bound_to, {"disposition": chosen, "task_id": task_id})
    return page("callbacks.html", visitor=visitor, here="callbacks", **listed)


@router.get("/console/callbacks/{callback_id}")
async def callback_page(request: Request, callback_id: str, visitor: AdminVisitor, context: TheContext) -> Response:
    """One callback with its body."""
    notice = NOTICES.get(request.query_params.get("done", ""))
    callback = await inbound_log.read(context, uuid_of(callback_id, "callback"))
    return page("callback.html", visitor=visitor, here="callbacks", notice=notice, callback=callback)


@router.post("/console/callbacks/{callback_id}/replay")
async def replay_callback(callback_id: str, visitor: AdminVisitor, form: TheForm, context: TheContext) -> Response:
    """Read a callback again and apply it."""
    wanted = uuid_of(callback_id, "callback")
    replayed = await replay(context, visitor.actor, wanted, notify="notify" in form)
    return see(f"/console/callbacks/{wanted}?done={phrases.replay_notice(replayed)}")


@router.get("/console/notifications")
async def list_notifications(request: Request, visitor: TheVisitor, context: TheContext) -> Response:
    """The outbound log, newest first."""
    chosen, task_id = _one_of(_OUTCOMES, request.query_params.get("status")), _task_in(request)
    bound_to = ("console notifications", visitor.scope, task_id, chosen)
    before_id = _before(request, bound_to)
    filters = NotificationFilters(client_name=visitor.scope, task_id=task_id, status=chosen, before_id=before_id)
    notifications = await outbound_log.list_page(context, filters, PAGE + 1)
    listed = _listed(request, notifications, bound_to, {"status": chosen, "task_id": task_id})
    return page("notifications.html", visitor=visitor, here="notifications", outcomes=_OUTCOMES, **listed)


@router.get("/console/notifications/dead")
async def dead_notifications(request: Request, visitor: TheVisitor, context: TheContext) -> Response:
    """How many dead notifications of whom would be sent again, and a form that does it."""
    days = _days(request.query_params.get("days"))
    counted = await outbound_log.count_dead(context, visitor.scope, _since(context, days))
    sent = request.query_params.get("sent", "")
    return page(
        "dead.html",
        visitor=visitor,
        here="notifications",
        notice=f"Being sent again: {int(sent)}." if sent.isdecimal() and len(sent) < 10 else None,
        counted=counted,
        total=sum(counted.values()),
        days=days,
        periods=PERIODS,
    )


@router.post("/console/notifications/dead")
async def redeliver_dead(visitor: TheVisitor, form: TheForm, context: TheContext) -> Response:
    """Send the dead notifications of one client again, or of all that the page counted, in batches."""
    days = _days(form.get("days"))
    since = _since(context, days)
    counted = await outbound_log.count_dead(context, visitor.scope, since)
    wanted = [name for name in counted if form.get("client", name) == name]
    sent = 0
    for name in wanted:
        sent += await outbound_log.redeliver_dead(context, visitor.actor, name, since, dry_run=False)
    return see(f"/console/notifications/dead?days={days}&sent={sent}")


@router.get("/console/notifications/{notification_id}")
async def notification_page(
    request: Request, notification_id: str, visitor: TheVisitor, context: TheContext
) -> Response:
    """One notification with its body, its attempts and their answers."""
    notice = NOTICES.get(request.query_params.get("done", ""))
    notification = await outbound_log.read(context, uuid_of(notification_id, "notification"), visitor.scope)
    return page("notification.html", visitor=visitor, here="notifications", notice=notice, notification=notification)


@router.post("/console/notifications/{notification_id}/redeliver")
async def redeliver(notification_id: str, visitor: TheVisitor, _form: TheForm, context: TheContext) -> Response:
    """Send a notification again."""
    wanted = uuid_of(notification_id, "notification")
    await outbound_log.redeliver(context, visitor.actor, wanted, visitor.scope)
    return see(f"/console/notifications/{wanted}?done=redelivered")


def _days(given: str | None) -> int:
    return int(given) if given is not None and given in {str(days) for days in PERIODS} else 7


def _since(context: Context, days: int) -> datetime:
    return context.clock.now() - timedelta(days=days) if days else datetime(1970, 1, 1, tzinfo=UTC)


def _one_of(known: Any, given: str | None) -> str | None:
    return given if given in known else None


def _task_in(request: Request) -> UUID | None:
    given = request.query_params.get("task_id")
    return uuid_of(given) if given else None


def _before(request: Request, bound_to: Any) -> UUID | None:
    return cursors.read(request.query_params.get("cursor") or None, bound_to)


def _listed(request: Request, rows: list[dict[str, Any]], bound_to: Any, in_url: dict[str, Any]) -> dict[str, Any]:
    """A page of a log, and where the next one is. ``in_url``: its filters as they stand in the address."""
    listed = cursors.page(rows, PAGE, bound_to)
    narrowed = {name: str(value) for name, value in in_url.items() if value is not None}
    following = urlencode({**narrowed, "cursor": listed["next_cursor"]}) if listed["next_cursor"] else None
    return {
        "rows": listed["data"],
        "chosen": next(iter(in_url.values())),
        "task_id": in_url["task_id"],
        "next_url": f"{request.url.path}?{following}" if following else None,
    }
