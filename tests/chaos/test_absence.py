"""The gateway is killed, or frozen (SIGSTOP), for three deadlines; meanwhile the vendor finishes everything and all
callbacks are lost (G3). All tasks succeed, and none is shown as expired on the way."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.chaos.conftest import Tell
from tests.chaos.processes import Process, client, holds, pages, serving
from tests.support.gateway import PARAMS
from tests.support.not_none import present
from tests.support.start_fixtures import StartSandbox

KINDS = ["song.generate", "instrumental.generate", "lyrics.generate", "stems.create", "midi.create"]
DEADLINE_S = 10
TASKS = 40
SETTINGS = {
    "submit_max_in_flight": 100,
    "query_first_after_s": 1000,
    "query_rate_per_s": 2,
    "task_deadline_s": DEADLINE_S,
    "submit_timeout_s": 5,
}


async def killed(served: Process) -> None:
    await served.kill()
    await asyncio.sleep(3 * DEADLINE_S)
    await served.start()


async def frozen(served: Process) -> None:
    os.kill(present(served.pid), signal.SIGSTOP)
    await asyncio.sleep(3 * DEADLINE_S)
    os.kill(present(served.pid), signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.parametrize("go_away", [killed, frozen])
async def test_what_the_vendor_finished_in_our_absence_is_found(
    tmp_path: Path,
    database_url: str,
    start_sandbox: StartSandbox,
    tell: Tell,
    go_away: Callable[[Process], Awaitable[None]],
) -> None:
    sandbox = await start_sandbox(scale=60, callbacks={"drop": 1})
    settings: dict[str, Any] = {"tempolor_base_url": sandbox.base_url, **SETTINGS}
    async with serving(database_url, tmp_path, **settings) as served, client(served.url) as api:
        bodies = [{"kind": kind, "params": PARAMS[kind]} for kind in KINDS * (TASKS // len(KINDS))]
        answer = await api.post("/v1/tasks/batch", json={"tasks": bodies})
        assert answer.status_code == 202, answer.text
        tasks: dict[str, dict[str, Any]] = {}
        seen: set[str] = set()

        async def all_are(*statuses: str) -> bool:
            tasks.update({task["id"]: task async for task in pages(api, "/v1/tasks")})
            seen.update(task["status"] for task in tasks.values())
            return all(task["status"] in statuses for task in tasks.values())

        await holds(lambda: all_are("running"), 60, lambda: seen)
        asked_before = sandbox.calls.by_operation["query"]
        await go_away(served)
        await holds(lambda: all_are("succeeded"), 60, lambda: seen)
        assert "expired" not in seen
        for task_id in tasks:
            assert "expired" not in await _types(api, task_id)
    tell(
        f"{go_away.__name__}: {len(tasks)} of {TASKS} succeeded, "
        f"{sandbox.calls.by_operation['query'] - asked_before} questions, statuses seen {sorted(seen)}"
    )


async def _types(api: httpx.AsyncClient, task_id: str) -> set[str]:
    answer = await api.get(f"/v1/tasks/{task_id}/timeline")
    return {entry["type"] for entry in answer.json()["data"]}
