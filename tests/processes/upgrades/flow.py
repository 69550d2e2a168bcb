"""What goes on during an upgrade: callbacks come in, balancers look, and callers submit and read."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.chaos.processes import Process, client
from tests.support.gateway import SONG, eventually


async def order(at: Process, read_at: Process | None = None) -> dict[str, Any]:
    """Submit a song, and see it done, at the same process or at another: the sandbox has called back."""
    async with client(at.url) as api, client((read_at or at).url) as reader:
        made = await api.post("/v1/tasks", json={"kind": "song.generate", "params": SONG, "reference": "order-17"})
        assert made.status_code == 202, made.text
        task_id = made.json()["id"]
        task: dict[str, Any] = {}

        async def done() -> bool:
            nonlocal task
            task = (await reader.get(f"/v1/tasks/{task_id}")).json()
            return task.get("status") == "succeeded"

        try:
            await eventually(done, 30, 0.1)
        except TimeoutError:
            raise AssertionError(f"not done: {task}") from None
        assert (task["reference"], task["items"][0]["artifacts"]["audio"]["status"]) == ("order-17", "ready")
        listed = (await reader.get("/v1/tasks", params={"reference": "order-17"})).json()["data"]
        assert task_id in [one["id"] for one in listed]
        assert (await reader.get(f"/v1/tasks/{task_id}/timeline")).status_code == 200
        assert (await reader.get("/v1/callbacks")).status_code == 200
    return task


def faults(of: Process) -> list[dict[str, Any]]:
    """What it logged as an error, but that the tests' PostgreSQL runs without fsync."""
    return [one for one in of.faults() if one["event"] != "database.unsafe"]


async def readiness(at: Process) -> tuple[int, dict[str, Any]]:
    """What /readyz says: status, and checks."""
    async with client(at.url) as api:
        answer = await api.get("/readyz")
    return answer.status_code, answer.json()["checks"]


@asynccontextmanager
async def looked_at(process: Process) -> AsyncIterator[Counter[int | str]]:
    """Ask /readyz twenty times a second; what it said, and how often."""
    said: Counter[int | str] = Counter()

    async def look() -> None:
        async with client(process.url) as api:
            while True:
                try:
                    said[(await api.get("/readyz")).status_code] += 1
                except httpx.TransportError as error:
                    said[type(error).__name__] += 1
                await asyncio.sleep(0.05)

    looking = asyncio.create_task(look())
    try:
        yield said
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
