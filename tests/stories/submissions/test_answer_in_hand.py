"""An answer that exists in one process alone is kept until it is committed, or its task would be unknown."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from app.flows.dispatch import Dispatcher
from tests.support.backends import Away
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
