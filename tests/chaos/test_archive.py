"""Every artifact is kept (G13) though links die within seconds, downloads fail, and copiers are killed."""

import asyncio
import hashlib
import random
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.sandbox.audio import content
from tests.chaos.conftest import Tell
from tests.chaos.processes import client, serving
from tests.support.gateway import PARAMS
from tests.support.starting import StartSandbox

pytestmark = pytest.mark.slow

KINDS = ("song.generate", "instrumental.generate", "stems.create", "midi.create")
FAULTS = {"lifetime_s": 8, "short": 0.15, "html": 0.02, "error": 0.05, "slow": 0.05, "slow_s": 1}


async def _submit(api: httpx.AsyncClient, count: int) -> list[str]:
    ids = []
    for start in range(0, count, 50):
        tasks = [
            {"kind": kind, "params": PARAMS[kind]}
            for kind in (KINDS[number % len(KINDS)] for number in range(start, min(start + 50, count)))
        ]
        answer = await api.post("/v1/tasks/batch", json={"tasks": tasks}, timeout=30)
        assert answer.status_code == 202, answer.text
        ids += [task["id"] for task in answer.json()["data"]]
    return ids


async def _all(api: httpx.AsyncClient) -> list[dict[str, Any]]:
    tasks, cursor = [], None
    while True:
        params: dict[str, str] = {"limit": "200", "view": "summary"} | ({"cursor": cursor} if cursor else {})
        page = (await api.get("/v1/tasks", params=params, timeout=30)).json()
        tasks += page["data"]
        if (cursor := page["next_cursor"]) is None:
            return tasks


def _copies(tasks: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (item["item_id"], name): artifact["archive"]
        for task in tasks
        for item in task["items"]
        for name, artifact in item["artifacts"].items()
        if artifact["archive"] is not None
    }


@pytest.mark.parametrize("tasks", [60])
async def test_every_file_is_kept_whatever_dies(
    database_url: str, tmp_path: Path, start_sandbox: StartSandbox, tell: Tell, tasks: int
) -> None:
    sandbox = await start_sandbox(scale=60, files=FAULTS)
    directory = tmp_path / "archive"
    settings: dict[str, Any] = {
        "tempolor_base_url": sandbox.base_url,
        "archive_url": f"file://{directory}",
        "egress_allow_private": "true",
        "submit_max_in_flight": 1000,
        "query_rate_per_s": 20,
    }
    kills = 0
    async with serving(database_url, tmp_path, **settings) as served, client(served.url) as api:
        await _submit(api, tasks)
        end = asyncio.get_running_loop().time() + 20 + tasks / 10
        while asyncio.get_running_loop().time() < end:
            await asyncio.sleep(random.uniform(0.5, 4))
            await served.kill()
            await served.start()
            kills += 1
        deadline = asyncio.get_running_loop().time() + 420
        while True:
            copies = _copies(await _all(api))
            waiting = [key for key, copy in copies.items() if copy["status"] == "pending"]
            if not waiting and len(copies) >= tasks:
                break
            assert asyncio.get_running_loop().time() < deadline, (len(waiting), waiting[:5])
            await asyncio.sleep(2)
    failed = {key: copy["reason"] for key, copy in copies.items() if copy["status"] == "failed"}
    assert failed == {}
    stored = {path for path in directory.rglob("*") if path.is_file() and "#" not in path.name}
    assert len(stored) == len(copies)
    made = [content(ending) for ending in ("mp3", "wav", "zip", "mid")]
    right = {hashlib.sha256(file[1]).hexdigest() for file in made if file is not None}
    assert {hashlib.sha256(path.read_bytes()).hexdigest() for path in stored} <= right
    assert {copy["sha256"] for copy in copies.values()} <= right
    tell(f"{tasks} tasks, {len(copies)} files kept, {kills} kills")
