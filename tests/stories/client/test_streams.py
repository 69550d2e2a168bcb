"""Streams: each version once, to the end, whatever happens to the connection."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any
from uuid import UUID

import pytest

from app.watching.streams import ClientStream
from tempolor_gateway_client import AsyncGatewayClient, NotFound, Retries, Unavailable
from tempolor_gateway_client.follow import Seen
from tempolor_gateway_client.results import read, task
from tempolor_gateway_client.sse import Event, read_events
from tests.support.cut_proxy import answering, proxied
from tests.support.databases import on_sqlite
from tests.support.gateway import SONG, Running, eventually, running_gateway
from tests.support.song_callbacks import done, song
from tests.support.start_fixtures import StartGateway, StartSandbox


def told(status: str, version: int) -> dict[str, Any]:
    """The least that is a task."""
    at = "2026-01-31T12:00:00Z"
    return {
        "id": "0192", "kind": "song.generate", "status": status, "version": version, "client": "studio",
        "created_at": at, "updated_at": at, "shelf": 3,
    }  # fmt: skip


async def events_in(*pieces: bytes) -> list[Event]:
    async def given() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return [event async for event in read_events(given())]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
async def test_a_stream_is_read_whatever_its_lines_end_with_and_however_it_is_cut(end: str) -> None:
    lines = [
        *("\ufeff: ping", "id: 1", "retry: 1500", ""),
        *("event: task", 'data: {"title":', 'data: "Hafen\u2028lichter \u0085"}', "id:2", ""),
        *("data", "unknown: x", ""),
        *(": ping", "", "", "id: 9\0", "retry: soon", ""),
        *("event: task", "id: 7", "data: cut off"),
    ]
    expected = [
        Event("message", None, "1", 1.5),
        Event("task", '{"title":\n"Hafen\u2028lichter \u0085"}', "2", None),
        Event("message", "", None, None),
        Event("message", None, None, None),
    ]
    content = end.join(lines).encode()
    assert await events_in(content) == expected
    assert await events_in(*(content[at : at + 1] for at in range(len(content)))) == expected
    assert await events_in(content[:40], b"", content[40:77], content[77:]) == expected


def test_what_was_seen_is_remembered_within_bounds() -> None:
    seen = Seen(most=2)
    one, two, three = (read(task, {**told("running", 5), "id": name}) for name in ("1", "2", "3"))
    assert [seen.is_new(shown) for shown in (one, one, two, three, two, one)] == [True, False, True, True, False, True]


async def test_a_tasks_stream_ends_with_the_task(studio: tuple[Running, AsyncGatewayClient]) -> None:
    _, client = studio
    submitted = await client.submit("song.generate", SONG)
    async with asyncio.timeout(60):
        shown = [one async for one in client.stream(submitted.id)]
    versions = [one.version for one in shown]
    assert versions == sorted(set(versions))
    assert (shown[-1].status, shown[-1].complete) == ("succeeded", True)
    assert shown[-1] == await client.get(submitted.id)
    # Also for whoever comes when all is over.
    assert [one async for one in client.stream(submitted.id)] == [shown[-1]]


async def test_a_stream_that_was_cut_goes_on_and_misses_no_end(
    start_gateway: StartGateway, connect: Callable[..., AsyncGatewayClient]
) -> None:
    gateway = await start_gateway(workers=False)
    async with proxied(gateway.url) as proxy:
        client = connect(proxy.url)
        submitted = await client.submit("song.generate", SONG)
        async with aclosing(client.stream(submitted.id)) as stream, asyncio.timeout(60):
            assert await anext(stream) == submitted
            await gateway.call_back("song", song(status="running"), UUID(submitted.id))
            assert (await anext(stream)).status == "running"
            upstream, proxy.upstream = proxy.upstream, None
            proxy.cut()
            await gateway.call_back("song", song(status="main_succeeded"), UUID(submitted.id))
            waiting = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0.3)
            proxy.upstream = upstream
            assert (await waiting).status == "main_succeeded"
            proxy.cut()
            await gateway.call_back("song", done(), UUID(submitted.id))
            assert [one.status async for one in stream] == ["succeeded"]
        resumed = [head for head in proxy.heads if "last-event-id" in head.lower()]
        assert len(resumed) >= 3


async def test_all_tasks_are_followed_over_cuts_and_each_version_is_told_once(
    start_gateway: StartGateway, connect: Callable[..., AsyncGatewayClient]
) -> None:
    gateway = await start_gateway(workers=False)
    gateway.gateway.services.heartbeat_s = 0.1
    async with proxied(gateway.url) as proxy:
        client = connect(proxy.url)
        tasks = [await client.submit("song.generate", SONG) for _ in range(3)]
        seen = []

        async def follow() -> None:
            async for one in client.stream_all():
                seen.append((one.id, one.version, one.status))

        following = asyncio.create_task(follow())

        async def is_followed() -> set[ClientStream]:
            return gateway.gateway.services.watch._client_streams

        await eventually(is_followed)
        await asyncio.sleep(0.4)  # a few heartbeats
        for number, one in enumerate(tasks):
            await gateway.call_back("song", song(f"t2m_{number}", "running"), UUID(one.id))
            proxy.cut()
            await gateway.call_back("song", done(f"t2m_{number}"), UUID(one.id))
            await asyncio.sleep(0.1)

        async def all_ended() -> bool:
            return {one[0] for one in seen if one[2] == "succeeded"} == {one.id for one in tasks}

        await eventually(all_ended, 40)
        following.cancel()
        assert len({one[:2] for one in seen}) == len(seen)


async def test_a_stream_lives_through_a_restart_of_the_gateway(
    database_url: str, start_sandbox: StartSandbox, connect: Callable[..., AsyncGatewayClient]
) -> None:
    sandbox = await start_sandbox(scale=400)
    async with proxied() as proxy, asyncio.timeout(90):
        client = connect(proxy.url)
        async with running_gateway(database_url, workers=False) as gateway:
            proxy.upstream = int(gateway.url.rpartition(":")[2])
            submitted = await client.submit("song.generate", SONG)
            stream = client.stream(submitted.id)
            assert (await anext(stream)).status == "queued"
            gateway.gateway.drain()
        proxy.upstream = None
        async with running_gateway(database_url, tempolor_base_url=sandbox.base_url) as gateway:
            proxy.upstream = int(gateway.url.rpartition(":")[2])
            assert [one.status async for one in stream][-1] == "succeeded"


@on_sqlite
async def test_who_follows_nothing_or_nobody_is_told(
    start_gateway: StartGateway, connect: Callable[..., AsyncGatewayClient]
) -> None:
    gateway = await start_gateway(workers=False)
    with pytest.raises(NotFound):
        await anext(connect(gateway.url).stream("0192aaaa-0000-7000-8000-000000000000"))
    nowhere = connect("http://127.0.0.1:9", retries=Retries(total_s=0.3, first_s=0.05))
    with pytest.raises(Unavailable):
        await anext(nowhere.stream_all())


async def test_a_stream_that_repeats_itself_is_told_once_and_what_is_unknown_is_passed_over(
    connect: Callable[..., AsyncGatewayClient],
) -> None:
    def block(version: int, status: str = "running", event: str = "task", more: str = "") -> str:
        return f"id: {version}\r\nevent: {event}\r\ndata: {json.dumps(told(status, version))}\r\n{more}\r\n"

    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    first = head + "retry: 50\r\n\r\n" + block(2) + block(1) + block(9, event="weather") + block(3)
    second = head + block(3) + block(4) + "id: 5\r\nevent: task\r\ndata: {"
    answers = [first, second, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", head + ": ping\r\n\r\n"]
    over = "HTTP/1.1 204 No Content\r\n\r\n"
    async with answering(*(one.encode() for one in [*answers, over])) as (url, requests):
        shown = [one async for one in connect(url).stream("0192")]
    assert [one.version for one in shown] == [2, 3, 4]
    assert shown[0].raw["shelf"] == 3
    ids = [next((line for line in one.decode().split("\r\n") if "last-event" in line.lower()), "") for one in requests]
    assert [one.rpartition(" ")[2] for one in ids] == ["", "3", "4", "4", "4"]
