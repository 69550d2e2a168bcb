"""What is done from a task's page: each as the API's route does it, and back to the page."""

from fastapi import APIRouter, Response

from app.archive.verify_and_retry import retry_failed
from app.callbacks import inbound_log
from app.callbacks.replay import replay
from app.clients.auth import TheContext
from app.console import phrases
from app.console.pages import PageRoute, see
from app.console.signed_in import AdminVisitor, TheForm, TheVisitor
from app.errors import InvalidRequest, NotFound
from app.notifications import outbound_log as outbox
from app.reconcile.routes import RefreshLimit, TheRefresher
from app.submissions.accept_task import digest_of, retry
from app.submissions.cancel import cancel
from app.submissions.check_requests import idempotent_request
from app.submissions.resolve import resolve_not_sent, resolve_sent
from app.web.parameters import storable, uuid_of

router = APIRouter(prefix="/console/tasks/{task_id}", route_class=PageRoute, include_in_schema=False)


@router.post("/cancel")
async def cancel_task(task_id: str, visitor: TheVisitor, _form: TheForm, context: TheContext) -> Response:
    """Cancel a queued task."""
    wanted = uuid_of(task_id)
    await cancel(context, visitor.actor, wanted, visitor.scope)
    return see(f"/console/tasks/{wanted}?done=canceled")


@router.post("/refresh")
async def refresh_task(
    task_id: str,
    visitor: TheVisitor,
    _form: TheForm,
    refresher: TheRefresher,
    limit: RefreshLimit,
) -> Response:
    """Have the vendor asked about a task now."""
    wanted = uuid_of(task_id)
    with limit.place(visitor.client.name):
        await refresher.refresh(visitor.actor, wanted, visitor.scope)
    return see(f"/console/tasks/{wanted}?done=refreshed")


@router.post("/retry")
async def retry_task(task_id: str, visitor: TheVisitor, form: TheForm, context: TheContext) -> Response:
    """Submit a task that has ended again. A form that is sent twice makes one new task."""
    wanted = uuid_of(task_id)
    key = idempotent_request("POST /console/tasks/{id}/retry", form.get("once"), digest_of({"retry_of": str(wanted)}))
    accepted = await retry(context, visitor.actor, visitor.scope, wanted, key)
    return see(f"/console/tasks/{accepted.task_ids[0]}?done=retried")


@router.post("/copy-again")
async def copy_files_again(task_id: str, visitor: AdminVisitor, _form: TheForm, context: TheContext) -> Response:
    """Have the copies of a task's files tried again that were given up."""
    wanted = uuid_of(task_id)
    queued = await retry_failed(context, visitor.actor, wanted)
    return see(f"/console/tasks/{wanted}?done={'copying' if queued else 'not_copied'}")


@router.post("/resolve")
async def resolve_task(task_id: str, visitor: AdminVisitor, form: TheForm, context: TheContext) -> Response:
    """Settle by hand what became of a submission whose answer was lost. ``sure``: that somebody has looked at the
    vendor, without which nothing is done."""
    wanted, outcome = uuid_of(task_id), form.get("outcome")
    if outcome not in ("sent", "not_sent"):
        raise InvalidRequest("the form does not say what became of the submission")
    if "sure" not in form:
        raise InvalidRequest("tick that you have looked at the vendor: the gateway cannot know")
    if outcome == "sent":
        await resolve_sent(context, visitor.actor, wanted, storable(form.get("item_id", "").strip()))
    else:
        await resolve_not_sent(context, visitor.actor, wanted)
    return see(f"/console/tasks/{wanted}?done=resolved")


@router.post("/callbacks/{callback_id}/replay")
async def replay_callback(
    task_id: str, callback_id: str, visitor: AdminVisitor, form: TheForm, context: TheContext
) -> Response:
    """Read a callback of the task again and apply it."""
    wanted, this = uuid_of(task_id), uuid_of(callback_id, "callback")
    if (await inbound_log.read(context, this))["task_id"] != str(wanted):
        raise NotFound("the task has no such callback")
    replayed = await replay(context, visitor.actor, this, notify="notify" in form)
    return see(f"/console/tasks/{wanted}?done={phrases.replay_notice(replayed)}#callbacks")


@router.post("/notifications/{notification_id}/redeliver")
async def redeliver_notification(
    task_id: str, notification_id: str, visitor: TheVisitor, _form: TheForm, context: TheContext
) -> Response:
    """Send a notification of the task again."""
    wanted, this = uuid_of(task_id), uuid_of(notification_id, "notification")
    if (await outbox.read(context, this, visitor.scope))["task_id"] != str(wanted):
        raise NotFound("the task has no such notification")
    await outbox.redeliver(context, visitor.actor, this, visitor.scope)
    return see(f"/console/tasks/{wanted}?done=redelivered#notifications")
