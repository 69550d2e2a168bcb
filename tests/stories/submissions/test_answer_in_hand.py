"""An answer that exists in one process alone is kept until it is committed, or its task would be unknown."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from app.submissions.dispatch import Dispatcher
from tests.support.backends import Away
from tests.support.direct import Direct, ids
from tests.support.starting import StartGateway, StartSandbox


@pytest.fixture
async def away(database_url: str) -> AsyncIterator[Away]:
    """The database as the sender has it."""
    backend = Away(database_url)
    yield backend
    await backend.close()


@pytest.mark.parametrize(("refusal", "status", "items"), [(None, "running", 1), (400004, "failed", 0)])
async def test_an_answer_is_kept_until_the_database_is_back(
    start_gateway: StartGateway,
    start_sandbox: StartSandbox,
    away: Away,
    refusal: int | None,
    status: str,
    items: int,
) -> None:
    sandbox = await start_sandbox()
    if refusal is not None:
        sandbox.add_rules(answers=[{"operation": "submit", "status": refusal}])
    gateway = await start_gateway(sandbox, workers=False)
    task = await gateway.submit()
    sender = Dispatcher(replace(gateway.gateway.context, db=away.database()))
    assert await sender.step() == 0
    away.writes_to_refuse = 5
    found = await gateway.until(task["id"], status)
    assert (len(found["items"]), away.writes_to_refuse) == (items, 0)
    await sender.finish(1)


async def test_answers_that_come_together_are_committed_together(
    start_gateway: StartGateway, start_sandbox: StartSandbox, away: Away
) -> None:
    gateway = await start_gateway(await start_sandbox(), workers=False)
    tasks = [(await gateway.submit())["id"] for _ in range(8)]
    sender = Dispatcher(replace(gateway.gateway.context, db=away.database()))
    assert await sender.step() == 0
    claims = away.writes
    away.writes_to_refuse = 1
    for task_id in tasks:
        await gateway.until(task_id, "running")
    # The one that was refused, and what came meanwhile: one by one there would be nine.
    assert away.writes - claims <= 4
    await sender.finish(1)


@pytest.mark.own_database
async def test_an_answer_that_cannot_be_committed_holds_up_none_that_came_with_it(
    start_gateway: StartGateway, start_sandbox: StartSandbox, db: Direct
) -> None:
    gateway = await start_gateway(await start_sandbox(), workers=False)
    odd, *others = [(await gateway.submit())["id"] for _ in range(6)]
    await db.refuse_items(f"NEW.task_id = {ids([odd])}")
    sender = Dispatcher(gateway.gateway.context)
    assert await sender.step() == 0
    for task_id in others:
        await gateway.until(task_id, "running")
    assert (await gateway.task(odd))["status"] == "submitting"
    await db.allow_items()
    assert len((await gateway.until(odd, "running"))["items"]) == 1
    await sender.finish(1)
