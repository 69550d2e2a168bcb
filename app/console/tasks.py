"""The tasks as a gallery or as a table: by filters, by id, by reference, or by words in titles and prompts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Request, Response

from app.app_context import Context
from app.clients.auth import TheContext
from app.console import task_items
from app.console.pages import PageRoute, page, see
from app.console.signed_in import TheVisitor, Visitor
from app.documents import read
from app.documents.document import Document
from app.errors import NotFound
from app.rules.status import TaskStatus
from app.tasks.task_rows import TaskFilters
from app.tempolor.kinds import KINDS, family_of
from app.web import cursors
from app.web.parameters import storable

router = APIRouter(route_class=PageRoute, include_in_schema=False)
PAGE: Final = 24
MOST_SEARCHED: Final = 200
"""Tasks that one page of a search for words looks through: no index holds these."""
VIEWS: Final = ("gallery", "table")
_FILTERS: Final = ("kind", "reference", "client")
_COVERS: Final = 8


@dataclass(frozen=True, slots=True)
class Found:
    """A page of tasks. ``next_after``: the id after which there may be more; ``searched``: how many were looked
    through for words, None where an index found them."""

    tasks: Sequence[Document]
    next_after: str | None
    searched: int | None = None


@router.get("/console/tasks")
async def list_tasks(request: Request, visitor: TheVisitor, context: TheContext) -> Response:
    """A page of tasks, newest first. ``find``: the id of a task or of an item leads to its task, a whole reference to
    the tasks that have it; anything else is looked for in titles and prompts."""
    asked = request.query_params
    given = {name: storable(value) for name in _FILTERS if (value := asked.get(name, "").strip())}
    words = storable(asked.get("find", "").strip())
    cursor = asked.get("cursor") or None
    if words and cursor is None:
        if (task_id := await _id_of(context, visitor, words)) is not None:
            return see(f"/console/tasks/{task_id}")
        if "reference" not in given and await _is_reference(context, visitor, words):
            given["reference"], words = words, ""
    # Several also as one choice of the form.
    wanted = ",".join(asked.getlist("status")).split(",")
    statuses = [one for one in TaskStatus if one in wanted]
    client = visitor.scope or given.get("client")
    filters = TaskFilters(
        client_name=client,
        statuses=tuple(sorted(statuses)),
        kind=given.get("kind"),
        reference=given.get("reference"),
    )
    bound = (filters, words)
    before_id = cursors.read(cursor, bound)
    found = await _find(context, replace(filters, before_id=before_id), words)
    view = asked.get("view") if asked.get("view") in VIEWS else VIEWS[0]
    narrowed = [("status", one) for one in statuses] + list(given.items()) + ([("find", words)] if words else [])
    next_cursor = cursors.make(found.next_after, bound) if found.next_after else None
    now = context.clock.now()
    return page(
        "tasks.html",
        visitor=visitor,
        here="tasks",
        found=found,
        tasks=[_shown(task, now) for task in found.tasks],
        statuses=list(TaskStatus),
        kinds=list(KINDS),
        chosen=statuses,
        given=given,
        words=words,
        most_searched=MOST_SEARCHED,
        view=view,
        views={one: f"/console/tasks?{urlencode([*narrowed, ('view', one), *_at(cursor)])}" for one in VIEWS},
        is_later=before_id is not None,
        all_url=f"/console/tasks?view={view}" if narrowed else None,
        first_url=f"/console/tasks?{urlencode([*narrowed, ('view', view)])}",
        next_url=f"/console/tasks?{urlencode([*narrowed, ('view', view), *_at(next_cursor)])}" if next_cursor else None,
    )


def _at(cursor: str | None) -> list[tuple[str, str]]:
    return [("cursor", cursor)] if cursor else []


async def _find(context: Context, filters: TaskFilters, words: str) -> Found:
    if not words:
        tasks, more = await read.task_list(context, filters, PAGE, summary=True)
        return Found(tasks, tasks[-1]["id"] if more else None)
    tasks, more = await read.task_list(context, filters, MOST_SEARCHED, summary=True)
    wanted = words.casefold()
    matching = [task for task in tasks if any(wanted in one.casefold() for one in _texts_of(task))]
    last = matching[PAGE - 1] if len(matching) > PAGE else tasks[-1] if more else None
    return Found(matching[:PAGE], last["id"] if last else None, len(tasks))


def _texts_of(task: Document) -> list[str]:
    texts = [task["reference"], task["params"].get("prompt"), *(item["title"] for item in task["items"])]
    return [one for one in texts if isinstance(one, str)]


async def _is_reference(context: Context, visitor: Visitor, found: str) -> bool:
    return bool(
        (await read.task_list(context, TaskFilters(client_name=visitor.scope, reference=found), 1, summary=True))[0]
    )


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


def _shown(task: Document, now: Any) -> Document:
    """A task with its name, what of it can be played, and which cover it has in the gallery."""
    tracks = [track for item in task["items"] for track in task_items.tracks_of(task_items.files_of(item, now))]
    cover, name = UUID(task["id"]).int % _COVERS, task_items.name_of(task)
    return {
        **task,
        "name": name,
        "asked": task_items.prompt_of(task, name),
        "family": family_of(task["kind"]),
        "track": tracks[0] if tracks else None,
        "cover": cover,
    }
