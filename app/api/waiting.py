"""Waiting for a task in one request: held until the task is as wanted, its time is up, or the caller goes away."""

import asyncio
from typing import Annotated, Final
from uuid import UUID

from fastapi import Query, Request, Response

from app.domain.client import Client
from app.flows.waits import Until
from app.flows.watch import Watch

MOST_WAIT_S: Final = 60.0

WaitS = Annotated[
    float,
    Query(ge=0, le=MOST_WAIT_S, allow_inf_nan=False, description="hold the answer for at most so many seconds"),
]
UntilWhat = Annotated[
    Until, Query(description="what to wait for; lyrics, stems and midi are playable when they are final")
]


async def held_answer(
    request: Request, watch: Watch, task_id: UUID, client: Client, wait_s: float, until: Until
) -> Response:
    """The task as it is then. Raises ``NotFound``, ``Unavailable``, ``Unauthenticated``."""
    answer = asyncio.ensure_future(watch.wait(task_id, client, wait_s, until))
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        # Nobody reads the answer to a caller that has gone; its place is free for another.
        return Response(await answer, media_type="application/json") if answer.done() else Response(status_code=204)
    finally:
        answer.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
