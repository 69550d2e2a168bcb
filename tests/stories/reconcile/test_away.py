"""The gateway was away, or its clock was set, while the vendor finished everything and its callbacks were lost: no
verdict by the clock comes before the vendor was asked."""

import asyncio
from typing import Any

import pytest

from app.sandbox.calls import Call
from app.sandbox.state import Sandbox
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import Running, eventually, running_gateway
from tests.support.start_fixtures import StartGateway, StartSandbox

KINDS = ["song.generate", "instrumental.generate", "lyrics.generate", "stems.create", "midi.create"]
HOURS = 3 * 3600
LONG = {"submit_max_in_flight": 100, "query_first_after_s": 10_000, "query_rate_per_s": 20}


def queries(sandbox: Sandbox) -> list[Call]:
    return [call for call in sandbox.calls if call.operation == "query"]


async def running_tasks(gateway: Running, times: int = 1) -> list[Any]:
    tasks = await asyncio.gather(*(gateway.submit(kind) for kind in KINDS * times))
    for task in tasks:
        await gateway.until(task["id"], "running", timeout_s=60)
    return [task["id"] for task in tasks]


async def all_succeed(gateway: Running, task_ids: list[str]) -> None:
    """All do, and none was seen expired on the way."""
    for task_id in task_ids:
        await gateway.until(task_id, "succeeded", timeout_s=60)
        moves = [entry["detail"].get("status") for entry in await gateway.timeline(task_id)]
        assert not [move for move in moves if move and "expired" in move]


async def test_after_three_deadlines_away_each_task_is_asked_about_first(
    database_url: str, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=2000, callbacks={"drop": 1})
    given: dict[str, Any] = {"tempolor_base_url": sandbox.base_url, **LONG}
    async with running_gateway(database_url, **given) as before:
        task_ids = await running_tasks(before, times=2)
        assert queries(sandbox) == []
    clock = ScaledClock()
    clock.skip(HOURS)
    async with running_gateway(database_url, clock=clock, **given) as after:
        await all_succeed(after, task_ids)
    # One full call for each family, or what is still missing is asked for once more.
    assert sum(len(call.item_ids) >= 2 for call in queries(sandbox)) >= len(KINDS)
    assert len(queries(sandbox)) <= 3 * len(KINDS)


async def test_a_process_that_was_frozen_for_three_deadlines_asks_first(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=2000, callbacks={"drop": 1})
    clock = ScaledClock()
    gateway = await start_gateway(sandbox, clock=clock, **LONG)
    task_ids = await running_tasks(gateway)
    clock.skip(HOURS)
    await all_succeed(gateway, task_ids)


@pytest.mark.parametrize("for_s", [None, 6, 1])
async def test_nothing_ends_by_a_clock_that_is_set_forward(
    start_gateway: StartGateway, start_sandbox: StartSandbox, for_s: int | None
) -> None:
    """The vendor is still at work then, so that one question would not do."""
    sandbox = await start_sandbox(scale=20, callbacks={"drop": 1})
    clock = ScaledClock()
    gateway = await start_gateway(sandbox, clock=clock, **{**LONG, "query_first_after_s": 5, "query_interval_s": 1})
    task_ids = await running_tasks(gateway)
    clock.set(HOURS)
    if for_s is not None:
        await asyncio.sleep(for_s)
        clock.set(-HOURS)
    await all_succeed(gateway, task_ids)


async def test_an_outage_at_the_return_is_waited_for(database_url: str, start_sandbox: StartSandbox) -> None:
    sandbox = await start_sandbox(scale=2000, callbacks={"drop": 1})
    given: dict[str, Any] = {"tempolor_base_url": sandbox.base_url, **LONG, "query_interval_s": 0.5}
    async with running_gateway(database_url, **given) as before:
        task_ids = await running_tasks(before)
    sandbox.add_rules(answers=[{"operation": "query", "http_status": 503, "times": 8}])
    clock = ScaledClock()
    clock.skip(HOURS)
    async with running_gateway(database_url, clock=clock, **given) as after:
        await all_succeed(after, task_ids)


async def test_few_questions_are_asked_at_a_low_rate_and_nobody_expires_while_it_waits(
    database_url: str, start_sandbox: StartSandbox
) -> None:
    """Each deadline of a second passes many times before the last one gets its question."""
    sandbox = await start_sandbox(scale=2000, callbacks={"drop": 1})
    given: dict[str, Any] = {"tempolor_base_url": sandbox.base_url, **LONG, "task_deadline_s": 1}
    async with running_gateway(database_url, **{**given, "task_deadline_s": 60}) as before:
        task_ids = await running_tasks(before)
    clock = ScaledClock()
    clock.skip(100)
    async with running_gateway(database_url, clock=clock, **{**given, "query_rate_per_s": 0.5}) as after:
        await all_succeed(after, task_ids)


async def test_a_young_item_that_the_vendor_does_not_show_yet_is_not_denied_by_a_jump(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=60, visible_after_s=300, callbacks={"drop": 1}, unknown_items="refuse")
    clock = ScaledClock()
    gateway = await start_gateway(
        sandbox, clock=clock, query_first_after_s=0.3, query_interval_s=0.3, query_rate_per_s=50
    )
    task = await gateway.submit()

    async def denied() -> bool:
        return "absent_us" in str(await gateway.timeline(task["id"]))

    await gateway.until(task["id"], "running")
    clock.set(HOURS)
    await eventually(denied)
    done = await gateway.until(task["id"], "succeeded", timeout_s=60)
    assert "failed" not in str([entry["detail"].get("status") for entry in await gateway.timeline(done["id"])])


@pytest.mark.parametrize("move", ["skip", "set"])
async def test_an_unconfirmed_task_waits_for_its_callback_after_an_absence(
    start_gateway: StartGateway, start_sandbox: StartSandbox, move: str
) -> None:
    sandbox = await start_sandbox(scale=20)
    sandbox.add_rules(answers=[{"operation": "submit", "reset": True, "accept": True}])
    clock = ScaledClock()
    gateway = await start_gateway(sandbox, clock=clock)
    task = await gateway.submit()
    await gateway.until(task["id"], "unconfirmed")
    getattr(clock, move)(HOURS)
    await gateway.until(task["id"], "succeeded", timeout_s=60)
    assert "not_confirmed" not in [entry["type"] for entry in await gateway.timeline(task["id"])]
