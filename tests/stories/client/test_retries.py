"""What a client does while the gateway cannot be reached, loses answers or says "not now"."""

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tempolor_gateway_client import (
    AsyncGatewayClient,
    Conflict,
    GatewayError,
    NewTask,
    Retries,
    Unavailable,
    UnexpectedAnswer,
)
from tempolor_gateway_client.errors import read_retry_after
from tests.support.cut_proxy import answer, answering, proxied
from tests.support.databases import on_sqlite
from tests.support.gateway import SONG, running_gateway
from tests.support.start_fixtures import StartGateway, StartSandbox
from tests.support.virtual_time import monotonic

PROBLEM = '{"code": "unavailable", "detail": "over capacity", "status": 503}'


def keys_in(heads: list[str]) -> list[str]:
    return [found for head in heads for found in re.findall(r"(?i)^idempotency-key: (.*)$", head, re.MULTILINE)]


async def listed(client: AsyncGatewayClient) -> list[str]:
    return [task.id async for task in client.list()]


async def test_an_answer_that_was_lost_makes_no_second_task(
    start_gateway: StartGateway, connect: Callable[..., AsyncGatewayClient]
) -> None:
    gateway = await start_gateway(workers=False)
    async with proxied(gateway.url, lose=1) as proxy:
        client = connect(proxy.url)
        task = await client.submit("song.generate", SONG)
        assert await listed(client) == [task.id]
        keys = [key.strip() for key in keys_in(proxy.heads)]
        assert len(keys) == 2
        assert len(set(keys)) == 1
        proxy.lose = 2
        both = await client.submit_many([NewTask(kind="song.generate", params=SONG)] * 2)
        assert sorted(await listed(client)) == sorted([task.id, *(one.id for one in both)])
        other = await client.submit("song.generate", SONG)
        assert other.id not in {task.id, *(one.id for one in both)}


@on_sqlite
async def test_actions_whose_answers_were_lost_are_done_once(
    start_gateway: StartGateway, connect: Callable[..., AsyncGatewayClient]
) -> None:
    gateway = await start_gateway(workers=False)
    async with proxied(gateway.url) as proxy:
        client = connect(proxy.url)
        task = await client.submit("song.generate", SONG)
        proxy.lose = 1
        assert (await client.cancel(task.id)).status == "canceled"
        proxy.lose = 1
        again = await client.retry(task.id)
        assert sorted(await listed(client)) == sorted([task.id, again.id])
        with pytest.raises(Conflict):
            await client.retry(again.id)


@on_sqlite
async def test_without_retries_the_first_failure_is_told(
    start_gateway: StartGateway, connect: Callable[..., AsyncGatewayClient]
) -> None:
    gateway = await start_gateway(workers=False)
    async with proxied(gateway.url, lose=1) as proxy:
        client = connect(proxy.url, retries=Retries(total_s=0))
        with pytest.raises(Unavailable) as caught:
            await client.submit("song.generate", SONG)
        assert (caught.value.status, caught.value.code) == (None, "unreachable")
        assert len(await listed(client)) == 1


async def test_not_now_is_tried_again_when_the_gateway_says(connect: Callable[..., AsyncGatewayClient]) -> None:
    busy = answer("503 Service Unavailable", PROBLEM, "Retry-After: 1", "Connection: close")
    task = '{"data": [], "next_cursor": null}'
    async with answering(busy, answer("429 Too Many Requests", "{}"), answer("200 OK", task)) as (url, requests):
        began = monotonic()
        assert await connect(url).timeline("x") == ()
        assert monotonic() - began >= 1
        assert len(requests) == 3
    async with answering(busy) as (url, requests):
        with pytest.raises(Unavailable) as caught:
            await connect(url, retries=Retries(total_s=0.9)).get("x")
        assert (caught.value.status, caught.value.code, caught.value.retry_after_s) == (503, "unavailable", 1)
        assert caught.value.detail == "over capacity"
        assert len(requests) == 1


@pytest.mark.parametrize("status", ["502 Bad Gateway", "504 Gateway Timeout"])
async def test_a_bad_gateway_on_the_way_is_tried_again_for_a_bounded_time(
    connect: Callable[..., AsyncGatewayClient], status: str
) -> None:
    async with answering(answer(status, "<html>", "Connection: close")) as (url, requests):
        began = monotonic()
        with pytest.raises(Unavailable) as caught:
            await connect(url, retries=Retries(total_s=0.5, first_s=0.05)).get("x")
        assert monotonic() - began < 3
        assert caught.value.code == f"http_{status[:3]}"
        assert 3 <= len(requests) <= 20


async def test_an_answer_that_does_not_come_is_not_waited_for(connect: Callable[..., AsyncGatewayClient]) -> None:
    silent = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n"
    release = asyncio.Event()

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A byte now and then keeps a mere read time-out from ever striking.
        for byte in silent:
            if release.is_set() or writer.is_closing():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.1)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        began = monotonic()
        with pytest.raises(Unavailable) as caught:
            await connect(url, timeout_s=0.4, retries=Retries(total_s=0)).get("x")
        assert caught.value.code == "timed_out"
        assert monotonic() - began < 3
        release.set()
        await asyncio.sleep(0.15)


async def test_what_no_repeat_can_mend_is_told_at_once(connect: Callable[..., AsyncGatewayClient]) -> None:
    for status, made in (("500 Internal Server Error", GatewayError), ("302 Found", GatewayError)):
        async with answering(answer(status, '{"detail": "no"}')) as (url, requests):
            with pytest.raises(made) as caught:
                await connect(url).get("x")
            assert type(caught.value) is GatewayError
            assert caught.value.status == int(status[:3])
            assert len(requests) == 1
    for body in ("<html>", "[]", '{"id": 1}', "null"):
        async with answering(answer("200 OK", body)) as (url, requests):
            with pytest.raises(UnexpectedAnswer):
                await connect(url).get("x")
            assert len(requests) == 1


async def test_a_wait_lives_through_a_restart_of_the_gateway(
    database_url: str, start_sandbox: StartSandbox, connect: Callable[..., AsyncGatewayClient]
) -> None:
    sandbox = await start_sandbox(scale=400)
    async with proxied() as proxy:
        client = connect(proxy.url)
        async with running_gateway(database_url, workers=False) as gateway:
            proxy.upstream = int(gateway.url.rpartition(":")[2])
            task = await client.submit("song.generate", SONG)
            waiting = asyncio.create_task(client.wait(task.id, timeout_s=90))
            await asyncio.sleep(0.3)
            assert not waiting.done()
            gateway.gateway.drain()
        proxy.upstream = None
        proxy.cut()
        await asyncio.sleep(0.3)
        async with running_gateway(database_url, tempolor_base_url=sandbox.base_url) as gateway:
            proxy.upstream = int(gateway.url.rpartition(":")[2])
            assert (await waiting).status == "succeeded"


def test_a_retry_after_is_seconds_or_a_date() -> None:
    now = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert read_retry_after("7") == 7
    assert read_retry_after("Sat, 31 Jan 2026 12:00:30 GMT", now) == 30
    assert read_retry_after("Sat, 31 Jan 2026 11:00:00 GMT", now) == 0
    assert [read_retry_after(text, now) for text in (None, "", "soon", "-1", "1.5")] == [None] * 5
    assert read_retry_after("Sat, 31 Jan 2026 12:00:30 -0000", now + timedelta(seconds=10)) == 20
