"""The learned schedule: no query while callbacks come as they usually do, and a lost one noticed within twice its
usual time."""

import asyncio
from datetime import datetime
from typing import Any
from uuid import UUID

from app.sandbox.state import Sandbox
from app.tempolor.kinds import overdue_default_s
from tests.support.direct_sql import Direct
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import PARAMS, Running, running_gateway
from tests.support.song_callbacks import song
from tests.support.start_fixtures import StartGateway, StartSandbox

SCALE = 30
LONGEST_S = {"stems.create": 100, "lyrics.generate": 60}
# What idles looks seldom: what is to be done wakes it.
GIVEN: dict[str, Any] = {"submit_max_in_flight": 100, "loop_idle_s": 10}
ENOUGH = 55
"""Tasks from which the schedule learns."""


async def all_done(gateway: Running, kind: str, count: int = ENOUGH) -> list[dict[str, Any]]:
    """Submit tasks, and give them the vendor's longest time and ours to write down what was learned."""
    body = {"tasks": [{"kind": kind, "params": PARAMS[kind]}] * count}
    made = (await gateway.api.post("/v1/tasks/batch", json=body)).json()["data"]
    await asyncio.sleep(LONGEST_S[kind] / SCALE)
    shown = (await gateway.api.get("/v1/tasks", params={"limit": count})).json()["data"]
    assert {(task["id"], task["status"]) for task in shown} == {(task["id"], "succeeded") for task in made}
    return made


async def slowest_callback_s(gateway: Running, tasks: list[dict[str, Any]]) -> float:
    """The longest time from a claim to the first callback, in the clock's seconds."""
    slowest = 0.0
    for task in tasks:
        at = {one["type"]: datetime.fromisoformat(one["at"]) for one in reversed(await gateway.timeline(task["id"]))}
        slowest = max(slowest, (at["callback"] - at["submitting"]).total_seconds())
    return slowest


def queries(sandbox: Sandbox) -> list[Any]:
    return [call for call in sandbox.calls if call.operation == "query"]


async def test_no_query_is_made_at_the_vendors_real_pace_before_and_after_learning(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    """And a callback that is lost afterwards is noticed within twice its usual time."""
    sandbox = await start_sandbox(scale=SCALE)
    clock = ScaledClock(SCALE)
    gateway = await start_gateway(sandbox, clock=clock, **GIVEN)
    tasks: list[dict[str, Any]] = []
    for count in (ENOUGH, 10):
        tasks = await all_done(gateway, "stems.create", count)
    assert queries(sandbox) == []
    # It did learn: the estimate is not the default any more.
    learned_s = gateway.gateway.context.delays.overdue_s("stems.create", 0)
    slowest_s = await slowest_callback_s(gateway, tasks)
    assert learned_s != overdue_default_s("stems.create")
    assert 0.7 * slowest_s < learned_s < 2 * slowest_s
    usual_s = max(work.ended_at - work.accepted_at for work in sandbox.works) * SCALE
    sandbox.add_rules(works=[{"drop": ["*"]}])
    lost = await gateway.submit("stems.create")
    sent_at = clock.monotonic()
    await gateway.until(lost["id"], "succeeded", timeout_s=60)
    assert len(queries(sandbox)) == 1
    assert clock.monotonic() - sent_at <= 2 * usual_s + 10


async def test_what_one_process_has_learned_the_next_one_knows(start_sandbox: StartSandbox, database_url: str) -> None:
    sandbox = await start_sandbox(scale=SCALE)
    given = {"tempolor_base_url": sandbox.base_url, **GIVEN}
    async with running_gateway(database_url, clock=ScaledClock(SCALE), **given) as first:
        assert first.gateway.context.delays.overdue_s("lyrics.generate", 0) == 60
        await all_done(first, "lyrics.generate")
        learned_s = first.gateway.context.delays.overdue_s("lyrics.generate", 0)
    async with running_gateway(database_url) as second:
        assert second.gateway.context.delays.overdue_s("lyrics.generate", 0) == learned_s != 60


async def test_what_a_process_has_just_learned_is_not_lost_when_it_ends(database_url: str, db: Direct) -> None:
    async with running_gateway(database_url, workers=False) as gateway:
        task = await gateway.submit()
        await gateway.call_back("song", song("t2m_1"), UUID(task["id"]))
    assert [row["n"] for row in await db.rows("SELECT n FROM delays")] == [1]
