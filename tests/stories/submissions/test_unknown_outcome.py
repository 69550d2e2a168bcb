"""Sent, and no answer to be had: the task waits for a callback, and is never sent again (G5, G6)."""

import asyncio
import threading
import uuid
from datetime import datetime
from functools import partial
from typing import Any

import pytest

from app.sandbox.calls import Call
from app.sandbox.state import Sandbox
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import eventually, running_gateway
from tests.support.start_fixtures import StartGateway, StartSandbox


async def _sent(sandbox: Sandbox, count: int) -> bool:
    return len(submissions(sandbox)) == count


LOST_ANSWERS: list[dict[str, Any]] = [
    {"reset": True},
    {"garbage": "html_200"},
    {"garbage": "no_ids"},
    {"http_status": 503, "retry_after_s": 1},
    {"hang_s": 30},
]
"""What else is unknown: ``tests/rules/tempolor/test_submit_answer.py``."""


def submissions(sandbox: Sandbox) -> list[Call]:
    return [call for call in sandbox.calls if call.operation == "submit"]


async def test_a_lost_answer_is_settled_by_the_callback(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=60)
    gateway = await start_gateway(sandbox, submit_timeout_s=1)
    for sent, lost in enumerate(LOST_ANSWERS, start=1):
        sandbox.add_rules(answers=[{"operation": "submit", "accept": True} | lost])
        task = await gateway.submit()
        await gateway.until(task["id"], "unconfirmed")
        await gateway.until(task["id"], "succeeded")
        assert len(submissions(sandbox)) == len(sandbox.works) == sent, lost


async def test_an_outcome_that_nothing_confirms_fails_and_is_not_sent_again(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=60)
    sandbox.add_rules(answers=[{"operation": "submit", "reset": True, "accept": False}])
    gateway = await start_gateway(sandbox, submit_confirm_s=1)
    task = await gateway.submit()
    failed = await gateway.until(task["id"], "failed")
    assert failed["error"]["code"] == "submit_outcome_unknown"
    assert failed["error"]["retryable"] is False
    await asyncio.sleep(0.5)
    assert len(submissions(sandbox)) == 1


async def test_a_callback_after_the_task_was_given_up_reopens_it(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=20)
    sandbox.add_rules(answers=[{"operation": "submit", "reset": True, "accept": True}])
    gateway = await start_gateway(sandbox, submit_confirm_s=0.5)
    task = await gateway.submit()
    failed = await gateway.until(task["id"], "failed")
    done = await gateway.until(task["id"], "succeeded", timeout_s=20)
    assert done["version"] > failed["version"]
    assert done["error"] is None
    assert len(submissions(sandbox)) == 1


async def test_a_callback_before_the_answer_finds_its_task(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=60)
    sandbox.add_rules(works=[{"early": ["*"]}], answers=[{"operation": "submit", "delay_s": 4}])
    gateway = await start_gateway(sandbox)
    task = await gateway.submit()
    await gateway.until(task["id"], "running", "main_succeeded", timeout_s=3)
    # All callbacks came, and the answer is still outstanding: it may name more items, so nothing is final.
    assert (await gateway.task(task["id"]))["finished_at"] is None
    done = await gateway.until(task["id"], "succeeded")
    types = [one["type"] for one in await gateway.timeline(task["id"])]
    assert types.index("callback") < types.index("submitted")
    assert len(done["items"]) == 1


async def test_a_late_answer_names_the_items_of_a_failed_task(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    """The sender is frozen while its call is out, the lease lapses, the task fails; then the answer is read."""
    sandbox = await start_sandbox(scale=600)
    sandbox.add_rules(
        works=[{"drop": ["*"], "delay_s": {}}], answers=[{"operation": "submit", "delay_s": 10, "accept": True}]
    )
    clock = ScaledClock()
    gateway = await start_gateway(sandbox, clock=clock, submit_confirm_s=0.2, query_first_after_s=0.2)
    task = await gateway.submit()
    await gateway.until(task["id"], "submitting")
    # Claimed; a moment later it is sent.
    await asyncio.sleep(0.3)
    clock.skip(61)
    await gateway.until(task["id"], "failed")
    done = await gateway.until(task["id"], "succeeded")
    assert done["error"] is None
    assert len(submissions(sandbox)) == 1


async def test_a_process_that_wakes_after_half_its_lease_does_not_send(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=60)
    clock = FrozenOnce()
    gateway = await start_gateway(sandbox, clock=clock)
    clock.armed = True
    task = await gateway.submit()
    await gateway.until(task["id"], "succeeded")
    entries = [one["type"] for one in await gateway.timeline(task["id"])]
    # A turn of the loop that had begun before may claim it by the old time, and gives it back too.
    assert entries.count("given_back") >= 1
    assert entries.count("submitting") == entries.count("given_back") + 1
    assert len(submissions(sandbox)) == 1


class FrozenOnce(ScaledClock):
    """The clock of a process that is stopped for 31 s between its claim and its look at the clock before it sends."""

    armed = False

    def now(self) -> datetime:
        if self.armed and threading.current_thread() is threading.main_thread():
            task = asyncio.current_task()
            if task is not None and task.get_name().startswith("submit "):
                self.armed = False
                self.skip(31)
        return super().now()


async def test_a_lapsed_lease_becomes_unconfirmed_and_is_not_sent_again(
    start_gateway: StartGateway, start_sandbox: StartSandbox, database_url: str
) -> None:
    sandbox = await start_sandbox(scale=60)
    sandbox.add_rules(answers=[{"operation": "submit", "hang_s": 4, "accept": False}])
    clock = ScaledClock()
    gateway = await start_gateway(sandbox, clock=clock, submit_timeout_s=15, submit_confirm_s=10_000)
    task = await gateway.submit()
    await gateway.until(task["id"], "submitting")
    await asyncio.sleep(0.3)
    clock.skip(46)
    await gateway.until(task["id"], "unconfirmed", timeout_s=3)
    await asyncio.sleep(4)
    assert len(submissions(sandbox)) == 1
    assert "lease_lapsed" in [one["type"] for one in await gateway.timeline(task["id"])]


async def test_three_unknown_outcomes_slow_submission_to_a_probe_until_one_is_confirmed(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=30)
    sandbox.add_rules(
        answers=[{"operation": "submit", "reset": True, "accept": True, "times": 4}],
        works=[{"drop": ["*"], "times": 3}],
    )
    clock = ScaledClock()
    gateway = await start_gateway(sandbox, clock=clock, submit_max_in_flight=3)
    tasks = [await gateway.submit() for _ in range(6)]
    for task in tasks[:3]:
        await gateway.until(task["id"], "unconfirmed")

    async def held() -> Any:
        return (await gateway.api.get("/backlog")).json()["standing_still"].get("submit")

    assert (await eventually(held))["reason"] == "outcomes_unknown"
    # Their slots are free after four time-outs; the next probe has been due for long: one goes, and is lost too.
    clock.skip(121)
    await gateway.until(tasks[3]["id"], "unconfirmed")
    await asyncio.sleep(0.5)
    assert len(submissions(sandbox)) == 4, "one at a time"
    # The fourth work's callbacks come: they confirm an unknown outcome, and everything goes on.
    for task in tasks[3:]:
        await gateway.until(task["id"], "succeeded", timeout_s=30)
    assert await held() is None
    assert len(submissions(sandbox)) == 6


@pytest.mark.parametrize(("status", "reason"), [(400002, "vendor_key_rejected"), (400005, "insufficient_points")])
async def test_an_account_fault_holds_everything_and_goes_on_by_itself(
    start_gateway: StartGateway, start_sandbox: StartSandbox, status: int, reason: str
) -> None:
    sandbox = await start_sandbox(scale=200)
    sandbox.add_rules(answers=[{"operation": "submit", "status": status, "times": 3}])
    clock = ScaledClock()
    gateway = await start_gateway(sandbox, clock=clock, submit_max_in_flight=1)
    tasks = [await gateway.submit() for _ in range(4)]

    async def is_held() -> Any:
        return (await gateway.api.get("/backlog")).json()["standing_still"].get("submit")

    assert (await eventually(is_held))["reason"] == reason
    await asyncio.sleep(0.4)
    assert len(submissions(sandbox)) == 1
    assert {(await gateway.task(task["id"]))["status"] for task in tasks} == {"queued"}
    for probes in (2, 3):
        clock.skip(25)
        await asyncio.sleep(0.3)
        assert len(submissions(sandbox)) == probes - 1, "no probe before 30 s"
        clock.skip(6)
        await eventually(partial(_sent, sandbox, probes))
        await asyncio.sleep(0.3)
    clock.skip(31)
    for task in tasks:
        await gateway.until(task["id"], "succeeded")
    assert await is_held() is None
    # The oldest task was the probe each time.
    assert [one["type"] for one in await gateway.timeline(tasks[0]["id"])].count("refused") == 3


async def test_a_callback_for_a_task_that_was_not_sent_yet_is_not_sent_any_more(
    start_sandbox: StartSandbox, database_url: str
) -> None:
    sandbox = await start_sandbox(scale=200)
    async with running_gateway(database_url, workers=False) as first:
        task = await first.submit()
        body = {"songs": [{"item_id": "t2m_early", "status": "running"}]}
        assert (await first.call_back("song", body, uuid.UUID(task["id"]))).text == "success"
    async with running_gateway(database_url, tempolor_base_url=sandbox.base_url) as second:
        await asyncio.sleep(0.5)
        assert (await second.task(task["id"]))["status"] == "running"
        flags = [
            item.get("flag") for one in await second.timeline(task["id"]) for item in one["detail"].get("items", [])
        ]
        assert "named_while_queued" in flags
        assert (await second.task(task["id"]))["warnings"] == []
    assert submissions(sandbox) == []
