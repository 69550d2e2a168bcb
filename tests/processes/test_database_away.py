"""PostgreSQL goes away and comes back: 503 meanwhile, never a false success, and everything goes on by itself."""

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from app.database.migrate import migrate
from tests.support.gateway import eventually, running_gateway
from tests.support.postgres import PostgresServer
from tests.support.start_fixtures import StartSandbox


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        migrate(server.create_database("gateway"))
        yield server


async def test_while_the_database_is_away_nothing_is_acknowledged_and_then_all_goes_on(
    own_postgres: PostgresServer, start_sandbox: StartSandbox
) -> None:
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

        async def taken() -> bool:
            return (await gateway.call_back("song", body)).status_code == 200

        await eventually(taken)
        after = await gateway.submit()
        await gateway.until(after["id"], "succeeded", timeout_s=30)
        logged = (await gateway.api.get("/v1/callbacks", params={"limit": 200})).json()["data"]
        assert len([one for one in logged if one["family"] == "song" and one["task_id"] is None]) == 1


async def test_a_held_lock_stops_nobody_but_its_own_task(
    own_postgres: PostgresServer, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=1)
    async with running_gateway(own_postgres.url("gateway"), tempolor_base_url=sandbox.base_url) as gateway:
        held, free = await gateway.submit(), await gateway.submit()
        for task in (held, free):
            await gateway.until(task["id"], "running")
        lock = asyncio.create_task(
            asyncio.to_thread(
                own_postgres.execute,
                f"BEGIN; SELECT 1 FROM tasks WHERE id = '{held['id']}' FOR UPDATE; SELECT pg_sleep(4); COMMIT",
                "gateway",
            )
        )
        await asyncio.sleep(0.5)

        async def call(task: dict[str, Any]) -> tuple[int, float]:
            item_id = (await gateway.task(task["id"]))["items"][0]["item_id"]
            body = {"songs": [{"item_id": item_id, "status": "main_succeeded"}]}
            started = asyncio.get_running_loop().time()
            answer = await gateway.call_back("song", body, uuid.UUID(task["id"]))
            return answer.status_code, asyncio.get_running_loop().time() - started

        waiting = [asyncio.create_task(call(held)) for _ in range(4)]
        await asyncio.sleep(1.5)
        free_status, free_s = await call(free)
        assert (free_status, free_s < 1) == (200, True), free_s
        assert all(held_s > 1 for _, held_s in await asyncio.gather(*waiting))
        assert {status for status, _ in await asyncio.gather(*waiting)} == {200}
        await lock


async def test_a_database_that_dies_without_a_word_is_left_behind(
    own_postgres: PostgresServer, start_sandbox: StartSandbox
) -> None:
    """A host that is lost sends no reset: the old connections are silent for ever, new ones reach the new host."""
    silent = asyncio.Event()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Each connection knows whether it was made before the silence; those go mute, later ones are passed on.
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", own_postgres.port)
        doomed = not silent.is_set()

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                if doomed and silent.is_set():
                    await asyncio.sleep(3600)
                target.write(data)

        pumps = asyncio.gather(pump(reader, upstream_writer), pump(upstream_reader, writer), return_exceptions=True)
        relays.append(pumps)
        await pumps

    relays: list[asyncio.Future[Any]] = []
    proxy = await asyncio.start_server(relay, "127.0.0.1", 0)
    url = f"postgresql://postgres@127.0.0.1:{proxy.sockets[0].getsockname()[1]}/gateway"
    try:
        async with running_gateway(url) as gateway:
            body = {"songs": [{"item_id": "t2m_1", "status": "running"}]}
            assert (await gateway.call_back("song", body)).status_code == 200
            silent.set()

            async def taken() -> bool:
                return (await gateway.call_back("song", body | {"n": 2})).status_code == 200

            await eventually(taken, timeout_s=20)
            ages = gateway.gateway.supervisor.ages_s
            await eventually(lambda: _true(max(ages().values()) < 12), timeout_s=20)
    finally:
        for one in relays:
            one.cancel()
        proxy.close()


async def test_a_process_that_stops_while_it_claims_gives_the_tasks_back(
    own_postgres: PostgresServer, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=100)
    url = own_postgres.url("gateway")
    async with running_gateway(url, tempolor_base_url=sandbox.base_url) as gateway:
        lock = asyncio.create_task(
            asyncio.to_thread(
                own_postgres.execute, "BEGIN; SELECT 1 FROM limits FOR UPDATE; SELECT pg_sleep(2); COMMIT", "gateway"
            )
        )
        await asyncio.sleep(0.5)
        tasks = [await gateway.submit() for _ in range(4)]
        await asyncio.sleep(0.3)
    await lock
    async with running_gateway(url, workers=False) as after:
        shown = [await after.task(task["id"]) for task in tasks]
        assert {task["status"] for task in shown} == {"queued"}
    assert list(sandbox.works) == []


async def _true(value: bool) -> bool:
    return value
