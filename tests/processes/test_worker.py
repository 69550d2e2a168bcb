"""A worker's own metrics, on a port of their own, and nothing else there."""

from pathlib import Path

import httpx

from tests.support.commands import environment, running
from tests.support.databases import on_postgresql


@on_postgresql
async def test_a_worker_shows_its_loops_and_serves_nothing_else(database_url: str, tmp_path: Path) -> None:
    arguments = ("worker", "--metrics-host", "127.0.0.1", "--metrics-port", "0")
    async with running(*arguments, env=environment(database_url), cwd=tmp_path) as worker:
        text = (await worker.api.get("/metrics")).text
        for name in ("dispatch", "reconcile", "notify", "clock"):
            assert f'gateway_loop_heartbeat_age_seconds{{loop="{name}"}}' in text
        assert (await worker.api.get("/backlog")).status_code == 200
        for path in ("/v1/tasks", "/callbacks/song/x", "/docs", "/openapi.json"):
            assert (await worker.api.get(path)).status_code == 404, path
        assert await worker.terminate() == 0
        async with httpx.AsyncClient(trust_env=False) as client:
            try:
                await client.get(f"{worker.url}/metrics")
            except httpx.TransportError:
                return
        raise AssertionError("it still listens")
