"""Slow, endless, huge and too many: each is ended by a limit, and nobody else notices."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from itertools import product
from typing import Any

import pytest

from app.web.connections import Limits
from tests.support.databases import on_sqlite
from tests.support.gateway import ADMIN_KEY, SONG, Running, eventually
from tests.support.sockets import Line, served, status_of
from tests.support.virtual_time import monotonic

pytestmark = on_sqlite

LIMITS = Limits(head_timeout_s=0.6, unread_timeout_s=0.6, linger_s=0.4)
KEY = f"Authorization: Bearer {ADMIN_KEY}\r\n".encode()
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
async def port(gateway: Running) -> AsyncIterator[int]:
    async with served(gateway, LIMITS) as port:
        yield port


def problem_of(answer: bytes) -> dict[str, object]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    assert b"nosniff" in head
    return json.loads(body)


async def test_a_connection_that_asks_nothing_is_closed(port: int) -> None:
    async with Line(port) as line:
        assert await line.rest(timeout_s=5) == b""


async def test_headers_that_never_end_are_ended(port: int) -> None:
    """Also where what trickles is no request at all: each byte would put off the time of an idle connection."""
    begun = {"from the first byte": b"", "in the headers": b"GET /healthz HTTP/1.1\r\nHost: x\r\n", "after one": GET}
    drips = {"headers": b"X-A: b\r\n", "a line that never ends": b"G", "empty lines": b"\r\n"}
    for (start, first), (kind, drip) in product(begun.items(), drips.items()):
        async with Line(port) as line:
            if first:
                await line.send(first)
            if first == GET:
                assert status_of(await line.read()) == 200
            took = await line.trickle(drip, every_s=0.05, timeout_s=8)
            assert took < 6, (start, kind)
            assert not line.heard or status_of(line.heard) in (200, 400, 408), (start, kind)


async def test_slow_headers_are_answered_408(port: int) -> None:
    async with Line(port) as line:
        await line.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        answer = await line.rest(timeout_s=5)
        assert status_of(answer) == 408
        assert problem_of(answer)["code"] == "too_slow"


async def test_an_ordinary_connection_outlives_the_time_for_headers(port: int) -> None:
    async with Line(port) as line:
        for _ in range(4):
            await line.send(GET)
            assert status_of(await line.read()) == 200
            await asyncio.sleep(0.3)


async def test_a_long_answer_outlives_the_time_for_headers(port: int) -> None:
    async with Line(port) as line:
        await line.send(b"GET /v1/stream HTTP/1.1\r\nHost: x\r\n" + KEY + b"\r\n")
        assert status_of(await line.read()) == 200
        with pytest.raises(TimeoutError):
            await line.rest(timeout_s=1.5)


@pytest.mark.parametrize("chunk", [1024, 1_000_000], ids=["in parts", "at once"])
async def test_a_head_over_the_limit_is_431(port: int, chunk: int) -> None:
    head = b"GET /healthz HTTP/1.1\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"v" * 1000) for n in range(80)) + b"\r\n"
    await _refused(port, head, chunk, 431)


async def test_a_single_header_over_the_limit_is_431(port: int) -> None:
    await _refused(port, b"GET /healthz HTTP/1.1\r\nX: " + b"v" * 200_000, 1024, 431)


async def test_a_url_over_the_limit_is_414(port: int) -> None:
    await _refused(port, b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 1_000_000, 414)


async def _refused(port: int, head: bytes, chunk: int, status: int) -> None:
    async with Line(port) as line:
        closed = asyncio.ensure_future(line.rest())
        try:
            for start in range(0, len(head), chunk):
                await line.send(head[start : start + chunk])
                await asyncio.sleep(0)
        except OSError:
            pass
        answer = await closed
        # What was still on its way may have broken the connection before the answer was read.
        if answer:
            assert status_of(answer) == status
            assert problem_of(answer)["status"] == status
    async with Line(port) as line:
        await line.send(GET)
        assert status_of(await line.read()) == 200


async def test_a_head_under_the_limit_is_served(port: int) -> None:
    head = b"GET /healthz HTTP/1.1\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"v" * 1000) for n in range(55)) + b"\r\n"
    async with Line(port) as line:
        await line.send(head)
        assert status_of(await line.read()) == 200


async def test_trailers_without_end_are_ended(gateway: Running) -> None:
    limits = Limits(head_timeout_s=30, most_head_bytes=16_384)
    head = b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\n" + KEY + b"Transfer-Encoding: chunked\r\n\r\n"
    async with served(gateway, limits) as port, Line(port) as line:
        await line.send(head + b"2\r\n{}\r\n0\r\n")
        closed = asyncio.ensure_future(line.rest())
        sent = 0
        while not closed.done() and sent < 4_000_000:
            try:
                await line.send(b"T: " + b"t" * 1000 + b"\r\n")
            except OSError:
                break
            sent += 1005
            await asyncio.sleep(0.001)
        assert sent < 4_000_000
        await closed


async def test_a_body_in_chunks_of_one_byte_is_no_overhead(gateway: Running) -> None:
    limits = Limits(most_head_bytes=1024)
    body = json.dumps({"kind": "song.generate", "params": SONG, "reference": "r" * 200}).encode().ljust(3000)
    head = b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\n" + KEY + b"Transfer-Encoding: chunked\r\n\r\n"
    async with served(gateway, limits) as port, Line(port) as line:
        await line.send(head)
        for start in range(0, len(body), 300):
            await line.send(b"".join(b"1\r\n%c\r\n" % byte for byte in body[start : start + 300]))
            await asyncio.sleep(0.01)
        await line.send(b"0\r\n\r\n")
        assert status_of(await line.read()) == 202


async def test_the_rest_of_a_refused_body_holds_nothing(port: int) -> None:
    """The answer is there long before the body ends; who goes on sending is cut off."""
    async with Line(port) as line:
        await line.send(b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        assert status_of(await line.read()) == 401
        assert await line.trickle(b" ", every_s=0.05, timeout_s=8) < 6


async def test_a_body_that_breaks_off_is_no_error_of_ours(
    gateway: Running, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with Line(port) as line:
        await line.send(b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\n" + KEY + b"Content-Length: 100000\r\n\r\n{")
        await eventually(lambda: _holds(gateway, 1))
    await eventually(lambda: _holds(gateway, 0))
    assert (await gateway.api.get("/healthz")).status_code == 200
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_body_of_a_client_that_trickles_is_408(gateway: Running) -> None:
    gateway.gateway.services.bodies.within_s = 0.5
    async with served(gateway, LIMITS) as port, Line(port) as line:
        await line.send(b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\n" + KEY + b"Content-Length: 100000\r\n\r\n{")
        await line.trickle(b" ", every_s=0.05, timeout_s=8)
        assert status_of(line.heard) == 408
        assert problem_of(line.heard)["code"] == "too_slow"
    assert gateway.gateway.services.bodies.taken == 0


async def test_the_bodies_being_read_are_bounded_together(gateway: Running) -> None:
    gateway.gateway.services.bodies.most_bytes = 100_000
    head = b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\n" + KEY + b"Content-Length: 90000\r\n\r\n"
    async with served(gateway, Limits()) as port, Line(port) as first:
        await first.send(head + b" " * 60_000)
        await eventually(lambda: _holds(gateway, 60_000))
        async with Line(port) as second:
            await second.send(head + b" " * 60_000)
            answer = await second.read()
            assert status_of(answer) == 503
            assert b"retry-after" in answer.lower()
        # What is small goes on.
        await gateway.submit()
    await eventually(lambda: _holds(gateway, 0))


async def _holds(gateway: Running, size: int) -> bool:
    return gateway.gateway.services.bodies.taken == size


async def test_an_answer_that_nobody_reads_is_cut(gateway: Running) -> None:
    for _ in range(6):
        await gateway.submit(metadata={"note": "x" * 60_000})
    ask = b"GET /v1/tasks?limit=200 HTTP/1.1\r\nHost: x\r\n" + KEY + b"\r\n"
    async with served(gateway, LIMITS) as port:
        async with Line(port) as line:
            await line.send(ask * 100)
            transport: Any = line._writer.transport
            transport.pause_reading()
            await asyncio.sleep(2)
            transport.resume_reading()
            read = len(await line.rest(timeout_s=15))
        assert read < 100 * 6 * 60_000
        async with Line(port) as line:
            await line.send(GET)
            assert status_of(await line.read()) == 200


async def test_a_slow_reader_that_goes_on_reading_gets_all_of_it(gateway: Running) -> None:
    """Its answer takes several times as long as a reader may take nothing, also while the connection is closing."""
    task = {"kind": "song.generate", "params": SONG, "metadata": {"note": "x" * 60_000}}
    assert (await gateway.api.post("/v1/tasks/batch", json={"tasks": [task] * 30})).status_code == 202
    ask = b"GET /v1/tasks?limit=200 HTTP/1.1\r\nHost: x\r\n" + KEY
    async with served(gateway, LIMITS) as port, Line(port) as line:
        await line.send((ask + b"\r\n") * 2 + ask + b"Connection: close\r\n\r\n")
        started, got = monotonic(), bytearray()
        while data := await line.read(100_000):
            got += data
            await asyncio.sleep(0.05)
        assert monotonic() - started > 3 * LIMITS.unread_timeout_s
    assert got.count(b"HTTP/1.1 200 OK") == 3
    assert len(got) > 5_400_000
    assert got.endswith(b'"next_cursor":null}')


async def test_over_the_connections_only_health_is_answered_and_then_nothing(gateway: Running) -> None:
    limits = Limits(head_timeout_s=30, most_connections=20, spare=5)
    async with served(gateway, limits) as port, AsyncExitStack() as stack:
        for _ in range(20):
            held = await stack.enter_async_context(Line(port))
            await held.send(b"GET /healthz HTTP/1.1\r\n")
        async with Line(port) as line:
            await line.send(b"GET /v1/tasks HTTP/1.1\r\nHost: x\r\n" + KEY + b"\r\n")
            answer = await line.rest()
            assert status_of(answer) == 503
            assert b"retry-after: 1" in answer.lower()
            assert problem_of(answer)["code"] == "unavailable"
        async with Line(port) as line:
            for path in (b"healthz", b"readyz", b"metrics"):
                await line.send(b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
                assert status_of(await line.read(500_000)) == 200
        spare: list[Any] = [await stack.enter_async_context(Line(port)) for _ in range(5)]
        for one in spare:
            await one.send(b"G")
        # Nothing is read of those beyond: they are closed as they come.
        for _ in range(3):
            async with Line(port) as line:
                assert await line.rest(timeout_s=5) == b""
    # With the crowd gone, everything is as before.
    assert (await gateway.api.get("/v1/tasks")).status_code == 200


async def test_a_connection_is_kept_for_longer_than_balancers_and_clients_keep_theirs(gateway: Running) -> None:
    """60 s is what most balancers have, 5 s what httpx has. A request into a connection that is just being closed is
    lost, and whether it was carried out is not known."""
    assert Limits().idle_s > 60
    async with served(gateway, Limits()) as port, Line(port) as line:
        assert await _is_kept(line, for_s=6)


async def test_while_many_connections_are_open_idle_ones_are_let_go_sooner(gateway: Running) -> None:
    limits = Limits(idle_s=30, crowded_idle_s=1, most_connections=20)
    async with served(gateway, limits) as port:
        async with Line(port) as line, AsyncExitStack() as stack:
            assert await _is_kept(line, for_s=1.5)
            for _ in range(10):
                await stack.enter_async_context(Line(port))
            assert not await _is_kept(line, for_s=5)
        async with Line(port) as line:
            assert await _is_kept(line, for_s=1.5)


async def _is_kept(line: Line, for_s: float) -> bool:
    """Whether a connection that has had an answer still gives another after so long."""
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    await line.send(request)
    assert status_of(await line.read()) == 200
    with suppress(TimeoutError):
        assert await line.read(timeout_s=for_s) == b""
        return False
    await line.send(request)
    return status_of(await line.read()) == 200


async def test_places_of_connections_that_ended_are_free_again(gateway: Running) -> None:
    limits = Limits(head_timeout_s=0.5, linger_s=0.3, most_connections=20, spare=5)
    async with served(gateway, limits) as port, AsyncExitStack() as stack:
        for _ in range(25):
            held = await stack.enter_async_context(Line(port))
            await held.send(b"G")

        async def served_again() -> bool:
            async with Line(port) as line:
                await line.send(b"GET /v1/tasks HTTP/1.1\r\nHost: x\r\n" + KEY + b"\r\n")
                answer = await line.read()
            return bool(answer) and status_of(answer) == 200

        await eventually(served_again)


async def test_what_is_no_http_is_refused_as_a_problem(port: int, caplog: pytest.LogCaptureFixture) -> None:
    """It is counted and not logged: anybody could fill the log."""
    for noise in (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"GET\r\n\r\n", b"\x00" * 50):
        async with Line(port) as line:
            await line.send(noise)
            answer = await line.rest()
            assert status_of(answer) == 400
            assert problem_of(answer)["code"] == "bad_request"
    assert caplog.records == []
    async with Line(port) as line:
        await line.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b'gateway_connections_refused_total{reason="bad_request"}' in await line.rest()
