"""Answers that come when the world has moved on: to a submission whose task has expired, to a question whose items
somebody else asks about by now."""

import asyncio
import uuid

from app.sandbox.works import Work
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import eventually
from tests.support.start_fixtures import StartGateway, StartSandbox

DEADLINE_S = 600


async def test_a_late_answer_reopens_an_expired_task_and_names_its_items(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    """The sender is frozen while its call is out. A callback proves that the vendor has the task, nothing more is
    heard until the deadline, and only then the answer is read: it names a second item, and counts from now on."""
    sandbox = await start_sandbox(scale=1)
    sandbox.add_rules(
        works=[{"drop": ["*"], "items": 2}], answers=[{"operation": "submit", "delay_s": 20, "accept": True}]
    )
    clock = ScaledClock()
    gateway = await start_gateway(sandbox, clock=clock, task_deadline_s=DEADLINE_S, query_first_after_s=100_000)
    task_id = (await gateway.submit())["id"]

    async def call_back(status: str, *item_ids: str) -> None:
        body = {"songs": [{"item_id": item_id, "status": status} for item_id in item_ids]}
        assert (await gateway.call_back("song", body, uuid.UUID(task_id))).text == "success"

    async def lapsed() -> bool:
        return "lease_lapsed" in [one["type"] for one in await gateway.timeline(task_id)]

    async def work() -> Work | None:
        return next(iter(sandbox.works), None)

    first, second = (await eventually(work)).item_ids
    await call_back("running", first)
    clock.skip(61)
    await eventually(lapsed)
    # The last query, at the deadline, finds it running still.
    clock.skip(DEADLINE_S)
    expired = await gateway.until(task_id, "expired")
    assert [item["item_id"] for item in expired["items"]] == [first]
    reopened = await gateway.until(task_id, "running", timeout_s=20)
    assert {item["item_id"] for item in reopened["items"]} == {first, second}
    assert reopened["version"] > expired["version"]
    assert (reopened["finished_at"], reopened["error"]) == (None, None)
    assert reopened["deadline_at"] > expired["deadline_at"]
    await call_back("succeeded", first, second)
    assert (await gateway.task(task_id))["status"] == "succeeded"
    assert sum(call.operation == "submit" for call in sandbox.calls) == 1


async def test_a_late_answer_to_a_question_does_not_end_the_lease_of_the_next_asker(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=1, callbacks={"drop": 1})
    sandbox.add_rules(answers=[{"operation": "query", "delay_s": 1}, {"operation": "query", "delay_s": 2.5}])
    clock = ScaledClock()
    gateway = await start_gateway(
        sandbox, clock=clock, query_first_after_s=0.1, query_interval_s=0.1, query_rate_per_s=100
    )
    await gateway.submit()

    async def asked(times: int) -> bool:
        return sandbox.calls.by_operation["query"] == times

    await eventually(lambda: asked(1))
    # The asker is frozen until its lease has lapsed: somebody else asks.
    clock.skip(31)
    await eventually(lambda: asked(2))
    await asyncio.sleep(1.5)
    assert [call.operation for call in sandbox.calls] == ["submit", "query"], "the first answer came, late"
    assert await asked(2), "and nobody asks a third time while the second asks"
    await eventually(lambda: asked(3))
