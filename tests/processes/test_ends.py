"""How processes end: in order on SIGTERM, and at any instant by SIGKILL; what was acknowledged is there after."""

import asyncio
import json
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.tempolor.callback_tokens import Tokens
from tests.support.commands import VENDOR_KEY, Running, environment, running
from tests.support.gateway import ADMIN_KEY, SECRET, SONG, eventually
from tests.support.start_fixtures import StartSandbox

TOKENS = Tokens([SECRET])


def _callback(served: Running, task_id: str, n: int, status: str = "running") -> Coroutine[Any, Any, Any]:
    body = {"songs": [{"item_id": f"t2m_{task_id}_{n}", "status": status, "title": f"Title {n}"}]}
    path = f"/callbacks/song/{TOKENS.sign('song', UUID(task_id))}"
    return served.api.post(path, json=body)


async def _submit(served: Running, **more: Any) -> str:
    answer = await served.api.post("/v1/tasks", json={"kind": "song.generate", "params": SONG, **more})
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


async def test_sigterm_drains_and_then_ends_well(tmp_path: Path, database_url: str) -> None:
    env = environment(database_url, drain_s=1.5)
    async with running("serve", "--workers-off", env=env, cwd=tmp_path) as served:
        task_id = await _submit(served)
        assert (await served.api.get("/readyz")).status_code == 200
        started = time.monotonic()
        ending = asyncio.create_task(served.terminate())
        readiness, acknowledged = [], 0
        while time.monotonic() - started < 1.2:
            readiness.append((await served.api.get("/readyz")).status_code)
            answer = await _callback(served, task_id, acknowledged)
            assert (answer.status_code, answer.text) == (200, "success")
            acknowledged += 1
            assert (await served.api.get("/healthz")).status_code == 200
            await asyncio.sleep(0.02)
        assert readiness.count(503) > 1
        assert readiness[-1] == 503
        assert await ending == 0
        assert 1.4 < time.monotonic() - started < 8
        assert [line for line in served.lines() if line["level"] == "error"] == []
    async with running("serve", "--workers-off", env=env, cwd=tmp_path) as served:
        task = (await served.api.get(f"/v1/tasks/{task_id}")).json()
        assert len(task["items"]) == acknowledged


async def test_sigterm_lets_what_is_being_sent_come_to_its_end(
    tmp_path: Path, database_url: str, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=0.1)
    sandbox.add_rules(answers=[{"operation": "submit", "delay_s": 1.5}])
    env = environment(database_url, tempolor_base_url=sandbox.base_url)
    async with running("serve", env=env, cwd=tmp_path) as served:
        task_id = await _submit(served)

        async def sent() -> bool:
            return len(sandbox.works) == 1

        await eventually(sent)
        assert await served.terminate() == 0
    async with running("serve", "--workers-off", env=env, cwd=tmp_path) as served:
        task = (await served.api.get(f"/v1/tasks/{task_id}")).json()
        assert task["status"] == "running"
        assert [item["item_id"] for item in task["items"]] == sandbox.works.all[0].item_ids


async def test_workers_off_sends_nothing_and_a_worker_does(
    tmp_path: Path, database_url: str, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=0.1)
    env = environment(database_url, tempolor_base_url=sandbox.base_url)
    async with running("serve", "--workers-off", env=env, cwd=tmp_path) as served:
        task_id = await _submit(served)
        await asyncio.sleep(0.7)
        assert (await served.api.get(f"/v1/tasks/{task_id}")).json()["status"] == "queued"
        assert len(sandbox.calls) == 0
        if database_url.startswith("sqlite"):
            assert await served.terminate() == 0
        async with running("worker", env=env, cwd=tmp_path) as worker:

            async def sent() -> bool:
                return len(sandbox.works) == 1

            await eventually(sent)
            assert await worker.terminate() == 0
    async with running("serve", "--workers-off", env=env, cwd=tmp_path) as served:
        assert (await served.api.get(f"/v1/tasks/{task_id}")).json()["status"] == "running"


async def test_no_secret_is_logged(tmp_path: Path, database_url: str, start_sandbox: StartSandbox) -> None:
    """At the most talkative level, through submissions, callbacks, queries, refusals and faults of the vendor."""
    sandbox = await start_sandbox(scale=200)
    sandbox.add_rules(
        answers=[
            {"operation": "submit", "garbage": "html_502", "accept": True},
            {"operation": "query", "garbage": "truncated"},
            {"operation": "account", "http_status": 500},
        ],
        works=[{"drop": ["*"]}],
    )
    settings = {"query_first_after_s": 0.2, "query_interval_s": 0.2, "query_rate_per_s": 20, "log_level": "debug"}
    env = environment(database_url, tempolor_base_url=sandbox.base_url, **settings)
    async with running("serve", env=env, cwd=tmp_path) as served:

        async def submitted(until: str) -> str:
            made = await _submit(served)

            async def is_there() -> bool:
                return (await served.api.get(f"/v1/tasks/{made}")).json()["status"] == until

            await eventually(is_there)
            return made

        # One after the other: of two at once the second may be the one that meets the garbage.
        await submitted("unconfirmed")
        task_id = await submitted("succeeded")
        await _callback(served, task_id, 1)
        token = TOKENS.sign("song", UUID(task_id))
        await served.api.post(f"/callbacks/song/{token}", content=b"{")
        await served.api.post(f"/callbacks/song/{token}x", content=b"{}")
        await served.api.get("/v1/tasks", headers={"Authorization": "Bearer wrong-key-0123456789"})
        await served.api.get("/v1/account")
        task = (await served.api.get(f"/v1/tasks/{task_id}")).text
        assert "auth_key" in task or "http" in task
        metrics = (await served.api.get("/metrics")).text
        assert await served.terminate() == 0
        told = served.log.read_text() + metrics
        assert all(isinstance(line["event"], str) for line in served.lines())
    for secret in (ADMIN_KEY, SECRET, VENDOR_KEY, token, "wrong-key-0123456789", "auth_key", "slow pop ballad"):
        assert secret not in told


async def _killed_round(served: Running, n: int) -> tuple[str, int, str, dict[str, str]]:
    """Accept, call back, and kill at once; what was acknowledged."""
    first = await _submit(served, reference=f"round {n}")
    answers = await asyncio.gather(*(_callback(served, first, one) for one in range(8)))
    assert {answer.text for answer in answers} == {"success"}
    # Others are under way when the power goes.
    rest = [asyncio.create_task(_callback(served, first, one)) for one in range(8, 30)]
    key = {"Idempotency-Key": f"round-{n}"}
    last = await served.api.post("/v1/tasks", json={"kind": "song.generate", "params": SONG}, headers=key)
    await served.kill()
    settled = await asyncio.gather(*rest, return_exceptions=True)
    acknowledged = 8 + sum(getattr(answer, "text", "") == "success" for answer in settled)
    assert last.status_code == 202
    return first, acknowledged, last.json()["id"], key


async def _rounds(tmp_path: Path, database_url: str, rounds: int) -> None:
    env = environment(database_url)
    kept = []
    for n in range(rounds):
        async with running("serve", "--workers-off", env=env, cwd=tmp_path) as served:
            kept.append(await _killed_round(served, n))
    async with running("serve", "--workers-off", env=env, cwd=tmp_path) as served:
        for first, acknowledged, last, key in kept:
            task = (await served.api.get(f"/v1/tasks/{first}")).json()
            assert acknowledged <= len(task["items"]) <= 30
            log = (await served.api.get("/v1/callbacks", params={"task_id": first, "limit": 200})).json()["data"]
            assert {row["disposition"] for row in log} == {"applied"}
            # A callback is in the log together with its effect, or not at all.
            assert len(log) == len(task["items"])
            assert (await served.api.get(f"/v1/tasks/{last}")).status_code == 200
            again = await served.api.post("/v1/tasks", json={"kind": "song.generate", "params": SONG}, headers=key)
            assert (again.status_code, again.json()["id"]) == (200, last)


async def test_nothing_acknowledged_is_lost_by_a_kill(tmp_path: Path, database_url: str) -> None:
    await _rounds(tmp_path, database_url, 1)


@pytest.mark.slow
async def test_nothing_acknowledged_is_lost_by_many_kills(tmp_path: Path, database_url: str) -> None:
    await _rounds(tmp_path, database_url, 8)


@pytest.mark.slow
async def test_a_kill_while_sending_never_sends_twice(
    tmp_path: Path, database_url: str, start_sandbox: StartSandbox
) -> None:
    """The submission under way becomes unconfirmed, and its callback settles it; the queued ones are sent once."""
    sandbox = await start_sandbox(scale=60)
    sandbox.add_rules(answers=[{"operation": "submit", "prompt": "caught", "delay_s": 3}])
    settings = {"tempolor_base_url": sandbox.base_url, "submit_timeout_s": 4, "submit_max_in_flight": 3}
    async with running("serve", env=environment(database_url, **settings), cwd=tmp_path) as served:
        caught = await _submit(served, params={"prompt": "caught", "model": "tempolor-latest"})

        async def sent() -> bool:
            return len(sandbox.works) == 1

        await eventually(sent)
        others = [await _submit(served) for _ in range(5)]
        await served.kill()
    port = int(served.url.rpartition(":")[2])
    assert port
    settings["submit_timeout_s"] = 1
    async with running("serve", env=environment(database_url, **settings), cwd=tmp_path) as served:

        async def all_ended() -> bool:
            tasks = (await served.api.get("/v1/tasks")).json()["data"]
            for work in list(sandbox.works):
                # The vendor cannot reach the port of the dead process: hand its callbacks on.
                path = work.callback_url.partition("/callbacks/")[2]
                items = [sandbox.works.shown(item, time.time()) for item in work.items]
                await served.api.post(f"/callbacks/{path}", content=json.dumps({"songs": items}))
            return all(task["status"] == "succeeded" for task in tasks) and len(tasks) == 6

        await eventually(all_ended, 60, 0.2)
        timeline = (await served.api.get(f"/v1/tasks/{caught}/timeline")).json()["data"]
        assert [one["type"] for one in timeline].count("submitted") <= 1
    assert len(sandbox.works) == 1 + len(others)
