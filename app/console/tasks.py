"""Tasks: the list, a task's page that follows it, its files, and what can be done with it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Request, Response

from app.archive import routes as archive
from app.archive.routes import TheStore
from app.clients.auth import TheContext
from app.console.pages import HEADERS, PageRoute, page, see
from app.console.phrases import NOTICES
from app.console.visitors import TheForm, TheVisitor, Visitor
from app.context import Context
from app.database.database import dumps
from app.documents import read
from app.documents.document import Document
from app.errors import NotFound
from app.notifications import log as notifications
from app.reconcile.routes import Refreshes, TheRefresher
from app.rules.status import TASK_FINAL, TaskStatus
from app.submissions.accept import digest_of, retry
from app.submissions.cancel import cancel
from app.submissions.intake import idempotent_request
from app.tasks.task_rows import TaskFilters
from app.tempolor.kinds import KINDS
from app.tempolor.values import as_number
from app.web import cursors
from app.web.parameters import storable, uuid_of

router = APIRouter(route_class=PageRoute, include_in_schema=False)
PAGE: Final = 25
MOST_ENTRIES: Final = 300
MOST_NOTIFICATIONS: Final = 50
FOLLOW_S: Final = 2
SETTLE_S: Final = 10
"""How often a page looks again: at a task that has not ended, and at one whose files or notifications are under way."""
_FILTERS: Final = ("kind", "reference", "client")


@router.get("/console/tasks")
async def list_tasks(request: Request, visitor: TheVisitor, context: TheContext) -> Response:
    """A page of tasks, newest first. ``find``: the id of a task or of an item leads to its task, anything else is a
    reference."""
    given = {name: storable(value) for name in _FILTERS if (value := request.query_params.get(name, "").strip())}
    if found := request.query_params.get("find", "").strip():
        task_id = await _id_of(context, visitor, storable(found))
        if task_id is not None:
            return see(f"/console/tasks/{task_id}")
        given["reference"] = found
    statuses = [one for one in request.query_params.getlist("status") if one in set(TaskStatus)]
    client = visitor.scope or given.get("client")
    filters = TaskFilters(client, tuple(sorted(statuses)), given.get("kind"), given.get("reference"))
    before_id = cursors.read(request.query_params.get("cursor") or None, filters)
    tasks, more = await read.task_list(context, replace(filters, before_id=before_id), PAGE, summary=True)
    narrowed = [("status", one) for one in statuses] + list(given.items())
    next_cursor = cursors.make(tasks[-1]["id"], filters) if more else None
    return page(
        "tasks.html",
        visitor=visitor,
        here="tasks",
        tasks=[{**task, "name": _name_of(task)} for task in tasks],
        statuses=list(TaskStatus),
        kinds=list(KINDS),
        chosen=statuses,
        given=given,
        is_later=before_id is not None,
        first_url=f"/console/tasks?{urlencode(narrowed)}",
        next_url=f"/console/tasks?{urlencode([*narrowed, ('cursor', next_cursor)])}" if next_cursor else None,
    )


@router.get("/console/tasks/{task_id}")
async def task_page(request: Request, task_id: str, visitor: TheVisitor, context: TheContext) -> Response:
    """A task's page."""
    notice = NOTICES.get(request.query_params.get("done", ""))
    followed = await _followed(context, visitor, uuid_of(task_id))
    return page("task.html", visitor=visitor, here="tasks", notice=notice, **followed)


@router.get("/console/tasks/{task_id}/live")
async def task_now(request: Request, task_id: str, visitor: TheVisitor, context: TheContext) -> Response:
    """The part of a task's page that follows it; 204 while nothing of it has changed since it was ``seen``."""
    followed = await _followed(context, visitor, uuid_of(task_id))
    if followed["seen"] == request.query_params.get("seen"):
        return Response(status_code=204, headers=HEADERS)
    return page("_task.html", visitor=visitor, **followed)


@router.get("/console/items/{item_id:path}/files/{name}")
async def item_file(item_id: str, name: str, visitor: TheVisitor, context: TheContext, store: TheStore) -> Response:
    """A result file, as the API answers it: the archive's copy, or a redirect to the vendor's link."""
    return await archive.get_artifact(item_id, name, visitor.client, context, store)


@router.post("/console/tasks/{task_id}/cancel")
async def cancel_task(task_id: str, visitor: TheVisitor, _form: TheForm, context: TheContext) -> Response:
    """Cancel a queued task."""
    wanted = uuid_of(task_id)
    await cancel(context, visitor.by, wanted, visitor.scope)
    return see(f"/console/tasks/{wanted}?done=canceled")


@router.post("/console/tasks/{task_id}/refresh")
async def refresh_task(
    task_id: str,
    visitor: TheVisitor,
    _form: TheForm,
    refresher: TheRefresher,
    refreshes: Refreshes,
) -> Response:
    """Have the vendor asked about a task now."""
    wanted = uuid_of(task_id)
    with refreshes.place(visitor.client.name):
        await refresher.refresh(visitor.by, wanted, visitor.scope)
    return see(f"/console/tasks/{wanted}?done=refreshed")


@router.post("/console/tasks/{task_id}/retry")
async def retry_task(task_id: str, visitor: TheVisitor, form: TheForm, context: TheContext) -> Response:
    """Submit a task that has ended again. A form that is sent twice makes one new task."""
    wanted = uuid_of(task_id)
    key = idempotent_request("POST /console/tasks/{id}/retry", form.get("once"), digest_of({"retry_of": str(wanted)}))
    accepted = await retry(context, visitor.by, visitor.scope, wanted, key)
    return see(f"/console/tasks/{accepted.task_ids[0]}?done=retried")


async def _id_of(context: Context, visitor: Visitor, found: str) -> str | None:
    """The id of the task that is meant by its own id or that of an item; None if there is none."""
    try:
        return str((await read.task(context, UUID(found), visitor.scope))["id"])
    except (ValueError, NotFound):
        pass
    try:
        return str((await read.item(context, found, visitor.scope))["id"])
    except NotFound:
        return None


async def _followed(context: Context, visitor: Visitor, task_id: UUID) -> dict[str, Any]:
    """What a task's page shows. ``seen``: a digest of all of it; ``every_s``: when to look again, None for never."""
    task = await read.task(context, task_id, visitor.scope)
    entries, more = await read.task_timeline(context, task_id, visitor.scope, 0, MOST_ENTRIES)
    sent = await notifications.list_page(context, notifications.LogFilters(visitor.scope, task_id), MOST_NOTIFICATIONS)
    seen = hashlib.blake2b(dumps([task, entries, sent]).encode(), digest_size=16).hexdigest()
    return {
        "task": task,
        "name": _name_of(task),
        "items": [
            {**item, "lines": list(_lines(item["lyrics_sections"])), "parts": _parts(item)} for item in task["items"]
        ],
        "entries": entries,
        "more_entries": more is not None,
        "notifications": sent,
        "seen": seen,
        "every_s": _every_s(task, sent),
        "once": str(context.ids()),
        "can": {
            "cancel": task["status"] == TaskStatus.QUEUED,
            "refresh": task["status"] != TaskStatus.QUEUED,
            "retry": task["status"] in TASK_FINAL and not task["kind"].endswith(".external"),
        },
    }


def _every_s(task: Document, sent: list[Document]) -> int | None:
    if task["status"] not in TASK_FINAL:
        return FOLLOW_S
    files = [file for item in task["items"] for file in item["artifacts"].values()]
    pending = any("pending" in (file["status"], (file["archive"] or {}).get("status")) for file in files)
    return SETTLE_S if pending or any(one["status"] == "pending" for one in sent) else None


def _name_of(task: Document) -> str:
    """What a task is called: by the title that the vendor gave, else by what was asked for."""
    titles = [item["title"] for item in task["items"] if item["title"]]
    asked = (task["params"].get(name) for name in ("prompt", "item_id", "url"))
    return str(titles[0]) if titles else next((one for one in asked if isinstance(one, str) and one), task["kind"])


def _parts(item: Document) -> dict[str, list[str]]:
    """The links of each artifact for which the vendor named several files, and of which there is no copy."""
    several = {
        name: list(_texts_in(file["url"]))
        for name, file in item["artifacts"].items()
        if isinstance(file["url"], (list, dict)) and (file["archive"] or {}).get("status") != "kept"
    }
    return {name: links for name, links in several.items() if links}


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts_in(part)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of aligned lyrics. ``start``: in seconds; ``tag``: what the vendor announces it by, as `[verse]`."""

    start: float
    text: str
    tag: str | None = None


def _lines(sections: Any) -> Iterator[Line]:
    """The lines of aligned lyrics; what is not understood of them is left out."""
    for one in sections if isinstance(sections, list) else ():
        start, text = (as_number(one.get("start")), one.get("text")) if isinstance(one, dict) else (None, None)
        if start is None or not isinstance(text, str):
            continue
        tags = [line for line in text.splitlines() if line.startswith("[")]
        words = " ".join(line for line in text.splitlines() if line.strip() and not line.startswith("["))
        if words:
            yield Line(float(start), words, " ".join(tags) or None)
