"""Two thousand who wait on one process: what each takes of its memory, and how soon it is woken."""

import asyncio
import gc
import tracemalloc
from asyncio import Task
from collections.abc import Callable
from functools import partial
from uuid import UUID

import pytest
import sqlalchemy as sa

from tests.support.databases import on_sqlite
from tests.support.gateway import Running
from tests.support.song_callbacks import done
from tests.support.start_fixtures import StartGateway
from tests.support.watching import Stopwatch, all_waiting, figures, sent_statements, submit_many, wait_for


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> Running:
    return await start_gateway(workers=False)


def _note_end(watched: Stopwatch, task_id: str, _wait: Task[bytes]) -> None:
    watched.end(task_id)


@on_sqlite
async def test_two_thousand_who_wait_take_little_memory_and_few_statements(
    gateway: Running, record_property: Callable[[str, object], None]
) -> None:
    watch = gateway.gateway.services.watch
    tasks = await submit_many(gateway, 2000)
    gc.collect()
    tracemalloc.start()
    waits = [wait_for(watch, task) for task in tasks]
    with sent_statements(sa.Engine) as found:
        await all_waiting(watch, 2000)
    gc.collect()
    each_bytes = tracemalloc.get_traced_memory()[0] / 2000
    tracemalloc.stop()
    assert len(found) <= 20, "they were looked up one by one when they came"
    watched, chosen = Stopwatch(), tasks[::40]
    for task in chosen:
        waits[tasks.index(task)].add_done_callback(partial(_note_end, watched, task["id"]))
    for number, task in enumerate(chosen):
        watched.begin(task["id"])
        await gateway.call_back("song", done(f"t2m_{number}"), UUID(task["id"]))
    await asyncio.wait([waits[tasks.index(task)] for task in chosen], timeout=10)
    assert len(watched.taken) == len(chosen)
    with sent_statements(sa.Engine) as found:
        gateway.gateway.drain()
        answers = await asyncio.gather(*waits)
    # Documents are read a hundred at a time, for all who wait.
    assert len(found) <= 150
    assert sum(b'"succeeded"' in answer for answer in answers) == len(chosen)
    assert each_bytes < 20_000
    record_property("figures", f"woken {figures(list(watched.taken.values()))}; {each_bytes / 1000:.1f} kB each")
