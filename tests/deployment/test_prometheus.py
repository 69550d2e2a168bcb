"""Debian's Prometheus with the scrape configuration of the docs and our rules: what fires when processes are killed."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.chaos.conftest import Tell
from tests.chaos.processes import Process, free_port, holds, serving
from tests.docs.pages import ROOT, blocks
from tests.support.databases import on_postgresql
from tests.support.not_none import present

PROMETHEUS = shutil.which("prometheus")
NAMES = ("serve-1:8000", "serve-2:8000", "worker-1:9101", "worker-2:9101")
NO_WORKERS_S = 180
ONE_GONE_S = 300


def _config(targets: list[str]) -> dict[str, Any]:
    """The page's, with these in place of the processes that it names."""
    [config] = [yaml.safe_load(one.text) for one in blocks("yaml") if "scrape_configs" in one.text]
    [job] = config["scrape_configs"]
    [static] = job["static_configs"]
    assert static["targets"] == list(NAMES)
    static["targets"] = targets
    config["rule_files"] = [str(ROOT / "ops/alerts.yml")]
    # As it is by default where nothing is said.
    config["global"] = {"evaluation_interval": "1m"}
    return dict(config)


@contextmanager
def _prometheus(place: Path, targets: list[str]) -> Iterator[str]:
    config, port = place / "prometheus.yml", free_port()
    config.write_text(json.dumps(_config(targets)))
    with (place / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                present(PROMETHEUS),
                f"--config.file={config}",
                f"--storage.tsdb.path={place / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            cwd=place,
            stdout=log,
            stderr=log,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(PROMETHEUS is None, reason="Prometheus is not installed (Debian: apt-get install prometheus)")
@pytest.mark.slow
@on_postgresql
async def test_an_alert_fires_when_one_is_killed_and_when_all_workers_are(
    tmp_path: Path, database_url: str, tell: Tell
) -> None:
    ports = [free_port(), free_port()]
    async with AsyncExitStack() as stack:
        serves = [await stack.enter_async_context(serving(database_url, tmp_path, workers=False)) for _ in range(2)]
        workers = [
            Process(
                *("worker", "--metrics-host", "127.0.0.1", "--metrics-port", str(port)),
                database_url=database_url,
                cwd=tmp_path,
                public_url=serves[0].url,
                loop_idle_s=1,
            )
            for port in ports
        ]
        for worker in workers:
            stack.push_async_callback(worker.kill)
            await worker.start()
        targets = [f"127.0.0.1:{port}" for port in (*(present(one.port) for one in serves), *ports)]
        with _prometheus(tmp_path, targets) as url:
            async with httpx.AsyncClient(base_url=url, trust_env=False) as api:

                async def all_scraped() -> bool:
                    try:
                        found = (await api.get("/api/v1/query", params={"query": "gateway_build_info"})).json()
                    except httpx.TransportError:
                        return False
                    return found["status"] == "success" and len(found["data"]["result"]) == len(targets)

                async def firing() -> set[str]:
                    alerts = (await api.get("/api/v1/alerts")).json()["data"]["alerts"]
                    labels = [one["labels"] for one in alerts if one["state"] == "firing"]
                    named = {f"{one['alertname']} {one.get('instance', '')}".strip() for one in labels}
                    # The tests' own PostgreSQL need not survive a power cut.
                    return named - {"GatewayDatabaseUnsafe"}

                await holds(all_scraped, 60, lambda: (tmp_path / "prometheus.log").read_text()[-2000:], 1)
                assert await firing() == set()
                gone, began_at = f"GatewayReplicaGone {targets[1]}", time.monotonic()
                await serves[1].kill()

                async def one_gone() -> bool:
                    return await firing() == {gone}

                await holds(one_gone, ONE_GONE_S, lambda: targets, 1)
                tell(f"one of two serves killed: {gone} after {time.monotonic() - began_at:.0f} s")
                began_at = time.monotonic()
                for worker in workers:
                    await worker.kill()

                async def nothing_dispatches() -> bool:
                    return "GatewayNothingDispatches" in await firing()

                await holds(nothing_dispatches, NO_WORKERS_S, lambda: targets, 1)
                tell(f"both workers killed: GatewayNothingDispatches after {time.monotonic() - began_at:.0f} s")
                assert "GatewayDown" not in await firing()
