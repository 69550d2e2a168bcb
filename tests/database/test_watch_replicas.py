"""Several processes on one PostgreSQL: who waits at one is woken by what another does (G8)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from app.watching.waits import Until
from tests.support.databases import on_postgresql
from tests.support.direct_sql import Direct
from tests.support.gateway import Running, eventually
from tests.support.not_none import present
from tests.support.server_sent_events import stream
from tests.support.song_callbacks import done, song
from tests.support.start_fixtures import StartGateway
from tests.support.virtual_time import monotonic
from tests.support.watching import ADMIN, Stopwatch, figures, submit_many

LISTENERS = "application_name = 'tempolor-gateway listener' AND datname = current_database()"
KILL = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {LISTENERS}"


pytestmark = on_postgresql  # SQLite takes one process


@pytest.fixture
def direct(database_url: str) -> Direct:
    return Direct(database_url)


@pytest.fixture
async def two(start_gateway: StartGateway) -> list[Running]:
    return [await start_gateway(workers=False) for _ in range(2)]


async def _listens(gateway: Any) -> None:
    async def listening() -> bool:
        return not gateway.gateway.services.watch.announcements.may_miss

    await eventually(listening)


async def _wake_times(
    here: Any, there: Running, rounds: int, between: Callable[..., Awaitable[Any]] | None = None
) -> list[Any]:
    """How long after another process acknowledged the callback that ends a task a waiter had its answer."""
    watch, watched = here.gateway.services.watch, Stopwatch()
    for number, task in enumerate(await submit_many(here, rounds)):
        waiting = asyncio.create_task(watch.wait(UUID(task["id"]), ADMIN, 30, Until.FINAL))
        await asyncio.sleep(0.05)
        if between is not None:
            await between()
        await there.call_back("song", done(f"t2m_{task['id']}"), UUID(task["id"]))
        watched.begin(number)
        assert b'"succeeded"' in await waiting
        watched.end(number)
    return list(watched.taken.values())


async def test_a_change_at_another_process_wakes_who_waits(
    two: list[Running], record_property: Callable[[str, object], None]
) -> None:
    here, there = two
    await _wake_times(here, there, 1)
    await _listens(here)
    times = await _wake_times(here, there, 20)
    record_property("figures", f"woken by another process: {figures(times)}")
    # Half of the time that the look at the tables alone would take on average.
    assert sorted(times)[len(times) // 2] < 0.25


async def test_without_the_connection_that_listens_it_takes_a_second(
    two: list[Running], direct: Direct, record_property: Callable[[str, object], None]
) -> None:
    here, there = two
    await _wake_times(here, there, 1)
    await _listens(here)

    async def kill() -> None:
        await direct.rows(KILL)

    times = await _wake_times(here, there, 4, kill)
    record_property("figures", f"its listener killed each time: {figures(times)}")
    assert max(times) < 2.5
    await _listens(here)
    assert max(await _wake_times(here, there, 3)) < 1


async def test_who_only_listens_to_the_tables_misses_nothing(
    two: list[Running], record_property: Callable[[str, object], None]
) -> None:
    here, there = two
    announcements = here.gateway.services.watch.announcements
    announcements._listens = True  # as if it listened already, so that it never does
    announcements._keep_listening = None  # type: ignore[assignment, method-assign]
    task = (await submit_many(here, 1))[0]
    async with stream(here.api, "/v1/stream") as events, stream(here.api, f"/v1/tasks/{task['id']}/stream") as own:
        await own.next()
        times = Stopwatch()
        for status in ("running", "main_succeeded", "failed"):
            await there.call_back("song", song(status=status), UUID(task["id"]))
            times.begin(status)
            for one in (events, own):
                assert (await asyncio.wait_for(one.next(), 3))["status"] == status
            times.end(status)
    record_property("figures", f"by the tables alone: {figures(list(times.taken.values()))}")


async def test_streams_of_both_processes_tell_the_same(two: list[Running]) -> None:
    here, there = two
    tasks = await submit_many(here, 10)
    async with stream(here.api, "/v1/stream") as one, stream(there.api, "/v1/stream") as other:
        await anext(one.blocks())
        await anext(other.blocks())
        for number, task in enumerate(tasks):
            await (here, there)[number % 2].call_back("song", done(f"t2m_{number}"), UUID(task["id"]))
        for events in (one, other):
            shown = [await asyncio.wait_for(events.next(), 3) for _ in tasks]
            assert {task["id"] for task in shown} == {task["id"] for task in tasks}
    # And a position of one is good at the other.
    await there.call_back("song", song("t2m_0", title="x"), UUID(tasks[0]["id"]))
    async with stream(there.api, "/v1/stream", one.last_id) as events:
        async with asyncio.timeout(5):
            while (await events.next())["id"] != tasks[0]["id"]:
                pass


async def test_a_process_with_nobody_who_waits_does_not_listen(two: list[Running], direct: Direct) -> None:
    here, there = two
    count = f"SELECT count(*) AS n FROM pg_stat_activity WHERE {LISTENERS}"
    await submit_many(here, 1)
    await asyncio.sleep(0.3)
    assert (await direct.rows(count))[0]["n"] == 0
    await _wake_times(here, there, 1)
    await _listens(here)
    assert (await direct.rows(count))[0]["n"] == 1


async def test_the_listening_connection_survives_a_silent_network(two: list[Running], direct: Direct) -> None:
    """What is open but does not answer is noticed by the question that is put to it."""
    here, there = two
    await _wake_times(here, there, 1)
    await _listens(here)
    listener = here.gateway.services.watch.announcements._listener
    await present(listener).check()
    await direct.rows(KILL)

    async def again() -> Any:
        return present(listener).is_open and (await direct.rows(f"SELECT pid FROM pg_stat_activity WHERE {LISTENERS}"))

    await eventually(again)
    since = monotonic()
    await _wake_times(here, there, 1)
    assert monotonic() - since < 3
