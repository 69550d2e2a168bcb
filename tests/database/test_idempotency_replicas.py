"""One idempotency key at once over several processes on one database: one task (G5, G8)."""

import asyncio
from typing import Any

import pytest

from app.sandbox.state import Sandbox
from tests.support.databases import on_postgresql
from tests.support.direct_sql import Direct
from tests.support.gateway import SONG, Running
from tests.support.start_fixtures import StartGateway, StartSandbox

BODY = {"kind": "song.generate", "params": SONG, "reference": "order-17"}


# SQLite takes one process.
pytestmark = [on_postgresql, pytest.mark.virtual_time]


@pytest.fixture
async def replicas(start_gateway: StartGateway, start_sandbox: StartSandbox) -> tuple[Sandbox, list[Running]]:
    sandbox = await start_sandbox(scale=0.1)
    return sandbox, [await start_gateway(sandbox) for _ in range(3)]


async def _at_once(replicas: list[Running], path: str, body: dict[str, Any], key: str, times: int = 10) -> list[Any]:
    """The same request, spread over the replicas."""
    return await asyncio.gather(
        *(replicas[n % len(replicas)].api.post(path, json=body, headers={"Idempotency-Key": key}) for n in range(times))
    )


async def test_ten_identical_submissions_over_three_replicas_make_one_task(
    replicas: tuple[Sandbox, list[Running]], database_url: str
) -> None:
    sandbox, gateways = replicas
    for round_ in range(2):
        answers = await _at_once(gateways, "/v1/tasks", BODY, f"order-{round_}")
        assert sorted(answer.status_code for answer in answers) == [200] * 9 + [202]
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert sum("idempotent-replayed" in answer.headers for answer in answers) == 9
    assert len(await Direct(database_url).rows("SELECT id FROM tasks")) == 2
    for task in (await gateways[0].api.get("/v1/tasks")).json()["data"]:
        await gateways[0].until(task["id"], "running")
    assert len(sandbox.works) == 2


async def test_ten_identical_batches_over_three_replicas_make_one(
    replicas: tuple[Sandbox, list[Running]], database_url: str
) -> None:
    _, gateways = replicas
    answers = await _at_once(gateways, "/v1/tasks/batch", {"tasks": [BODY] * 5}, "month-17")
    assert sorted(answer.status_code for answer in answers) == [200] * 9 + [202]
    assert len({tuple(task["id"] for task in answer.json()["data"]) for answer in answers}) == 1
    assert len(await Direct(database_url).rows("SELECT id FROM tasks")) == 5


async def test_another_body_under_the_same_key_at_once_is_refused(
    replicas: tuple[Sandbox, list[Running]], database_url: str
) -> None:
    _, gateways = replicas
    answers = await asyncio.gather(
        _at_once(gateways, "/v1/tasks", BODY, "k", 5),
        _at_once(gateways[::-1], "/v1/tasks", {**BODY, "reference": "other"}, "k", 5),
    )
    codes = [sorted(answer.status_code for answer in some) for some in answers]
    assert sorted(codes) == [[200] * 4 + [202], [422] * 5]
    assert len(await Direct(database_url).rows("SELECT id FROM tasks")) == 1
