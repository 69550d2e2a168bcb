"""Whoever has the callback URL of a task cannot fill the disk with it."""

import asyncio
from uuid import UUID

from app.storage.inbox import MOST_BODIES
from tests.api.bodies import logged, song


async def test_only_so_many_bodies_of_one_task_are_kept_and_the_rest_is_still_applied(gateway, db):
    mine, other = [UUID((await gateway.submit())["id"]) for _ in range(2)]
    await gateway.call_back("song", song("t2m_other"), other)
    for start in range(0, MOST_BODIES + 60, 20):
        answers = await asyncio.gather(
            *(gateway.call_back("song", song(title=f"Title {n}"), mine) for n in range(start, start + 20))
        )
        assert {answer.status_code for answer in answers} == {200}
    rows = await db.rows("SELECT count(*) AS n FROM callbacks")
    # Callbacks of one group are judged together, so a group may go over by its own.
    assert MOST_BODIES < rows[0]["n"] <= MOST_BODIES + 1 + 64
    assert (await gateway.task(str(mine)))["items"][0]["title"].startswith("Title 2")
    # Another task's allowance is its own.
    await gateway.call_back("song", song("t2m_other", title="kept"), other)
    assert len(await logged(gateway, str(other))) == 2
