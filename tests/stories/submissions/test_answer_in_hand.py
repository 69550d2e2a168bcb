"""An answer that exists in one process alone is kept until it is committed, or its task would be unknown."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from app.submissions.dispatch import Dispatcher
from tests.support.backends import Away
from tests.support.direct_sql import Direct, ids
from tests.support.start_fixtures import StartGateway, StartSandbox


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
    start_gateway: StartGateway, start_sandbox: StartSandbox, db: Direct, away: Away
) -> None:
    gateway = await start_gateway(await start_sandbox(), workers=False, submit_max_in_flight=20)
    *others, odd = [(await gateway.submit())["id"] for _ in range(9)]
    await db.refuse_items(f"NEW.task_id = {ids([odd])}")
    sender = Dispatcher(replace(gateway.gateway.context, db=away.database()))
    assert await sender.step() == 0
    for task_id in others:
        await gateway.until(task_id, "running")
    # It failed with the others once, and then by itself; if it failed slowly, they would wait each further time.
    assert away.failed <= 4
    assert (await gateway.task(odd))["status"] == "submitting"
    # Who comes later does not meet it.
    before = away.writes - away.failed
    later = [(await gateway.submit())["id"] for _ in range(3)]
    failed = away.failed
    assert await sender.step() == 0
    for task_id in later:
        await gateway.until(task_id, "running")
    assert away.failed - failed <= 3, "only by itself"
    assert away.writes - away.failed - before <= 1 + len(later)
    await db.allow_items()
    assert len((await gateway.until(odd, "running"))["items"]) == 1
    await sender.finish(1)


@pytest.mark.parametrize("status", [None, 400010], ids=["unknown", "refused"])
async def test_answers_whose_commit_was_not_confirmed_count_once(
    start_gateway: StartGateway, start_sandbox: StartSandbox, away: Away, status: int | None
) -> None:
    """Two tasks: neither three unknown outcomes in a row nor three refusals of a model."""
    sandbox = await start_sandbox()
    sandbox.add_rules(answers=[{"operation": "submit", **({"status": status} if status else {"http_status": 500})}] * 2)
    gateway = await start_gateway(sandbox, workers=False)
    tasks = [(await gateway.submit())["id"] for _ in range(2)]
    sender = Dispatcher(replace(gateway.gateway.context, db=away.database()))
    assert await sender.step() == 0
    away.commits_to_lose = 2
    for task_id in tasks:
        await gateway.until(task_id, "failed" if status else "unconfirmed")
    await sender.finish(5)
    assert away.commits_to_lose == 0
    shown = (await gateway.api.get("/v1/submissions")).json()
    assert (shown["standing_still"]["submissions"], shown["held_models"]) == (None, [])
