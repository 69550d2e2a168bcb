"""A task's page, which follows its task: parts of it are replaced as they change, and the others stay as they are."""

import hashlib
from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter, Request, Response

from app.app_context import Context
from app.callbacks import inbound_log
from app.clients.auth import TheContext
from app.console import task_items, task_timeline
from app.console.pages import HEADERS, PageRoute, page
from app.console.phrases import NOTICES
from app.console.signed_in import AdminVisitor, TheVisitor, Visitor
from app.console.try_choices import forms_for
from app.database.database import dumps
from app.documents import read, subtitles
from app.documents.document import Document
from app.notifications import outbound_log as notifications
from app.rules.archive_copies import NOT_ONE_URL, RETENTION
from app.rules.status import TASK_FINAL, TaskStatus
from app.rules.task import CopyStatus
from app.rules.views import ArtifactStatus
from app.web.parameters import uuid_of

router = APIRouter(route_class=PageRoute, include_in_schema=False)
MOST_ENTRIES: Final = 300
MOST_NOTIFICATIONS: Final = 20
MOST_CALLBACKS: Final = 20
FOLLOW_S: Final = 2
SETTLE_S: Final = 10
"""How often a page looks again: at a task that has not ended, and at one whose files or notifications are under way."""
_UNMARKED_S: Final = 10
"""What moves no mark of the task (why it waits, an attempt that failed) is seen after so long."""
_DIGEST_CHARS: Final = 12
_MOST_READS: Final = 3


@router.get("/console/tasks/{task_id}")
async def task_page(request: Request, task_id: str, visitor: TheVisitor, context: TheContext) -> Response:
    """A task's page."""
    notice = NOTICES.get(request.query_params.get("done", ""))
    wanted = uuid_of(task_id)
    shown = await _shown(context, visitor, wanted, await _mark(context, visitor, wanted))
    return page("task.html", visitor=visitor, here="tasks", notice=notice, **shown)


@router.get("/console/tasks/{task_id}/live")
async def task_now(request: Request, task_id: str, visitor: TheVisitor, context: TheContext) -> Response:
    """The parts of a task's page that have changed since it was ``seen``; 204 while the task's marks are the same,
    which one row tells."""
    wanted = uuid_of(task_id)
    seen_mark, *seen_parts = request.query_params.get("seen", "").split(".")
    mark = await _mark(context, visitor, wanted)
    if seen_mark == mark:
        return Response(status_code=204, headers=HEADERS)
    shown = await _shown(context, visitor, wanted, mark)
    changed = [name for name, digest in shown["parts"].items() if digest not in seen_parts]
    answer = page("_live.html", visitor=visitor, changed=changed, **shown)
    if "history" in changed:
        answer.headers["HX-Trigger"] = "task-changed"
    return answer


@router.get("/console/tasks/{task_id}/callbacks")
async def task_callbacks(task_id: str, visitor: AdminVisitor, context: TheContext) -> Response:
    """The part of a task's page with the bodies of its callbacks, newest first, each beside what it changed."""
    wanted = uuid_of(task_id)
    entries, _ = await read.task_timeline(context, wanted, visitor.scope, 0, 1000)
    effects: dict[str, list[task_timeline.Effect]] = {}
    for entry in entries:
        if isinstance(callback_id := entry["detail"].get("callback_id"), str):
            effects.setdefault(callback_id, []).extend(task_timeline.effects_of(entry))
    found = await inbound_log.bodies_of_task(context, wanted, MOST_CALLBACKS + 1)
    rows = [{**one, "effects": effects.get(one["id"], [])} for one in found[:MOST_CALLBACKS]]
    more = len(found) > MOST_CALLBACKS
    return page("_callbacks.html", visitor=visitor, task_id=str(wanted), callbacks=rows, more=more)


async def _mark(context: Context, visitor: Visitor, task_id: UUID) -> str:
    version, seq = await read.task_mark(context, task_id, visitor.scope)
    return f"{version}-{seq}-{int(context.clock.now().timestamp()) // _UNMARKED_S}"


async def _shown(context: Context, visitor: Visitor, task_id: UUID, mark: str) -> dict[str, Any]:
    """What a task's page shows. ``mark``: read before. ``parts``: a digest of what is in each; ``every_s``: when to
    look again, None for never."""
    reads = 0
    while True:
        task = await read.task(context, task_id, visitor.scope)
        entries, more = await read.task_timeline(context, task_id, visitor.scope, 0, MOST_ENTRIES)
        sent = await notifications.of_task(context, visitor.scope, task_id, MOST_NOTIFICATIONS + 1)
        # The parts are read one after the other: a task that moved in between would be queued above a timeline that
        # has it sent.
        before, mark = mark, await _mark(context, visitor, task_id)
        reads += 1
        if mark == before or reads == _MOST_READS:
            break
    now, name = context.clock.now(), task_items.name_of(task)
    head = {name: value for name, value in task.items() if name not in ("items", "version", "updated_at")}
    can = _can(task, visitor)
    parts = {
        "status": _digest([head, name, can]),
        "items": _digest(task["items"]),
        "history": _digest([head, entries, sent]),
    }
    return {
        "task": task,
        "name": name,
        "asked": task_items.prompt_of(task, name),
        "items": [
            {
                **item,
                "lines": subtitles.lines_of(item["lyrics_sections"]),
                "files": (files := task_items.files_of(item, now)),
                "tracks": task_items.tracks_of(files),
                "forms": forms_for(task, item, now),
            }
            for item in task["items"]
        ],
        "drawn": task_timeline.drawn(entries),
        "more_entries": more is not None,
        "notifications": sent[:MOST_NOTIFICATIONS],
        "more_notifications": len(sent) > MOST_NOTIFICATIONS,
        "parts": parts,
        "seen": ".".join((mark, *parts.values())),
        "every_s": _every_s(task, sent),
        "once": str(context.ids()),
        "can": can,
    }


def _can(task: Document, visitor: Visitor) -> dict[str, bool]:
    """What may be done with a task as it is."""
    lost = task["status"] == TaskStatus.FAILED and (task["error"] or {}).get("code") == "submit_outcome_unknown"
    return {
        "cancel": task["status"] == TaskStatus.QUEUED,
        # Without an item there is nothing to ask about.
        "refresh": task["status"] != TaskStatus.QUEUED and bool(task["items"]),
        "retry": task["status"] in TASK_FINAL and not task["kind"].endswith(".external"),
        "copy-again": visitor.client.is_admin and any(map(_was_given_up, _files_of(task))),
        "resolve_sent": visitor.client.is_admin and (task["status"] == TaskStatus.UNCONFIRMED or lost),
        "resolve_not_sent": visitor.client.is_admin and task["status"] == TaskStatus.UNCONFIRMED,
    }


def _files_of(task: Document) -> list[Document]:
    return [file for item in task["items"] for file in item["artifacts"].values()]


def _was_given_up(file: Document) -> bool:
    """Whether a file could not be copied, and can be tried again: not one whose retention is over, or that failed."""
    copy = file["archive"] or {}
    return (
        file["status"] == ArtifactStatus.READY
        and copy.get("status") == CopyStatus.FAILED
        and copy.get("reason") not in (RETENTION, NOT_ONE_URL)
    )


def _digest(value: Any) -> str:
    return hashlib.blake2b(dumps(value).encode(), digest_size=16).hexdigest()[:_DIGEST_CHARS]


def _every_s(task: Document, sent: list[Document]) -> int | None:
    if task["status"] not in TASK_FINAL:
        return FOLLOW_S
    pending = any("pending" in (file["status"], (file["archive"] or {}).get("status")) for file in _files_of(task))
    return SETTLE_S if pending or any(one["status"] == "pending" for one in sent) else None
