"""Many who wait on one process: what it costs the database and the memory, however slowly they read."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from app.database.listen import MOST_PAYLOAD_BYTES
from app.runtime.clock import Clock, Ids
from app.watching.announce import MOST_CHANGED, read_ids, write_payloads
from tests.support.databases import on_sqlite
from tests.support.direct_sql import Direct
from tests.support.gateway import Running, eventually
from tests.support.not_none import present
from tests.support.song_callbacks import done, song
from tests.support.start_fixtures import StartGateway
from tests.support.virtual_time import monotonic
from tests.support.watching import ADMIN, all_waiting, sent_statements, submit_many, wait_for


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> Running:
    return await start_gateway(workers=False)


async def _statements_in(seconds: int) -> list[Any]:
    with sent_statements(sa.Engine) as found:
        await asyncio.sleep(seconds)
    return [
        one
        for one, _ in found
        if one.startswith(("SELECT tasks.id, tasks.client_name", "SELECT clients.name, clients.key_digest"))
    ]


async def test_two_hundred_who_wait_ask_the_database_no_more_than_one(gateway: Running) -> None:
    watch = gateway.gateway.services.watch
    tasks = await submit_many(gateway, 200)
    one = wait_for(watch, tasks[0])
    await all_waiting(watch, 1)
    alone = await _statements_in(4)
    with sent_statements(sa.Engine) as found:
        waits = [one, *(wait_for(watch, task) for task in tasks[1:])]
        await all_waiting(watch, 200)
    assert len(found) <= 20, "they were looked up one by one when they came"
    together = await _statements_in(4)
    # How far they are, and whether a key has ended: two statements each second, and one more second at the edges.
    assert 6 <= len(together) <= 10
    assert 6 <= len(alone) <= 10
    chosen = tasks[::40]
    for number, task in enumerate(chosen):
        await gateway.call_back("song", done(f"t2m_{number}"), UUID(task["id"]))
    await asyncio.wait([waits[tasks.index(task)] for task in chosen], timeout=10)
    with sent_statements(sa.Engine) as found:
        gateway.gateway.drain()
        answers = await asyncio.gather(*waits)
    # Documents are read a hundred at a time, for all who wait.
    assert len(found) <= 15
    assert sum(b'"succeeded"' in answer for answer in answers) == len(chosen)


async def test_a_slow_reader_is_sent_the_latest_of_each_task_and_takes_no_room(gateway: Running) -> None:
    watch = gateway.gateway.services.watch
    tasks = await submit_many(gateway, 20)
    stream = await watch.open_client(ADMIN, None)
    reading = stream.events()
    assert (await anext(reading)).body is None
    for status in ("running", "main_succeeded"):
        for number in range(2):
            for place, task in enumerate(tasks):
                body = song(f"t2m_{place}", status, title=f"{status} {number}")
                assert (await gateway.call_back("song", body, UUID(task["id"]))).status_code == 200
        assert stream.pending <= 20
    await asyncio.sleep(0.5)
    shown = [await asyncio.wait_for(anext(reading), 5) for _ in tasks]
    assert sum(b"main_succeeded 1" in present(one.body) for one in shown) == 20
    assert stream.pending == 0
    watch.close_stream(stream)
    assert [one async for one in reading] == []


async def test_a_reader_that_is_far_behind_is_read_for_anew(gateway: Running) -> None:
    watch = gateway.gateway.services.watch
    stream = await watch.open_client(ADMIN, None)
    stream.most_pending = 40
    reading = stream.events()
    await anext(reading)
    count = 150
    await submit_many(gateway, count)

    async def dropped() -> bool:
        return stream._behind

    await eventually(dropped)
    assert stream.pending <= 40
    shown: set[bytes] = set()
    end = monotonic() + 30
    while len(shown) < count and monotonic() < end:
        event = await asyncio.wait_for(anext(reading), 10)
        shown.add(present(event.body)[7:43])
    assert len(shown) == count
    watch.close_stream(stream)


async def test_streams_of_the_same_tasks_cost_one_reading(gateway: Running) -> None:
    watch = gateway.gateway.services.watch
    tasks = await submit_many(gateway, 5)
    opened = [await watch.open_client(ADMIN, None) for _ in range(50)]
    readings = [stream.events() for stream in opened]
    for reading in readings:
        await anext(reading)
    waiting = [asyncio.ensure_future(anext(reading)) for reading in readings]
    await asyncio.sleep(0.1)
    with sent_statements(sa.Engine) as found:
        await gateway.call_back("song", song(), UUID(tasks[0]["id"]))
        shown = await asyncio.gather(*waiting)
    assert len({one.body for one in shown}) == 1
    assert len([one for one, _ in found if "items" in one and one.startswith("SELECT")]) <= 6
    for stream in opened:
        watch.close_stream(stream)


@on_sqlite
async def test_a_hub_that_nobody_uses_asks_nothing(gateway: Running) -> None:
    await gateway.submit()
    with sent_statements(sa.Engine) as found:
        await asyncio.sleep(2.5)
    asked = [one for one, _ in found if "timeline" in one or "timer_due_at" in one]
    # What is counted is for health and metrics, and asked now and then whoever waits.
    assert [one for one in asked if not one.startswith("SELECT count(")] == []


@on_sqlite
async def test_what_a_command_beside_the_server_changes_is_found_within_a_second_or_so(
    gateway: Running, database_url: str
) -> None:
    task = await gateway.submit()
    waiting = wait_for(gateway.gateway.services.watch, task)
    await asyncio.sleep(0.5)
    since = monotonic()
    await Direct(database_url).execute("UPDATE tasks SET status = 'canceled', version = version + 1")
    assert b'"canceled"' in await waiting
    assert monotonic() - since < 2


def test_what_is_announced_can_be_read_and_fits(gateway_ids: Ids) -> None:
    for count in (1, 358, 359, 360, 1000, MOST_CHANGED):
        some = {gateway_ids() for _ in range(count)}
        payloads = write_payloads("0123abcd", some)
        assert all(len(one.encode()) <= MOST_PAYLOAD_BYTES for one in payloads)
        assert {one for payload in payloads for one in present(read_ids(payload.partition(" ")[2]))} == some
    [everything] = write_payloads("0123abcd", {gateway_ids() for _ in range(MOST_CHANGED + 1)})
    for text in (everything.partition(" ")[2], "x", "=" * 22, "ä" * 22):
        assert read_ids(text) is None


@pytest.fixture
def gateway_ids() -> Ids:
    return Ids(Clock().now)
