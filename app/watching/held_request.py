"""Waiting for a task in one request: held until the task is as wanted, its time is up, or the caller goes away."""

import asyncio
from typing import Annotated, Final
from uuid import UUID

from fastapi import Query, Request, Response

from app.rules.client import Client
from app.watching.waits import Until
from app.watching.watch import Watch

MOST_WAIT_S: Final = 60.0
"""What may be asked for. It is held for somewhat less, see ``Services.longest_wait_s``."""

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
    done = asyncio.ensure_future(_sends_no_more(request))
    try:
        await asyncio.wait({answer, done}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            # Most who close have gone: their place is free for another. Who still reads is answered now.
            answer.cancel()
            await asyncio.wait({answer})
            answer = asyncio.ensure_future(watch.wait(task_id, client, 0, until))
        return Response(await answer, media_type="application/json")
    finally:
        answer.cancel()
        done.cancel()


async def _sends_no_more(request: Request) -> None:
    """Return when the caller has closed its side of the connection."""
    more = True
    while more:
        more = (await request.receive()).get("more_body", False)
    await request.receive()
