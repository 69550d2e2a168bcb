"""Several processes on one PostgreSQL: nothing is sent or asked twice, limits hold together, nobody deadlocks (G8)."""

import asyncio
import random
import uuid

import httpx
import pytest

from tests.support.databases import on_postgresql
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import eventually, running_gateway
from tests.support.not_none import present
from tests.support.start_fixtures import StartGateway, StartSandbox

# SQLite takes one process.
pytestmark = [on_postgresql, pytest.mark.virtual_time]


async def test_three_replicas_share_the_limits_and_do_nothing_twice(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=100, callbacks={"drop": 0.7, "double": 0.3, "delay": 0.2}, seed=3)
    given = {
        "submit_max_in_flight": 5,
        "query_first_after_s": 0.5,
        "query_interval_s": 0.5,
        "query_rate_per_s": 1,
        "loop_idle_s": 0.3,
    }
    first, *others = [await start_gateway(sandbox, **given) for _ in range(3)]
    await asyncio.gather(*(random.choice([first, *others]).submit() for _ in range(16)))

    async def all_succeeded() -> bool:
        answer = await first.api.get("/v1/tasks", params={"status": "succeeded"})
        return len(answer.json()["data"]) == 16

    await eventually(all_succeeded, timeout_s=60, every_s=0.5)
    submissions = [call for call in sandbox.calls if call.operation == "submit"]
    assert len(submissions) == len(list(sandbox.works)) == 16
    assert sandbox.works.max_in_flight <= 5
    truth = sandbox.truth()
    assert truth["items_queried_at_once"] <= 1
    queries = sorted(call.at for call in sandbox.calls if call.operation == "query")
    assert len(queries) > 4
    most_in_a_second = max(sum(at <= other < at + 0.99 for other in queries) for at in queries)
    # One permit a second; without a limit that they share it would be five.
    assert most_in_a_second == 1


async def test_callbacks_that_name_the_same_items_in_any_order_do_not_deadlock(start_gateway: StartGateway) -> None:
    replicas = [await start_gateway(workers=False) for _ in range(2)]
    chance = random.Random(7)
    names = [f"t2m_{number}" for number in range(20)]

    async def post(number: int) -> httpx.Response:
        named = chance.sample(names, 5)
        body = {"songs": [{"item_id": name, "status": "running", "n": number} for name in named]}
        return await chance.choice(replicas).call_back("song", body)

    answers = [answer for _ in range(5) for answer in await asyncio.gather(*(post(n) for n in range(40)))]
    assert {answer.status_code for answer in answers} == {200}
    page = (await replicas[0].api.get("/v1/tasks", params={"limit": 200})).json()["data"]
    assert sorted(item["item_id"] for task in page for item in task["items"]) == sorted(names)
    assert {len(task["items"]) for task in page} == {1}, "an external task has one item"


async def test_what_a_killed_process_was_sending_becomes_unconfirmed_within_its_lease(
    start_sandbox: StartSandbox, database_url: str
) -> None:
    sandbox = await start_sandbox(scale=60)
    sandbox.add_rules(answers=[{"operation": "submit", "hang_s": 30, "accept": True}], works=[{"drop": ["*"]}])
    async with running_gateway(database_url, tempolor_base_url=sandbox.base_url) as first:
        task = await first.submit()
        await first.until(task["id"], "submitting")
        await asyncio.sleep(0.3)
        # As if the process had died: nothing of its send will ever be settled.
        for sending in list(present(first.gateway.workers).dispatcher._sending):
            sending.cancel()
    clock = ScaledClock()
    clock.skip(61)
    async with running_gateway(database_url, tempolor_base_url=sandbox.base_url, clock=clock) as second:
        await second.until(task["id"], "unconfirmed")
        [item_id] = next(iter(sandbox.works)).item_ids
        body = {"songs": [{"item_id": item_id, "status": "main_succeeded"}]}
        await second.call_back("song", body, uuid.UUID(task["id"]))
        assert (await second.task(task["id"]))["status"] == "main_succeeded"
    assert len(list(sandbox.works)) == 1
