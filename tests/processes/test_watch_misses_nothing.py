"""Under load, interrupted at random: whoever waits for a task or follows a stream sees its end.

On SQLite the process itself makes the changes; on PostgreSQL another one does, and the connection by which they are
heard is killed again and again.
"""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from app.watching.waits import Until
from tests.database.test_watch_replicas import KILL
from tests.support.direct_sql import Direct
from tests.support.gateway import Running
from tests.support.not_none import present
from tests.support.server_sent_events import Event, stream
from tests.support.song_callbacks import done, song
from tests.support.start_fixtures import StartGateway
from tests.support.virtual_time import monotonic
from tests.support.watching import ADMIN, figures, submit_many

OVERLAP_S = 5.0
"""Far less than by default, so that a resumption does not simply read everything again."""


class _Load:
    """``count`` tasks, each brought to its end in three callbacks, and everybody who watches."""

    def __init__(self, here: Running, there: Running, count: int, seed: int) -> None:
        self.here, self.there, self.count = here, there, count
        self.chance = random.Random(seed)
        self.expected: set[str] = set()
        self.streamed: dict[str, dict[str, Any]] = {}
        self.acknowledged: dict[str, float] = {}
        self.seen: dict[str, float] = {}
        self.interruptions = 0
        self.finished = asyncio.Event()
        self.places, self.senders = asyncio.Semaphore(200), asyncio.Semaphore(16)
        self.watch = here.gateway.services.watch

    async def run(self) -> None:
        for one in (self.here, self.there):
            one.gateway.services.watch.recent.overlap = timedelta(seconds=OVERLAP_S)
        collecting = asyncio.create_task(self.collect())
        following = []
        for start in range(0, self.count, 100):
            tasks = await submit_many(self.here, min(self.count - start, 100))
            self.expected |= {task["id"] for task in tasks}
            for task in tasks:
                await self.places.acquire()
                following.append(asyncio.create_task(self.one(task["id"])))
        await asyncio.gather(*following)
        self.finished.set()
        await asyncio.wait_for(collecting, 60)

    async def one(self, task_id: str) -> None:
        watch = self.chance.choices((self.wait, self.follow, self.wait_over_http), (80, 15, 5))[0]
        watching = asyncio.create_task(watch(task_id))
        await asyncio.sleep(self.chance.random() * 0.2)
        for body in (song(f"t2m_{task_id}"), song(f"t2m_{task_id}", "main_succeeded"), done(f"t2m_{task_id}")):
            await self.call_back(task_id, body)
        self.acknowledged[task_id] = monotonic()
        self.seen[task_id] = await asyncio.wait_for(watching, 30)
        self.places.release()

    async def call_back(self, task_id: str, body: dict[str, Any]) -> None:
        """As the endpoint does; over HTTP the test's own client would be what is measured."""
        intake = self.there.gateway.intake
        async with self.senders:
            to = intake.tokens.verify("song", intake.tokens.sign("song", UUID(task_id)))
            ruling = await intake.receive(present(to), json.dumps(body).encode(), None)
        assert ruling.usable

    async def wait(self, task_id: str) -> float:
        until = self.chance.choice(tuple(Until))
        shown = json.loads(await self.watch.wait(UUID(task_id), ADMIN, 60, until))
        assert shown["status"] == "succeeded" or (until is Until.PLAYABLE and shown["status"] == "main_succeeded")
        return monotonic()

    async def wait_over_http(self, task_id: str) -> float:
        shown = (await self.here.api.get(f"/v1/tasks/{task_id}?wait=60", timeout=90)).json()
        assert shown["status"] == "succeeded", shown
        return monotonic()

    async def follow(self, task_id: str) -> float:
        """Read a task's stream, broken off after each few events."""
        last_id, status = None, None
        while status != "succeeded":
            opened = await self.watch.open_task(UUID(task_id), ADMIN, last_id)
            reading = present(opened).events()
            for _ in range(self.chance.randint(1, 3)):
                event = await anext(reading, None)
                if event is None:
                    break
                last_id, status = event.id, json.loads(present(event.body))["status"]
            self.watch.close_stream(present(opened))
        return monotonic()

    async def collect(self) -> None:
        """Read the client's stream, broken off again and again, until the end of every task was seen."""
        last_id = None
        while not (self.finished.is_set() and self.all_seen()):
            until = monotonic() + self.chance.uniform(0.5, 4)
            async with stream(self.here.api, "/v1/stream", last_id) as events:
                while monotonic() < until and not (self.finished.is_set() and self.all_seen()):
                    with contextlib.suppress(TimeoutError):
                        # The first block gives a position, before anything has happened.
                        async for event in _within(events.blocks(), until - monotonic()):
                            if event.type == "task":
                                known = self.streamed.get(event.data["id"])
                                if known is None or known["version"] <= event.data["version"]:
                                    self.streamed[event.data["id"]] = event.data
                last_id = events.last_id
            self.interruptions += 1

    def all_seen(self) -> bool:
        return all(self.streamed.get(one, {}).get("status") == "succeeded" for one in self.expected)

    def figures(self) -> str:
        late = [max(self.seen[one] - self.acknowledged[one], 0) for one in self.expected]
        return (
            f"{self.count} tasks, client stream broken off {self.interruptions} times; "
            f"from the acknowledgement until it was seen: {figures(late)}"
        )


async def _within(blocks: AsyncIterator[Event], seconds: float) -> AsyncIterator[Any]:
    end = monotonic() + seconds
    while (left := end - monotonic()) > 0:
        yield await asyncio.wait_for(anext(blocks), left)


async def _kill_listeners(direct: Direct, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        await direct.rows(KILL)


async def _run(start_gateway: StartGateway, database_url: str, count: int, seed: int) -> Any:
    here = await start_gateway(workers=False)
    replica = here if database_url.startswith("sqlite") else await start_gateway(workers=False)
    load = _Load(here, replica, count, seed)
    killing = None
    if replica is not here:
        killing = asyncio.create_task(_kill_listeners(Direct(database_url), 1.5))
    try:
        await load.run()
    finally:
        if killing is not None:
            killing.cancel()
        for one in (here, replica):
            one.gateway.drain()
    assert load.interruptions > 0
    assert load.streamed.keys() >= load.expected
    return load.figures()


async def test_whoever_watches_sees_the_end_of_each_task(
    start_gateway: StartGateway, database_url: str, record_property: Callable[[str, object], None]
) -> None:
    record_property("figures", await _run(start_gateway, database_url, 300, seed=11))


@pytest.mark.slow
async def test_whoever_watches_sees_the_end_of_each_of_ten_thousand_tasks(
    start_gateway: StartGateway, database_url: str, record_property: Callable[[str, object], None]
) -> None:
    record_property("figures", await _run(start_gateway, database_url, 10_000, seed=12))
