"""Routes that read tasks: list, one task (with ``wait`` a long poll), its timeline, the task of an item."""

import asyncio
from dataclasses import replace
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from app.clients.auth import TheClient, TheContext, scope_of
from app.documents import read, subtitles
from app.documents.schemas import Task, TaskListPage, Timeline
from app.errors import ArtifactNotReady, Forbidden
from app.rules.client import Client
from app.rules.status import TaskStatus
from app.tasks.task_rows import TaskFilters
from app.watching.waits import LATEST_ANSWER_S, Until
from app.watching.watch import Watch
from app.web import cursors
from app.web.answers import PROBLEMS, Responses, json_answer, problem_response
from app.web.parameters import RequestText, RequestTime, storable, uuid_of
from app.web.request_ids import ARRIVED_AT
from app.web.services import service

MOST_WAIT_S: Final = 60.0
"""The longest ``wait`` of a request. Answers are held for somewhat less, see ``Services.longest_wait_s``."""

WaitS = Annotated[
    float,
    Query(ge=0, le=MOST_WAIT_S, allow_inf_nan=False, description="hold the answer for at most so many seconds"),
]
UntilWhat = Annotated[
    Until, Query(description="what to wait for; lyrics, stems and midi are playable when they are final")
]


async def long_poll(
    request: Request, watch: Watch, task_id: UUID, client: Client, wait_s: float, until: Until
) -> Response:
    """Wait for a task, and answer with it as it is then. ``wait_s`` counts from the arrival of the request, of which
    a slow look at its key may have taken some. Raises ``NotFound``, ``Unavailable``, ``Unauthenticated``."""
    passed_s = asyncio.get_running_loop().time() - request.scope[ARRIVED_AT]
    left_s, latest_s = max(wait_s - passed_s, 0), max(LATEST_ANSWER_S - passed_s, 0)
    answer = asyncio.ensure_future(watch.wait(task_id, client, left_s, until, latest_s))
    closed = asyncio.ensure_future(_closed_its_side(request))
    try:
        await asyncio.wait({answer, closed}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            # Most callers that close their side have gone: their place is free for another. One that still reads is
            # answered now.
            answer.cancel()
            await asyncio.wait({answer})
            answer = asyncio.ensure_future(watch.wait(task_id, client, 0, until))
        return Response(await answer, media_type="application/json")
    finally:
        answer.cancel()
        closed.cancel()


async def _closed_its_side(request: Request) -> None:
    """Return when the caller has closed its side of the connection."""
    more = True
    while more:
        more = (await request.receive()).get("more_body", False)
    await request.receive()


router = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["Tasks"])
TheWatch = Annotated[Watch, service("watch")]
LongestWait = Annotated[float, service("longest_wait_s")]


class ListQuery(BaseModel):
    """What narrows a list of tasks."""

    status: list[TaskStatus] = Field(default_factory=list)
    kind: RequestText | None = None
    reference: RequestText | None = None
    client: Annotated[RequestText | None, Field(description="for admins")] = None
    created_after: RequestTime | None = None
    created_before: RequestTime | None = None
    finished_after: RequestTime | None = None
    finished_before: RequestTime | None = None
    view: Annotated[
        Literal["full", "summary"], Field(description="`summary`: no lyrics, also in `params`, and no `vendor`")
    ] = "full"
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: str | None = None


@router.get("/tasks", response_model=TaskListPage, summary="List tasks")
async def list_tasks(query: Annotated[ListQuery, Query()], client: TheClient, context: TheContext) -> Response:
    """Tasks, newest first. A cursor belongs to its filters. Of very large tasks a page has fewer."""
    filters = TaskFilters(
        client_name=_scope(scope_of(client), query.client),
        statuses=tuple(sorted(status.value for status in query.status)),
        kind=query.kind,
        reference=query.reference,
        created_after=query.created_after,
        created_before=query.created_before,
        finished_after=query.finished_after,
        finished_before=query.finished_before,
    )
    before_id = cursors.read(query.cursor, filters)
    tasks, more = await read.task_list(
        context, replace(filters, before_id=before_id), query.limit, summary=query.view == "summary"
    )
    return json_answer({"data": tasks, "next_cursor": cursors.make(tasks[-1]["id"], filters) if more else None})


@router.get("/tasks/{task_id}", response_model=Task, summary="Read a task")
async def get_task(
    request: Request,
    task_id: str,
    client: TheClient,
    context: TheContext,
    watch: TheWatch,
    longest_wait_s: LongestWait,
    wait: WaitS = 0,
    until: UntilWhat = Until.FINAL,
) -> Response:
    """One task with its items. With `wait` the answer is held until the task is final, or with `until=playable` until
    it can be played; when the time is up, after 55 s at most, it is the task as it is."""
    if wait:
        wait_s = min(wait, longest_wait_s)
        return await long_poll(request, watch, uuid_of(task_id), client, wait_s, until)
    return json_answer(await read.task(context, uuid_of(task_id), scope_of(client)))


@router.get("/tasks/{task_id}/timeline", response_model=Timeline, summary="What happened to a task")
async def get_task_timeline(
    task_id: str,
    client: TheClient,
    context: TheContext,
    limit: Annotated[int, Query(ge=1, le=1000, description="counted by `seq`")] = 1000,
    cursor: str | None = None,
) -> Response:
    """Everything that happened, oldest first. Where `next_cursor` is not null, newer entries follow."""
    wanted = uuid_of(task_id)
    filters = ("timeline", wanted)
    after_seq = cursors.read_seq(cursor, filters)
    entries, last_seq = await read.task_timeline(context, wanted, scope_of(client), after_seq, limit)
    return json_answer({"data": entries, "next_cursor": cursors.make_seq(last_seq, filters) if last_seq else None})


_LYRICS: Final[Responses] = {
    200: {
        "description": "The lines with their times",
        "content": {key: {"schema": {"type": "string"}} for key in ("text/plain", "application/x-subrip")},
    },
    409: problem_response("There are no aligned lyrics yet", "artifact_not_ready"),
}


@router.get(
    "/items/{item_id:path}/lyrics.{form}",
    response_class=Response,
    responses=_LYRICS,
    summary="Fetch aligned lyrics as LRC or SRT",
)
async def get_lyrics(item_id: str, form: Literal["lrc", "srt"], client: TheClient, context: TheContext) -> Response:
    """The aligned lyrics of an item as a subtitle file, made of its `lyrics_sections`."""
    tasks = await read.tasks_of_item(context, storable(item_id), scope_of(client))
    for item in (item for task in tasks for item in task["items"] if item["item_id"] == item_id):
        lines = subtitles.lines_of(item["lyrics_sections"])
        if lines and form == "srt":
            return Response(subtitles.as_srt(lines), media_type="application/x-subrip")
        if lines:
            return Response(subtitles.as_lrc(lines, item["title"]), media_type="text/plain")
    raise ArtifactNotReady("there are no aligned lyrics yet")


@router.get("/items/{item_id:path}", response_model=Task, summary="The task that holds an item")
async def get_task_of_item(item_id: str, client: TheClient, context: TheContext) -> Response:
    """The task of an item, by the vendor's item id."""
    return json_answer(await read.item(context, storable(item_id), scope_of(client)))


def _scope(own: str | None, wanted: str | None) -> str | None:
    if own is not None and wanted not in (None, own):
        raise Forbidden("only an admin sees other clients' tasks")
    return own if own is not None else wanted
