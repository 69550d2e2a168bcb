"""The database goes away under somebody who waits: who comes now gets 503, who waits is woken when it is back."""

import asyncio
from collections.abc import Iterator
from uuid import UUID

import pytest

from app.database.migrate import migrate
from tests.support.gateway import eventually, running_gateway
from tests.support.postgres import PostgresServer
from tests.support.server_sent_events import stream
from tests.support.song_callbacks import assert_problem, done


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        migrate(server.create_database("gateway"))
        yield server


async def test_who_waits_outlasts_a_database_that_goes_away(own_postgres: PostgresServer) -> None:
    async with running_gateway(own_postgres.url("gateway"), workers=False) as gateway:
        task, other = await gateway.submit(), await gateway.submit()
        waiting = asyncio.create_task(gateway.api.get(f"/v1/tasks/{task['id']}?wait=60", timeout=90))
        async with stream(gateway.api, "/v1/stream") as events:
            await anext(events.blocks())
            await asyncio.sleep(2)
            await asyncio.to_thread(own_postgres.stop, "immediate")
            assert_problem(await gateway.api.get(f"/v1/tasks/{other['id']}?wait=60"), 503, "unavailable")
            assert_problem(await gateway.api.get("/v1/stream"), 503, "unavailable")
            await asyncio.sleep(1)
            assert not waiting.done()
            await asyncio.to_thread(own_postgres.start)

            async def taken() -> bool:
                return (await gateway.call_back("song", done(), UUID(task["id"]))).status_code == 200

            await eventually(taken)
            assert (await asyncio.wait_for(waiting, 5)).json()["status"] == "succeeded"
            assert (await asyncio.wait_for(events.next(), 5))["status"] == "succeeded"
        watch = gateway.gateway.services.watch

        async def hears() -> bool:
            return not watch.announcements.may_miss

        await eventually(hears)
