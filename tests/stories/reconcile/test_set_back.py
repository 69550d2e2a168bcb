"""The clock goes back by hours (the first synchronisation of a machine): no work waits until it has caught up."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from app.database.tables import notifications
from app.limits import shared_limits
from app.limits.shared_limits import Limit
from app.reconcile.replan_after_clock_change import Replanner
from app.rules.downtime import Availability
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import Running, eventually, running_gateway
from tests.support.notifications import BUSY as NOT_TODAY
from tests.support.notifications import client_of, watching, write, written
from tests.support.receiver import OK
from tests.support.start_fixtures import StartGateway, StartSandbox

HOURS = 3 * 3600
BUSY = {"operation": "submit", "status": 400006}


def set_back(clock: ScaledClock, seconds: int = HOURS) -> None:
    clock.set(-seconds)


async def test_planned_refused_and_queued_work_goes_on(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=2000)
    sandbox.add_rules(works=[{"drop": ["*"], "times": 2}])
    clock = ScaledClock()
    gateway = await start_gateway(sandbox, clock=clock, submit_max_in_flight=2, query_first_after_s=1000)
    tasks = [await gateway.submit() for _ in range(2)]
    for task in tasks:
        await gateway.until(task["id"], "running")
    # These wait for a slot, and for the questions that free one.
    tasks += [await gateway.submit("lyrics.generate") for _ in range(2)]
    sandbox.add_rules(answers=[BUSY])
    set_back(clock)
    for task in tasks:
        await gateway.until(task["id"], "succeeded", timeout_s=60)
    assert (await gateway.api.get("/backlog")).json()["standing_still"] == {}


async def test_a_refused_task_is_tried_again(start_gateway: StartGateway, start_sandbox: StartSandbox) -> None:
    sandbox = await start_sandbox(scale=300)
    sandbox.add_rules(answers=[{**BUSY, "times": 2}])
    clock = ScaledClock()
    gateway = await start_gateway(sandbox, clock=clock)
    task = await gateway.submit()
    await eventually(lambda: _refused(gateway, task["id"]))
    set_back(clock, 7200)
    await gateway.until(task["id"], "succeeded", timeout_s=60)


async def test_a_process_that_starts_after_it_plans_again(database_url: str, start_sandbox: StartSandbox) -> None:
    sandbox = await start_sandbox(scale=2000)
    sandbox.add_rules(works=[{"drop": ["*"], "times": 2}])
    given: dict[str, Any] = {
        "tempolor_base_url": sandbox.base_url,
        "query_first_after_s": 1000,
        "submit_max_in_flight": 2,
    }
    ahead = ScaledClock()
    ahead.set(HOURS)
    async with running_gateway(database_url, clock=ahead, **given) as before:
        tasks = [await before.submit() for _ in range(4)]
        for task in tasks[:2]:
            await before.until(task["id"], "running")
    async with running_gateway(database_url, clock=ScaledClock(), **given) as after:
        for task in tasks:
            await after.until(task["id"], "succeeded", timeout_s=60)
        # And for long: nobody takes it for gone back again.
        await asyncio.sleep(2.5)
        assert (await after.api.get("/backlog")).json()["standing_still"] == {}


async def test_an_unconfirmed_task_ends_in_its_time(start_gateway: StartGateway, start_sandbox: StartSandbox) -> None:
    sandbox = await start_sandbox(scale=1)
    sandbox.add_rules(answers=[{"operation": "submit", "reset": True, "accept": False}])
    clock = ScaledClock()
    gateway = await start_gateway(sandbox, clock=clock, submit_confirm_s=4)
    task = await gateway.submit()
    await gateway.until(task["id"], "unconfirmed")
    set_back(clock)
    failed = await gateway.until(task["id"], "failed", timeout_s=60)
    assert failed["error"]["code"] == "submit_outcome_unknown"


async def test_a_hold_is_probed_in_its_time(start_gateway: StartGateway, start_sandbox: StartSandbox) -> None:
    sandbox = await start_sandbox(scale=300)
    sandbox.add_rules(answers=[{"operation": "submit", "status": 400007}])
    clock = ScaledClock()
    gateway = await start_gateway(sandbox, clock=clock)
    task = await gateway.submit()

    async def held() -> Any:
        return (await gateway.api.get("/backlog")).json()["standing_still"].get("submit")

    await eventually(held)
    set_back(clock)
    await gateway.until(task["id"], "succeeded", timeout_s=60)


async def test_a_held_model_is_probed_in_its_time(start_gateway: StartGateway, start_sandbox: StartSandbox) -> None:
    sandbox = await start_sandbox(scale=300)
    sandbox.add_rules(answers=[{"operation": "submit", "status": 400010, "times": 1}])
    clock = ScaledClock()
    gateway = await start_gateway(sandbox, clock=clock, submit_refusals_to_hold=1)
    await gateway.until((await gateway.submit())["id"], "failed")
    tasks = [await gateway.submit() for _ in range(3)]

    async def parked() -> bool:
        return [one["waiting"] for one in (await gateway.api.get("/v1/submissions")).json()["held_models"]] == [3]

    await eventually(parked)
    set_back(clock)
    await asyncio.sleep(1)
    clock.skip(61)
    for task in tasks:
        await gateway.until(task["id"], "succeeded", timeout_s=60)


async def test_a_notification_is_tried_again_in_its_time(start_gateway: StartGateway) -> None:
    clock = ScaledClock()
    async with watching(NOT_TODAY, OK) as watched:
        gateway = await start_gateway(clock=clock, egress_allow_private=True)
        client = await client_of(gateway)
        assert (await gateway.api.post("/v1/submissions/hold", json={"reason": "a test"})).status_code == 200
        await client.canceled(watched.url())

        async def attempted() -> Any:
            return (await client.one())["attempts"] == 1

        await eventually(attempted)
        set_back(clock)

        async def delivered() -> Any:
            return (await client.one())["status"] == "delivered"

        await eventually(delivered, 60)


@pytest.mark.parametrize(("attempts", "longest_s"), [(0, 30), (1, 30), (4, 720), (7, 103_680), (9, 103_680)])
async def test_no_notification_is_due_later_than_its_schedule_has_it(
    start_gateway: StartGateway, attempts: int, longest_s: int
) -> None:
    gateway = await start_gateway(workers=False)
    context = gateway.gateway.context
    now = context.clock.now()
    due = [now + timedelta(seconds=longest_s + ahead_s) for ahead_s in (-10, 10, HOURS)]
    some = written(gateway, "http://127.0.0.1:9/hook", len(due))
    await write(gateway, some)

    def plan(conn: sa.Connection) -> None:
        for (notification_id, *_), at in zip(some, due, strict=True):
            row = notifications.c.id == notification_id
            conn.execute(notifications.update().where(row).values(due_at=at, attempts=attempts))

    await context.db.write(plan)
    await context.db.write(_note_that_it_went_back, now)
    await context.timekeeper.beat(context.db)
    assert await Replanner(context).step()

    def planned(conn: sa.Connection) -> list[Any]:
        return list(conn.scalars(sa.select(notifications.c.due_at).order_by(notifications.c.due_at)))

    first, *others = await context.db.read(planned)
    assert first == due[0]
    for at in others:
        assert 0 <= (at - now).total_seconds() - longest_s < 30
    assert (await context.db.read(shared_limits.read))[Limit.QUERY].availability.went_back_at is None


async def test_until_it_is_planned_again_the_backlog_says_so(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(workers=False)
    context = gateway.gateway.context
    assert (await gateway.api.get("/backlog")).status_code == 200
    await context.db.write(_note_that_it_went_back, context.clock.now())
    answer = await gateway.api.get("/backlog")
    assert (answer.status_code, answer.json()["stuck"]) == (503, True)
    assert answer.json()["standing_still"]["plan"]["reason"] == "clock_went_back"


def _note_that_it_went_back(conn: sa.Connection, now: datetime) -> None:
    limit = shared_limits.lock_one(conn, Limit.QUERY)
    shared_limits.save(conn, Limit.QUERY, replace(limit, availability=Availability(now, (), went_back_at=now)))


async def _refused(gateway: Running, task_id: str) -> bool:
    return "refused" in [entry["type"] for entry in await gateway.timeline(task_id)]
