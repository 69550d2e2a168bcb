"""The learned schedule, on a clock that runs the vendor's minutes in seconds: no query while callbacks come as they
usually do, and a lost one noticed within twice its usual time."""

import asyncio
from datetime import datetime
from typing import Any

import pytest

from app.sandbox.calls import Call
from app.sandbox.state import Sandbox
from tests.support.clock import ScaledClock
from tests.support.gateway import Running, running_gateway
from tests.support.starting import StartGateway, StartSandbox

pytestmark = pytest.mark.virtual_time

SCALE = 30


async def slowest_callback_s(gateway: Running, tasks: list[dict[str, Any]]) -> float:
    """The longest time from a claim to the first callback, in the clock's seconds."""
    slowest = 0.0
    for task in tasks:
        at = {one["type"]: datetime.fromisoformat(one["at"]) for one in reversed(await gateway.timeline(task["id"]))}
        slowest = max(slowest, (at["callback"] - at["submitting"]).total_seconds())
    return slowest


def queries(sandbox: Sandbox) -> list[Call]:
    return [call for call in sandbox.calls if call.operation == "query"]


async def test_no_query_is_made_at_the_vendors_real_pace_before_and_after_learning(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=SCALE)
    gateway = await start_gateway(sandbox, clock=ScaledClock(SCALE), submit_max_in_flight=100)
    tasks: list[dict[str, Any]] = []
    for _ in range(2):
        tasks = await asyncio.gather(*(gateway.submit() for _ in range(60)))
        for task in tasks:
            await gateway.until(task["id"], "succeeded", timeout_s=60)
        await asyncio.sleep(10.5 / SCALE)
    assert queries(sandbox) == []
    # It did learn: the estimate is not the default any more.
    learned_s = gateway.gateway.context.delays.overdue_s("song.generate", 0)
    slowest_s = await slowest_callback_s(gateway, tasks)
    assert learned_s != 240
    assert 0.7 * slowest_s < learned_s < 2 * slowest_s


async def test_a_callback_lost_after_learning_is_noticed_within_twice_its_usual_time(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=SCALE)
    clock = ScaledClock(SCALE)
    gateway = await start_gateway(sandbox, clock=clock, submit_max_in_flight=100)
    tasks = await asyncio.gather(*(gateway.submit("stems.create") for _ in range(60)))
    for task in tasks:
        await gateway.until(task["id"], "succeeded", timeout_s=60)
    await asyncio.sleep(12 / SCALE)
    usual_s = await slowest_callback_s(gateway, tasks)
    sandbox.add_rules(works=[{"drop": ["*"]}])
    lost = await gateway.submit("stems.create")
    sent_at = clock.monotonic()
    await gateway.until(lost["id"], "succeeded", timeout_s=60)
    assert len(queries(sandbox)) == 1
    # What the loops and the test themselves take is scaled too: half a second of real time is allowed for it.
    assert clock.monotonic() - sent_at <= 2 * usual_s + SCALE * 0.5


async def test_what_one_process_has_learned_the_next_one_knows(start_sandbox: StartSandbox, database_url: str) -> None:
    sandbox = await start_sandbox(scale=SCALE)
    given: dict[str, Any] = {"tempolor_base_url": sandbox.base_url, "submit_max_in_flight": 100}
    async with running_gateway(database_url, clock=ScaledClock(SCALE), **given) as first:
        assert first.gateway.context.delays.overdue_s("lyrics.generate", 0) == 60
        tasks = await asyncio.gather(*(first.submit("lyrics.generate") for _ in range(55)))
        for task in tasks:
            await first.until(task["id"], "succeeded", timeout_s=60)
        await asyncio.sleep(12 / SCALE)
    async with running_gateway(database_url) as second:
        assert second.gateway.context.delays.overdue_s("lyrics.generate", 0) != 60
