"""The client of programs without an event loop."""

import asyncio
import gc
import threading
import time
from typing import Any

import pytest

from tempolor_gateway_client import GatewayClient, NotFound, Retries, Unavailable, WaitTimeout
from tempolor_gateway_client.results import Task
from tests.support.cut_proxy import proxied
from tests.support.databases import on_sqlite
from tests.support.gateway import ADMIN_KEY, SONG, Running
from tests.support.start_fixtures import StartGateway, StartSandbox

QUICK = Retries(total_s=30, first_s=0.02, most_s=0.2)


@pytest.fixture
async def studio(start_gateway: StartGateway, start_sandbox: StartSandbox) -> Running:
    """A gateway that works, in front of a quick vendor."""
    sandbox = await start_sandbox(scale=400)
    return await start_gateway(sandbox)


def connect(url: str, **given: Any) -> GatewayClient:
    return GatewayClient(url, ADMIN_KEY, **{"retries": QUICK, "trust_env": False, **given})


def threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "tempolor-gateway-client"]


async def test_a_plain_program_submits_waits_follows_and_lists(studio: Running) -> None:
    def program() -> Task:
        with connect(studio.url) as client:
            task = client.submit("song.generate", SONG, reference="order-17")
            shown = list(client.stream(task.id))
            ended = client.wait(task.id, timeout_s=60)
            assert client.get(task.id) == ended == shown[-1]
            others = [client.submit("lyrics.generate", {"prompt": "rain"}) for _ in range(3)]
            assert [one.id for one in client.list(kind="lyrics.generate", page_size=2)] == [
                one.id for one in reversed(others)
            ]
            assert client.timeline(task.id)[0].type == "accepted"
            assert list(client.notifications()) == []
            with pytest.raises(NotFound):
                client.get("nothing")
            return ended

    assert (await asyncio.to_thread(program)).status == "succeeded"
    assert threads() == []


@on_sqlite
async def test_several_threads_share_a_client(studio: Running) -> None:
    with connect(studio.url) as client:

        def program() -> Task:
            return client.wait(client.submit("lyrics.generate", {"prompt": "rain"}).id, timeout_s=60)

        found = await asyncio.gather(*(asyncio.to_thread(program) for _ in range(4)))
        assert {one.status for one in found} == {"succeeded"}
        assert len({one.id for one in found}) == 4
        # The thread that serves is the test's own, so it must not be the one that waits for the end.
        await asyncio.to_thread(client.close)


@on_sqlite
async def test_an_iterator_that_is_left_gives_its_connection_back(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(workers=False)
    gateway.gateway.services.heartbeat_s = 0.1
    streams = gateway.gateway.services.watch._task_streams

    def program(client: GatewayClient) -> None:
        task = client.submit("song.generate", SONG)
        for one in client.stream(task.id):
            assert one.id == task.id
            break
        stream = client.stream(task.id)
        next(stream)
        stream.close()
        forgotten = client.stream(task.id)
        next(forgotten)
        del forgotten
        gc.collect()
        end = time.monotonic() + 20
        while streams and time.monotonic() < end:
            time.sleep(0.05)
        assert streams == {}
        # One that is still open when the client is closed ends with it.
        stream = client.stream(task.id)
        next(stream)
        client.close()
        with pytest.raises(RuntimeError, match="closed"):
            next(stream)

    await asyncio.to_thread(program, connect(gateway.url))
    assert threads() == []


def test_a_closed_client_says_so_and_closing_twice_is_nothing() -> None:
    client = connect("http://127.0.0.1:9")
    client.close()
    client.close()
    for call in (lambda: client.get("x"), lambda: list(client.list()), lambda: client.wait("x")):
        with pytest.raises(RuntimeError, match="closed"):
            call()
    assert threads() == []


def test_errors_come_through_without_any_loop() -> None:
    with connect("http://127.0.0.1:9", retries=Retries(total_s=0.2)) as client:
        with pytest.raises(Unavailable):
            client.get("x")
        with pytest.raises(Unavailable):
            next(client.stream("x"))
    with connect("http://127.0.0.1:9") as client, pytest.raises(WaitTimeout):
        client.wait("x", timeout_s=0.1)


@on_sqlite
async def test_closing_ends_a_call_that_waits_in_another_thread(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(workers=False)
    async with proxied(gateway.url) as proxy:
        client = connect(proxy.url)
        task = await asyncio.to_thread(client.submit, "song.generate", SONG)
        waiting = asyncio.create_task(asyncio.to_thread(client.wait, task.id))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(client.close)
        with pytest.raises((RuntimeError, Unavailable)):
            await asyncio.wait_for(waiting, 20)
