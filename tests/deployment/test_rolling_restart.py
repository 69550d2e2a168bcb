"""A rolling restart under load: each replica in turn is told to end and started again, and nobody notices."""

import asyncio
import signal
import time
from pathlib import Path

import httpx
import pytest

from tests.chaos.conftest import Tell
from tests.chaos.load import assert_kept
from tests.chaos.processes import Process, client, free_port
from tests.deployment.balancer import Balancer, balancing
from tests.deployment.steady import steady_load
from tests.processes.upgrades.flow import faults
from tests.support.commands import environment, running
from tests.support.databases import on_postgresql, on_sqlite
from tests.support.gateway import eventually
from tests.support.not_none import present

DRAIN_S = 5.0
"""Longer than a balancer needs to see it, and than the client keeps a connection that it does not use."""
PER_S = 50


async def _restart(process: Process, balancer: Balancer) -> tuple[float, float, float]:
    """As an orchestrator does it: SIGTERM, wait for the end, start, wait until the balancer has taken it in. Returns
    the times of the signal, of the balancer's notice, and of the end."""
    told_at = time.monotonic()
    process.terminate()
    assert await process.ended(30) == 0
    ended_at = time.monotonic()
    await process.start()

    async def taken_in() -> bool:
        return process.port in balancer.ready

    await eventually(taken_in, 20)
    # It has its share of new connections before the next one goes.
    await asyncio.sleep(1.5)
    return told_at, balancer.left_at.get(present(process.port), ended_at), ended_at


@on_postgresql
@pytest.mark.slow
async def test_replicas_are_restarted_in_turn_and_every_callback_is_acknowledged(
    tmp_path: Path, database_url: str, tell: Tell
) -> None:
    front = free_port()
    replicas = [
        Process("serve", database_url=database_url, cwd=tmp_path, port=free_port(), drain_s=DRAIN_S) for _ in range(2)
    ]
    url = f"http://127.0.0.1:{front}"
    try:
        for replica in replicas:
            await replica.start()
        async with balancing(front, [present(replica.port) for replica in replicas]) as balancer:

            async def all_ready() -> bool:
                return len(balancer.ready) == len(replicas)

            await eventually(all_ready)
            async with steady_load(url, PER_S) as load:
                await asyncio.sleep(2)
                restarts = [await _restart(replica, balancer) for replica in replicas]
                await asyncio.sleep(2)
            # Both had their part, before and after.
            assert set(balancer.passed) == {replica.port for replica in replicas}
            tell(f"{len(load.answers)} callbacks through two restarts, others than 200: {dict(load.others())}")
            broken = [
                (round(answer.began_at - told_at, 2), round(answer.ended_at - told_at, 2), answer.status, answer.text)
                for told_at, _, _ in restarts[:1]
                for answer in load.answers
                if not answer.acknowledged
            ]
            seen = [
                (round(left_at - restarts[0][0], 2), round(ended_at - restarts[0][0], 2))
                for _, left_at, ended_at in restarts
            ]
            told = (
                f"taken out and ended, in seconds since the first signal: {seen}; {balancer.turned_away} found nobody"
            )
            assert broken == [], told
            assert len(load.answers) > 10 * PER_S
            async with client(url) as api:
                await assert_kept(api, load.acknowledged)
        assert [faults(replica) for replica in replicas] == [[], []]
    finally:
        for replica in replicas:
            await replica.kill()


@on_sqlite
async def test_while_it_drains_each_answer_ends_its_connection(tmp_path: Path, database_url: str) -> None:
    env = environment(database_url, drain_s=2)
    async with running("serve", "--workers-off", env=env, cwd=tmp_path) as served:
        paths = ("/readyz", "/healthz", "/v1/tasks", "/no/such/thing", "/callbacks/song/no-token")
        kept = [(await served.api.get(path)).headers.get("Connection") for path in paths]
        assert kept == [None] * len(paths)
        served.process.send_signal(signal.SIGTERM)

        async def draining() -> bool:
            return (await served.api.get("/readyz")).status_code == 503

        await eventually(draining)
        ended = [(await served.api.get(path)).headers.get("Connection") for path in paths]
        assert ended == ["close"] * len(paths)
        # And it is meant: the server does close.
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(served.url).port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 2)
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.lower().count(b"\r\nconnection:") == 1
        writer.close()
