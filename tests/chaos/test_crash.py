"""``kill -9`` at random moments (G1, G5): what was acknowledged and what was accepted is there afterwards, and nothing
is submitted twice. The vendor runs in the test's process and knows the truth; the gateway is a process."""

import asyncio
import random
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.chaos.conftest import Tell
from tests.chaos.load import Callback, Load, assert_kept, count_logged_elsewhere, submit
from tests.chaos.processes import client, holds, pages, serving
from tests.chaos.truth import FINAL, KINDS, assert_sent_once
from tests.support.gateway import PARAMS
from tests.support.start_fixtures import StartSandbox

LEASE_S = 32
"""A submission of a killed process is given up this long after its claim: its time-out of 2 s, and 30 s."""
SENT_TO_BE_KILLED = {
    "submit_timeout_s": 2,
    "submit_confirm_s": 2,
    "submit_max_in_flight": 200,
    "query_first_after_s": 0.5,
    "query_interval_s": 0.5,
    "query_max_interval_s": 2,
    "query_rate_per_s": 50,
    # Long enough for a machine that does something else as well: nothing here ends by it.
    "task_deadline_s": 60,
}


async def callback_rounds(
    rounds: int, tmp_path: Path, database_url: str, start_sandbox: StartSandbox, tell: Tell
) -> None:
    """Kill under a load of callbacks; each time, hold the next process to what was acknowledged so far."""
    sandbox = await start_sandbox(habits={"stuck": 1})
    settings: dict[str, Any] = {
        "tempolor_base_url": sandbox.base_url,
        "submit_max_in_flight": 100_000,
        "query_first_after_s": 3600,
    }
    kept: list[list[Callback]] = []
    broken = 0
    async with serving(database_url, tmp_path, **settings) as served, client(served.url) as api:
        for _ in range(rounds):
            tasks = await submit(api, 6)
            async with Load(served.url, senders=16, pause_s=0) as load:
                load.offer(tasks)
                await load.goes_on(20)
                await asyncio.sleep(random.uniform(0, 0.8))
                await served.kill()
            load.assert_only(200, 0)
            broken += load.by_status().get(0, 0)
            kept.append(load.acknowledged)
            await served.start()
            await assert_kept(api, kept[-1])
        for acknowledged in random.sample(kept, min(len(kept), 20)):
            await assert_kept(api, acknowledged)
        elsewhere = {one for acknowledged in kept for one in acknowledged if one.task_id is None}
        assert await count_logged_elsewhere(api) >= len(elsewhere)
        assert served.faults() == []
    figures = sum(len(set(one)) for one in kept)
    tell(f"{rounds} kills, {figures} callbacks acknowledged, {broken} broken off, none lost")


@dataclass
class Submitter:
    """Submits tasks without a pause, each under its own key; one whose answer was lost is sent again after the kill.
    ``accepted``: id by key, of every 202 (and of the 200 that repeats one)."""

    api: httpx.AsyncClient
    accepted: dict[str, str] = field(default_factory=dict)
    unanswered: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    asked: int = 0

    async def until(self, killed: asyncio.Event) -> None:
        while not killed.is_set():
            if self.unanswered:
                key, body = self.unanswered.pop()
            else:
                kind = random.choice(KINDS)
                key, body = uuid.uuid4().hex, {"kind": kind, "params": PARAMS[kind]}
                self.asked += 1
            try:
                answer = await self.api.post("/v1/tasks", json=body, headers={"Idempotency-Key": key})
            except httpx.TransportError:
                self.unanswered.append((key, body))
                continue
            assert answer.status_code in (200, 202), answer.text
            task_id = answer.json()["id"]
            assert self.accepted.setdefault(key, task_id) == task_id
            await asyncio.sleep(0.01)


async def submission_rounds(
    rounds: int, tmp_path: Path, database_url: str, start_sandbox: StartSandbox, tell: Tell, *, to_the_end: bool
) -> None:
    """Kill under a load of submissions. ``to_the_end``: wait until what the killed processes had claimed has lapsed,
    and everything has ended; else only what is submitted after the last kill is waited for."""
    sandbox = await start_sandbox(
        scale=100,
        callbacks={"drop": 0.15, "double": 0.1, "early": 0.1},
        submit={"late": 0.3, "late_s": (0.05, 1)},
    )
    settings: dict[str, Any] = {"tempolor_base_url": sandbox.base_url, **SENT_TO_BE_KILLED}
    async with serving(database_url, tmp_path, **settings) as served, client(served.url) as api:
        submitter = Submitter(api)
        for _ in range(rounds):
            killed, before = asyncio.Event(), len(submitter.accepted)
            submitting = [asyncio.create_task(submitter.until(killed)) for _ in range(2)]
            while len(submitter.accepted) < before + 8:
                await asyncio.sleep(0.02)
                assert not any(task.done() for task in submitting)
            await asyncio.sleep(random.uniform(0, 1))
            await served.kill()
            killed.set()
            await asyncio.gather(*submitting)
            await served.start()
        accepted = set(submitter.accepted.values())
        later = set() if to_the_end else set(await submit(api, 3))
        tasks: dict[str, dict[str, Any]] = {}

        async def settled() -> bool:
            tasks.update({task["id"]: task async for task in pages(api, "/v1/tasks")})
            return all(task["status"] in FINAL for task in tasks.values() if task["id"] in later or to_the_end)

        def open_ones() -> list[dict[str, Any]]:
            return [task for task in tasks.values() if task["status"] not in FINAL][:3]

        await holds(settled, LEASE_S + 40 if to_the_end else 20, open_ones, 0.5)
        assert accepted | later <= set(tasks)
        assert len(tasks) <= submitter.asked + len(later)
        assert_sent_once(sandbox, set(tasks))
        ends = Counter(task["status"] for task in tasks.values())
        codes = Counter(task["error"]["code"] for task in tasks.values() if task["error"])
        assert set(codes) <= {"submit_outcome_unknown"}
        # At most what one process can have under way is caught by each kill.
        assert sum(ends[status] for status in set(ends) - FINAL) + codes["submit_outcome_unknown"] <= 64 * rounds
        assert served.faults() == []
    tell(
        f"{rounds} kills, {len(submitter.accepted)} tasks accepted, {len(sandbox.works)} taken by the vendor, "
        f"none lost, none twice; {dict(ends)} {dict(codes)}"
    )


async def test_no_acknowledged_callback_is_lost_by_a_few_kills(
    tmp_path: Path, database_url: str, start_sandbox: StartSandbox, tell: Tell
) -> None:
    await callback_rounds(2, tmp_path, database_url, start_sandbox, tell)


async def test_no_accepted_task_is_lost_or_sent_twice_by_a_few_kills(
    tmp_path: Path, database_url: str, start_sandbox: StartSandbox, tell: Tell
) -> None:
    await submission_rounds(2, tmp_path, database_url, start_sandbox, tell, to_the_end=False)


@pytest.mark.slow
async def test_no_acknowledged_callback_is_lost_by_many_kills(
    tmp_path: Path, database_url: str, start_sandbox: StartSandbox, tell: Tell, crash_rounds: int
) -> None:
    await callback_rounds(crash_rounds, tmp_path, database_url, start_sandbox, tell)


@pytest.mark.slow
async def test_no_accepted_task_is_lost_or_sent_twice_by_many_kills(
    tmp_path: Path, database_url: str, start_sandbox: StartSandbox, tell: Tell, crash_rounds: int
) -> None:
    await submission_rounds(crash_rounds, tmp_path, database_url, start_sandbox, tell, to_the_end=True)
