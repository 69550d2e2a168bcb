"""Routes that stream tasks as server-sent events: one `task` event at each change."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Response
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.types import Receive, Scope, Send

from app.clients.auth import TheClient
from app.watching.streams import Stream
from app.watching.task_routes import TheWatch
from app.watching.watch import Watch
from app.web.answers import PROBLEMS
from app.web.parameters import uuid_of
from app.web.services import service

RECONNECT_MS: Final = 1000
"""SSE's ``retry``: how long readers are asked to wait before they reconnect."""
STUCK_S: Final = 60.0
"""Send time-out: a reader that takes nothing for so long, not even a heartbeat, is taken for gone."""
END_S: Final = 1.0
"""How long a closed stream may take to send its last event."""

router = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["Streams"])
Heartbeat = Annotated[float, service("heartbeat_s")]
Ticket = Annotated[
    str | None, Query(description="in place of an API key: a ticket of `POST /v1/stream-tickets`, good for one stream")
]
LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", description="the `id` of the last event received")]
STREAM: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "`task` events, each with a task as its data; a block without data only moves the `id`",
        "content": {"text/event-stream": {}},
    }
}
_NO_MORE: Final[dict[int | str, dict[str, Any]]] = {
    204: {"description": "The task has ended, and the reader has its last state: do not connect again"}
}


@router.get(
    "/tasks/{task_id}/stream",
    response_class=Response,
    responses=STREAM | _NO_MORE,
    summary="Follow a task as it changes",
)
async def stream_task(
    task_id: str,
    client: TheClient,
    watch: TheWatch,
    heartbeat_s: Heartbeat,
    last_event_id: LastEventId = None,
    ticket: Ticket = None,
) -> Response:
    """The task as it is, and then at each change; the `id` is its version. After a task has ended, with nothing still
    to come, its last state is sent and the stream ends. A change that comes quickly after another may be sent with
    it, as one event."""
    stream = await watch.open_task(uuid_of(task_id), client, last_event_id)
    return EventStream(watch, stream, _encode(stream), heartbeat_s) if stream else Response(status_code=204)


@router.get("/stream", response_class=Response, responses=STREAM, summary="Follow all tasks as they change")
async def stream_tasks(
    client: TheClient,
    watch: TheWatch,
    heartbeat_s: Heartbeat,
    last_event_id: LastEventId = None,
    ticket: Ticket = None,
) -> Response:
    """Every task of the client (an admin: of all clients) at each change from now on, or, with `Last-Event-ID`, from
    there on. After a resumption tasks may be sent that were sent before: drop what is no newer than the `version` you
    have. A slow reader is sent the latest of each task."""
    stream = await watch.open_client(client, last_event_id)
    return EventStream(watch, stream, _encode(stream), heartbeat_s)


class _Stuck(Exception):
    """The stream is closed, and its reader does not take what is left."""


class EventStream(EventSourceResponse):
    """Sends a stream as server-sent events, and closes it however the connection ends. ``events``: what is sent of it;
    bytes as they are."""

    def __init__(
        self, watch: Watch, stream: Stream, events: AsyncIterator[ServerSentEvent | bytes], heartbeat_s: float
    ) -> None:
        super().__init__(
            events,
            ping=heartbeat_s,
            # A heartbeat moves the id too: a reader that was sent nothing for hours need not read these hours again.
            ping_message_factory=lambda: ServerSentEvent(comment="ping", id=stream.position),
            data_sender_callable=self._cut_off,
            send_timeout=STUCK_S,
        )
        # The server sets these itself.
        del self.headers["cache-control"]
        del self.headers["connection"]
        self._watch = watch
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except (_Stuck, SendTimeoutError):
            return
        finally:
            self._watch.close_stream(self._stream)

    async def _cut_off(self) -> None:
        """End a closed stream whose reader does not take the rest."""
        await self._stream.closed.wait()
        await asyncio.sleep(END_S)
        raise _Stuck


async def _encode(stream: Stream) -> AsyncIterator[ServerSentEvent]:
    retry: int | None = RECONNECT_MS
    async for event in stream.events():
        if event.body is None:
            yield ServerSentEvent(id=event.id, retry=retry)
        else:
            yield ServerSentEvent(event.body.decode(), event="task", id=event.id, retry=retry)
        retry = None
