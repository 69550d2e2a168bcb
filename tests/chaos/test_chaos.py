"""Replicas on one PostgreSQL that are killed and started at random, under a vendor with every fault (G8): every task
ends, none is sent twice, limits hold for all together, and no item is asked about by two at once."""

import asyncio
import contextlib
import random
import time
import uuid
from _asyncio import Task
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.sandbox.config import all_faults
from app.sandbox.state import Sandbox
from tests.chaos.conftest import Tell
from tests.chaos.front import fronting
from tests.chaos.processes import Process, client, free_port, holds, pages
from tests.chaos.truth import FINAL, KINDS, assert_sent_once
from tests.support.databases import on_postgresql
from tests.support.gateway import PARAMS
from tests.support.start_fixtures import StartSandbox

# Both so low that they are reached.
MOST_IN_FLIGHT = 20
QUERIES_PER_S = 1
LAG_S = 1.5
"""Permits are given at equal distances in the database. From there to the vendor a call takes an unequal time: a turn
of two processes' loops and a new connection, on a machine whose cores all these processes share. A window at the
vendor may so hold what was permitted within this much more time, and one, for both ends of the window count."""
SETTINGS = {
    "submit_timeout_s": 2,
    "submit_confirm_s": 4,
    "submit_max_in_flight": MOST_IN_FLIGHT,
    "query_first_after_s": 3,
    "query_interval_s": 1,
    "query_max_interval_s": 5,
    "query_rate_per_s": QUERIES_PER_S,
    "item_unknown_grace_s": 20,
    "task_deadline_s": 60,
}
SCALE = 80
"""The longest work takes three seconds, well under the eight for which a submission of unknown outcome counts as in
flight."""
LAPSE_S = 32
"""A submission of a killed process is given up this long after its claim."""


pytestmark = on_postgresql  # SQLite takes one process


async def submit_one(apis: Iterator[httpx.AsyncClient], kind: str) -> str:
    """Submit a task, here or there, until one answers; its id. The key makes one task of it, however often."""
    key = {"Idempotency-Key": uuid.uuid4().hex}
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(httpx.TransportError):
            answer = await next(apis).post("/v1/tasks", json={"kind": kind, "params": PARAMS[kind]}, headers=key)
            if answer.status_code != 503:
                assert answer.status_code in (200, 202), answer.text
                return answer.json()["id"]
        await asyncio.sleep(0.05)
    raise AssertionError("no replica took the task")


async def submit_all(number: int, apis: Iterator[httpx.AsyncClient], senders: int) -> list[str]:
    """Submit so many tasks, several at once; their ids."""
    ids: list[str] = []
    left = iter(range(number))

    async def send() -> None:
        for _ in left:
            ids.append(await submit_one(apis, random.choice(KINDS)))

    await asyncio.gather(*(send() for _ in range(senders)))
    return ids


async def kill_at_random(processes: list[Process], every_s: float) -> None:
    """Kill one after the other, and start it again at once or a little later, until canceled."""
    while True:
        await asyncio.sleep(random.uniform(0.5, 1.5) * every_s)
        victim = random.choice(processes)
        await victim.kill()
        await asyncio.sleep(random.choice((0, 1)))
        await victim.start()


def most_in(window_s: int, times: list[float]) -> int:
    """The largest number of ``times`` (in order) within any window."""
    return max((bisect_left(times, at + window_s) - i for i, at in enumerate(times)), default=0)


def assert_limits_held(sandbox: Sandbox) -> str:
    truth = sandbox.truth()
    assert truth["max_in_flight"] <= MOST_IN_FLIGHT
    assert truth["items_queried_at_once"] == 0
    times = sorted(call.at for call in sandbox.calls if call.operation == "query")
    for window_s in (1, 5, 20, 60):
        assert most_in(window_s, times) <= QUERIES_PER_S * (window_s + LAG_S) + 1, window_s
    asked = [len(call.item_ids) for call in sandbox.calls if call.operation == "query" and call.item_ids]
    full = sum(asked) / max(len(asked), 1)
    return (
        f"at most {truth['max_in_flight']} in flight; {len(times)} queries of {full:.1f} items, at most "
        f"{most_in(1, times)} in a second and {most_in(20, times)} in twenty"
    )


async def chaos(
    number: int,
    tmp_path: Path,
    database_url: str,
    start_sandbox: StartSandbox,
    tell: Tell,
    *,
    kill_every_s: int | None = None,
) -> None:
    """Run so many tasks over three serves and three workers. Without ``kill_every_s``, one worker is killed once."""
    # A call that hangs is given up by the vendor before the gateway gives it up, so that it is not open any more when
    # the item is asked about again.
    sandbox = await start_sandbox(all_faults(scale=SCALE, seed=random.randrange(2**31)))
    ports = [free_port() for _ in range(4)]
    given: dict[str, Any] = {
        "database_url": database_url,
        "cwd": tmp_path,
        "tempolor_base_url": sandbox.base_url,
        "public_url": f"http://127.0.0.1:{ports[0]}",
        **SETTINGS,
    }
    serves = [Process("serve", "--workers-off", port=port, **given) for port in ports[1:]]
    processes = [*serves, *(Process("worker", **given) for _ in range(3))]
    began_at = time.monotonic()
    async with contextlib.AsyncExitStack() as stack:
        for process in processes:
            stack.push_async_callback(process.kill)
        await asyncio.gather(*(process.start() for process in processes))
        await stack.enter_async_context(fronting(ports[0], ports[1:]))
        apis = [await stack.enter_async_context(client(process.url)) for process in serves]
        if kill_every_s is None:
            submitting = asyncio.create_task(submit_all(number, cycle(apis), 8))
            await asyncio.sleep(2)
            await processes[-1].kill()
            ids = await submitting
        else:
            killing = asyncio.create_task(kill_at_random(processes, kill_every_s))
            ids = await submit_all(number, cycle(apis), 8)
            await half_done(sandbox, number, killing)
        kills = sum(process.kills for process in processes)
        tasks = await until_all_end(apis[0], number)
        assert set(ids) == set(tasks)
        assert len(ids) == number
        assert_sent_once(sandbox, set(ids))
        limits = assert_limits_held(sandbox)
        assert [fault for process in processes for fault in process.faults() if fault["event"] == "loop.failed"] == []
    ends = Counter(task["status"] for task in tasks.values())
    codes = Counter(task["error"]["code"] for task in tasks.values() if task["error"])
    tell(
        f"{number} tasks, {kills} kills, {time.monotonic() - began_at:.0f} s: {dict(ends)} {dict(codes)}, none lost, "
        f"none twice; {limits}"
    )


async def half_done(sandbox: Sandbox, number: int, killing: Task[None]) -> None:
    """Let the killing go on until nine in ten are sent, then let everybody live."""
    try:

        async def sent() -> bool:
            assert not killing.done(), killing.result()
            return len(sandbox.works) >= 0.85 * number

        await holds(sent, 1200, sandbox.truth, 1)
    finally:
        killing.cancel()
        await asyncio.gather(killing, return_exceptions=True)


async def until_all_end(api: httpx.AsyncClient, number: int) -> dict[str, dict[str, Any]]:
    """Wait until every task has ended: what remains to be sent, then at most a lease, a deadline, and a last query."""
    tasks: dict[str, dict[str, Any]] = {}

    def open_ones() -> list[dict[str, Any]]:
        return [task for task in tasks.values() if task["status"] not in FINAL][:3]

    async def ended() -> bool:
        tasks.update({task["id"]: task async for task in pages(api, "/v1/tasks") if task["client"] == "bootstrap"})
        return len(tasks) >= number and all(task["status"] in FINAL for task in tasks.values())

    await holds(ended, 120 + LAPSE_S + number / 5, open_ones, 2)
    return tasks


@pytest.mark.slow
async def test_a_hundred_tasks_end_although_a_worker_is_killed(
    tmp_path: Path, database_url: str, start_sandbox: StartSandbox, tell: Tell
) -> None:
    await chaos(100, tmp_path, database_url, start_sandbox, tell)


@pytest.mark.slow
async def test_two_thousand_tasks_end_although_replicas_are_killed_at_random(
    tmp_path: Path, database_url: str, start_sandbox: StartSandbox, tell: Tell
) -> None:
    await chaos(2000, tmp_path, database_url, start_sandbox, tell, kill_every_s=6)
