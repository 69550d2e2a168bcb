"""PostgreSQL goes away and comes back: 503 meanwhile, never a false success, and everything goes on by itself."""

import asyncio
import uuid

import pytest

from app.storage.migrate import migrate
from tests.support.gateway import eventually, running_gateway
from tests.support.postgres import PostgresServer


@pytest.fixture
def own_postgres():
    with PostgresServer() as server:
        migrate(server.create_database("gateway"))
        yield server


async def test_while_the_database_is_away_nothing_is_acknowledged_and_then_all_goes_on(own_postgres, start_sandbox):
    sandbox = await start_sandbox(scale=100)
    url = own_postgres.url("gateway")
    async with running_gateway(url, tempolor_base_url=sandbox.base_url) as gateway:
        before = await gateway.submit()
        await gateway.until(before["id"], "succeeded")
        await asyncio.to_thread(own_postgres.stop, "immediate")
        body = {"songs": [{"item_id": "t2m_away", "status": "running"}]}
        refused = await gateway.call_back("song", body)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        asked = await gateway.api.post("/v1/tasks", json={"kind": "lyrics.generate", "params": {"prompt": "rain"}})
        assert asked.status_code == 503
        assert asked.headers["content-type"] == "application/problem+json"
        assert (await gateway.api.get("/readyz")).status_code == 503
        assert (await gateway.api.get("/healthz")).status_code == 200
        await asyncio.sleep(1)
        await asyncio.to_thread(own_postgres.start)

        async def taken():
            return (await gateway.call_back("song", body)).status_code == 200

        await eventually(taken)
        after = await gateway.submit()
        await gateway.until(after["id"], "succeeded", timeout_s=30)
        logged = (await gateway.api.get("/v1/callbacks", params={"limit": 200})).json()["data"]
        assert len([one for one in logged if one["family"] == "song" and one["task_id"] is None]) == 1


async def test_a_held_lock_stops_nobody_but_its_own_task(own_postgres, start_sandbox):
    sandbox = await start_sandbox(scale=1)
    async with running_gateway(own_postgres.url("gateway"), tempolor_base_url=sandbox.base_url) as gateway:
        held, free = await gateway.submit(), await gateway.submit()
        for task in (held, free):
            await gateway.until(task["id"], "running")
        lock = asyncio.create_task(
            asyncio.to_thread(
                own_postgres.execute,
                f"BEGIN; SELECT 1 FROM tasks WHERE id = '{held['id']}' FOR UPDATE; SELECT pg_sleep(3); COMMIT",
                "gateway",
            )
        )
        await asyncio.sleep(0.5)

        async def call(task):
            item_id = (await gateway.task(task["id"]))["items"][0]["item_id"]
            body = {"songs": [{"item_id": item_id, "status": "main_succeeded"}]}
            started = asyncio.get_running_loop().time()
            answer = await gateway.call_back("song", body, uuid.UUID(task["id"]))
            return answer.status_code, asyncio.get_running_loop().time() - started

        (held_status, held_s), (free_status, free_s) = await asyncio.gather(call(held), call(free))
        assert (held_status, free_status) == (200, 200)
        assert free_s < 1 < held_s
        await lock
