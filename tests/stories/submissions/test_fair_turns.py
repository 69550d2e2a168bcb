"""Slots are scarce: the clients take turns, whatever each has queued, and the queue's length costs nothing."""

import asyncio
from datetime import timedelta
from typing import Any

from app.limits.fair_order import lock_next
from app.sandbox.state import Sandbox
from app.submissions.dispatch import claim
from tests.support.direct_sql import Direct
from tests.support.gateway import Running, eventually, running_gateway
from tests.support.start_fixtures import StartGateway, StartSandbox
from tests.support.virtual_time import utc_now

INDEX = "ix_tasks_client_name_dispatch_due_at_id"


async def client(gateway: Running, name: str) -> dict[str, Any]:
    made = (await gateway.api.post("/v1/clients", json={"name": name})).json()
    return {"Authorization": f"Bearer {made['api_key']}"}


async def queue(gateway: Running, count: int, who: dict[str, Any] | None = None, prompt: str = "rain") -> list[Any]:
    """Queue tasks of one client; their ids, oldest first."""
    body = {"tasks": [{"kind": "lyrics.generate", "params": {"prompt": f"{prompt} {n}"}} for n in range(count)]}
    answer = await gateway.api.post("/v1/tasks/batch", json=body, headers=who or {})
    assert answer.status_code == 202, answer.text
    return [task["id"] for task in answer.json()["data"]]


async def take(
    gateway: Running, room: int, in_flight: dict[str, int] | None = None, last: str | None = None
) -> list[Any]:
    """What would be sent next, oldest of each client first, without sending it."""
    now = utc_now() + timedelta(seconds=1)
    found = await gateway.gateway.context.db.write(lock_next, now, room, in_flight or {}, last)
    return [str(record.task.id) for record in found.records]


def prompts(sandbox: Sandbox) -> list[Any]:
    return [work.params["prompt"] for work in sandbox.works]


async def test_a_client_with_a_thousand_tasks_does_not_starve_one_with_a_single_one(
    database_url: str, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=20)
    given: dict[str, Any] = {"tempolor_base_url": sandbox.base_url, "submit_max_in_flight": 2}
    async with running_gateway(database_url, workers=False) as gateway:
        many, single = await client(gateway, "many"), await client(gateway, "single")
        for _ in range(3):
            await queue(gateway, 100, many, "many")
        await queue(gateway, 1, single, "single")
    async with running_gateway(database_url, **given) as gateway:
        await eventually(lambda: _sent(sandbox, 3), timeout_s=30)
    assert "single 0" in prompts(sandbox)[:2]


async def test_with_a_single_slot_the_clients_take_turns(database_url: str, start_sandbox: StartSandbox) -> None:
    sandbox = await start_sandbox(scale=200)
    given: dict[str, Any] = {"tempolor_base_url": sandbox.base_url, "submit_max_in_flight": 1}
    async with running_gateway(database_url, workers=False) as gateway:
        first, last = await client(gateway, "first"), await client(gateway, "last")
        await queue(gateway, 30, first, "first")
        await queue(gateway, 3, last, "last")
    async with running_gateway(database_url, **given) as gateway:
        await eventually(lambda: _sent(sandbox, 6), timeout_s=40)
    assert prompts(sandbox)[:6] == ["first 0", "last 0", "first 1", "last 1", "first 2", "last 2"]


async def test_a_single_task_is_not_starved_either_where_the_vendors_queue_is_full(
    database_url: str, start_sandbox: StartSandbox
) -> None:
    """Each slot that frees is probed for by one task: the clients take turns at that, too."""
    sandbox = await start_sandbox(scale=20, parallel_limit=1)
    given: dict[str, Any] = {"tempolor_base_url": sandbox.base_url, "submit_max_in_flight": 10}
    async with running_gateway(database_url, workers=False) as gateway:
        many, single = await client(gateway, "many"), await client(gateway, "single")
        await queue(gateway, 30, many, "many")
        await asyncio.sleep(0.05)
        await queue(gateway, 1, single, "single")
    async with running_gateway(database_url, **given) as gateway:
        await eventually(lambda: _sent(sandbox, 3), timeout_s=40)
    assert "single 0" in prompts(sandbox)[:3]


async def test_another_probe_is_the_oldest_task_of_all(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=0.1)
    sandbox.add_rules(answers=[{"operation": "submit", "status": 400005, "times": None}])
    gateway = await start_gateway(sandbox, submit_max_in_flight=5)
    many, single = await client(gateway, "many"), await client(gateway, "single")
    of_many = await queue(gateway, 20, many, "many")

    async def held() -> Any:
        return (await gateway.api.get("/backlog")).json()["standing_still"].get("submit")

    await eventually(held)
    # The five that were under way come back in any order; the first of them holds.
    for task_id in of_many:
        await gateway.until(task_id, "queued")
    await queue(gateway, 1, single, "single")
    context = gateway.gateway.context
    later = context.clock.now() + timedelta(seconds=40)
    claimed = await context.db.write(claim, context, 5, later, context.clock.monotonic())
    assert [str(one.task_id) for one in claimed.claims] == of_many[:1]


async def test_each_clients_oldest_goes_first_and_the_fewest_in_flight_before_all(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(workers=False)
    a, b, c = [await client(gateway, name) for name in "abc"]
    of_a, of_b, of_c = await queue(gateway, 5, a), await queue(gateway, 5, b), await queue(gateway, 1, c)
    assert await take(gateway, 0) == []
    assert await take(gateway, 1) == [of_a[0]]
    assert sorted(await take(gateway, 3)) == sorted([of_a[0], of_b[0], of_c[0]])
    assert await take(gateway, 1, {"a": 1}) == [of_b[0]]
    assert await take(gateway, 1, {"a": 1, "b": 1}) == [of_c[0]]
    # Among equals they take turns, one after the other.
    assert [await take(gateway, 1, last=last) for last in "abc"] == [[of_b[0]], [of_c[0]], [of_a[0]]]
    # What a client does not need goes to the others.
    assert sorted(await take(gateway, 5)) == sorted([*of_a[:2], *of_b[:2], *of_c])
    assert sorted(await take(gateway, 64)) == sorted([*of_a, *of_b, *of_c])
    assert sorted(await take(gateway, 6, {"b": 5})) == sorted([*of_a, *of_c])


async def test_what_is_not_due_yet_takes_no_turn(start_gateway: StartGateway, database_url: str) -> None:
    gateway = await start_gateway(workers=False)
    a, b = [await client(gateway, name) for name in "ab"]
    await queue(gateway, 3, a)
    of_b = await queue(gateway, 3, b)
    await Direct(database_url).execute(
        "UPDATE tasks SET dispatch_due_at = '2099-01-01 00:00:00.000000+00' WHERE client_name = 'a'"
        if not database_url.startswith("sqlite")
        else "UPDATE tasks SET dispatch_due_at = '2099-01-01 00:00:00.000000' WHERE client_name = 'a'"
    )
    assert await take(gateway, 3) == of_b


async def _sent(sandbox: Sandbox, count: int) -> bool:
    return len(sandbox.works) >= count
