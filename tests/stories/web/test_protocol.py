"""What HTTP/1 leaves to a sender: to offer another protocol, to close its side, to be old, to send trailers."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from uuid import UUID

import pytest

from app.web.connections import Limits
from tests.support.databases import on_sqlite
from tests.support.gateway import ADMIN_KEY, SONG, Running, eventually
from tests.support.sockets import Line, answers_of, served, status_of
from tests.support.song_callbacks import song

pytestmark = on_sqlite

KEY = f"Authorization: Bearer {ADMIN_KEY}\r\n".encode()
TASK = json.dumps({"kind": "song.generate", "params": SONG}).encode()
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
OFFERS = {
    "h2c": H2C,
    "h2c without settings": b"Upgrade: h2c\r\nConnection: upgrade\r\n",
    "websocket": b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "tls": b"Upgrade: TLS/1.0, HTTP/1.1\r\nConnection: Upgrade\r\n",
    "several": b"Upgrade: foo/2\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nConnection: HTTP2-Settings\r\n",
}


@pytest.fixture
async def port(gateway: Running) -> AsyncIterator[int]:
    async with served(gateway, Limits()) as port:
        yield port


def post(target: bytes, body: bytes, more: bytes = KEY, *, chunked: bool = False, version: bytes = b"1.1") -> bytes:
    """A whole request."""
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    if chunked:
        half = len(body) // 2
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:])) + b"0\r\n\r\n"
    return b"POST %s HTTP/%s\r\nHost: x\r\n%s%s\r\n\r\n%s" % (target, version, more, framing, body)


def in_one(request: bytes) -> list[bytes]:
    return [request]


def head_first(request: bytes) -> list[bytes]:
    head, gap, body = request.partition(b"\r\n\r\n")
    return [head + gap, body]


def byte_by_byte(request: bytes) -> list[bytes]:
    return [bytes([one]) for one in request]


async def _callback(gateway: Running) -> tuple[str, bytes]:
    task = await gateway.submit()
    return task["id"], gateway.callback_url("song", UUID(task["id"])).removeprefix(gateway.url).encode()


WAYS = [(pieces, chunked) for pieces in (in_one, head_first, byte_by_byte) for chunked in (False, True)]
"""In one segment, the head first, or byte by byte; with a length or chunked."""


async def test_an_offer_of_another_protocol_is_passed_over(gateway: Running, port: int) -> None:
    """Each offer comes in some of the ways, and each way with some of the offers. And the connection goes on."""
    tried = [(offer, *WAYS[(at + 2 * turn) % len(WAYS)]) for at, offer in enumerate(OFFERS) for turn in range(3)]
    tried += [("h2c", *way) for way in WAYS]
    for offer, pieces, chunked in tried:
        task_id, target = await _callback(gateway)
        async with Line(port) as line:
            for request, status in (
                (post(target, json.dumps(song(f"t2m_{task_id}")).encode(), OFFERS[offer], chunked=chunked), 200),
                (post(b"/v1/tasks", TASK, KEY + OFFERS[offer], chunked=chunked), 202),
                (b"GET /v1/tasks?limit=1 HTTP/1.1\r\nHost: x\r\n" + KEY + OFFERS[offer] + b"\r\n", 200),
                (GET, 200),
            ):
                for piece in pieces(request):
                    await line.send(piece)
                    if len(piece) > 1:
                        await asyncio.sleep(0.01)
                [answer] = await answers_of(line, 1)
                assert status_of(answer) == status, (offer, pieces, chunked)
                assert b"upgrade" not in answer.partition(b"\r\n\r\n")[0].lower(), (offer, pieces, chunked)
        assert (await gateway.task(task_id))["status"] == "running"
    assert len((await gateway.api.get("/v1/tasks?limit=200")).json()["data"]) == 2 * len(tried)


async def test_offers_may_be_pipelined(gateway: Running, port: int) -> None:
    _, target = await _callback(gateway)
    async with Line(port) as line:
        await line.send(
            post(target, json.dumps(song("t2m_1")).encode(), H2C)
            + GET
            + post(b"/v1/tasks", TASK, KEY + H2C, chunked=True)
            + post(b"/v1/tasks", TASK, KEY)
            + (b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + H2C + b"\r\n") * 200
            + GET
        )
        assert [status_of(one) for one in await answers_of(line, 205)] == [200, 200, 202, 202, *[200] * 201]


async def test_an_offer_that_asks_to_close_is_answered_and_closed(port: int) -> None:
    for more in (b"Connection: close, upgrade\r\nUpgrade: h2c\r\n", b"Connection: upgrade\r\nUpgrade: h2c\r\n"):
        version = b"1.1" if b"close" in more else b"1.0"
        async with Line(port) as line:
            await line.send(post(b"/v1/tasks", TASK, KEY + more, version=version))
            assert status_of(await line.rest()) == 202


async def test_the_head_of_an_offer_has_the_same_limits(port: int) -> None:
    async with Line(port) as line:
        await line.send(b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n" + H2C + b"\r\n")
        assert status_of(await line.rest()) == 414


NOT_SPOKEN = [
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", 505),
    (b"GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    (b"GET /healthz HTTP/3\r\nHost: x\r\n\r\n", 505),
    (b"GET /healthz HTTP/0.9\r\n\r\n", 505),
    (b"GET /healthz HTTP/1.2\r\nHost: x\r\n\r\n", 505),
    (b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", 501),
    (b"CONNECT / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
    (b"GET /healthz\r\n\r\n", 505),
    (b"GET /healthz SIP/2.0\r\n\r\n", 400),
]


async def test_what_is_not_spoken_is_named_and_ended(port: int) -> None:
    for request, status in NOT_SPOKEN:
        async with Line(port) as line:
            await line.send(request)
            answer = await line.rest()
            assert (request, status_of(answer)) == (request, status)
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == status
            assert b"connection: close" in answer.lower(), request


async def test_a_trailer_is_no_header(gateway: Running, port: int) -> None:
    """Else who speaks through a proxy would choose the address that it is known by, or bring a key past it."""
    body = b"Host: x\r\nTransfer-Encoding: chunked\r\n%s\r\n%x\r\n%s\r\n0\r\n%s\r\n"
    for head, trailer, status in ((KEY, b"X-Note: 1\r\n", 202), (b"", KEY, 401)):
        async with Line(port) as line:
            await line.send(b"POST /v1/tasks HTTP/1.1\r\n" + body % (head, len(TASK), TASK, trailer) + GET)
            assert [status_of(one) for one in await answers_of(line, 2)] == [status, 200]


async def test_http_1_0_gets_no_chunks_and_one_connection_header(gateway: Running, port: int) -> None:
    task = await gateway.submit()
    for target in (f"/v1/tasks/{task['id']}/stream", "/v1/stream"):
        async with Line(port) as line:
            await line.send(b"GET %s HTTP/1.0\r\n%sConnection: keep-alive\r\n\r\n" % (target.encode(), KEY))
            head, body = await _stream_begun(line)
            assert status_of(head) == 200
            assert b"transfer-encoding" not in head.lower()
            assert head.lower().count(b"\r\nconnection: ") == 1
            assert b"\r\nconnection: close" in head.lower()
            # Not the length of a chunk.
            assert body.startswith((b"id:", b"event:", b"retry:"))
    for path, has_body in ((b"/healthz", True), (b"/v1/tasks", True), (b"/nothing", True)):
        for method in (b"GET", b"HEAD"):
            async with Line(port) as line:
                await line.send(b"%s %s HTTP/1.0\r\n%s\r\n" % (method, path, KEY))
                head, _, body = (await line.rest()).partition(b"\r\n\r\n")
                assert b"transfer-encoding" not in head.lower()
                assert bool(body) == (has_body and method == b"GET")


async def test_an_answer_in_between_is_given_to_who_asks_and_may_have_one(gateway: Running, port: int) -> None:
    expecting = KEY + b"Expect: 100-continue\r\n"
    for version, more, statuses in (
        (b"1.1", b"", [100, 202]),
        (b"1.1", H2C, [100, 202]),
        (b"1.0", b"", [202]),
    ):
        async with Line(port) as line:
            await line.send(post(b"/v1/tasks", TASK, expecting + more, version=version))
            assert [status_of(one) for one in await answers_of(line, len(statuses))] == statuses
    # Who is refused need not send its body.
    async with Line(port) as line:
        await line.send(b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\n" + expecting + b"Content-Length: 9000000\r\n\r\n")
        [answer] = await answers_of(line, 1)
        assert status_of(answer) == 413


async def test_a_stream_has_one_connection_header_at_most(gateway: Running, port: int) -> None:
    async with Line(port) as line:
        await line.send(b"GET /v1/stream HTTP/1.1\r\nHost: x\r\n" + KEY + b"\r\n")
        head, _ = await _stream_begun(line)
        assert b"transfer-encoding: chunked" in head.lower()
        assert head.lower().count(b"\r\nconnection: ") <= 1
        gateway.gateway.drain()
    async with Line(port) as line:
        await line.send(b"GET /v1/stream HTTP/1.1\r\nHost: x\r\n" + KEY + b"\r\n")
        head = (await line.rest()).partition(b"\r\n\r\n")[0]
        assert head.lower().count(b"\r\nconnection: ") == 1


async def _stream_begun(line: Line) -> tuple[bytes, bytes]:
    heard = b""
    while not (part := heard.partition(b"\r\n\r\n"))[2]:
        heard += await line.read()
    return part[0], part[2]


async def test_a_sender_that_closes_its_side_gets_its_answer(gateway: Running, port: int) -> None:
    task_id, target = await _callback(gateway)
    for request, status in (
        (post(target, json.dumps(song("t2m_1", "succeeded")).encode(), b""), 200),
        (post(b"/v1/tasks", TASK), 202),
        (post(b"/v1/tasks", TASK, KEY + H2C, chunked=True), 202),
        (post(b"/v1/tasks/batch", b'{"tasks": [%s]}' % TASK), 202),
        (GET, 200),
        (b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET /v1/tasks/%s HTTP/1.0\r\n%s\r\n" % (task_id.encode(), KEY), 200),
        (b"GET /v1/tasks/%s?wait=1 HTTP/1.1\r\nHost: x\r\n%s\r\n" % (task_id.encode(), KEY), 200),
        (b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    ):
        async with Line(port) as line:
            await line.send(request)
            line.send_no_more()
            answer = await line.rest()
            assert (request[:40], status_of(answer)) == (request[:40], status)
    assert len((await gateway.api.get("/v1/tasks")).json()["data"]) == 4
    async with Line(port) as line:
        await line.send(b"GET /v1/tasks/%s/stream HTTP/1.1\r\nHost: x\r\n%s\r\n" % (task_id.encode(), KEY))
        line.send_no_more()
        head, body = await _stream_begun(line)
        assert status_of(head) == 200
        assert task_id.encode() in body
        gateway.gateway.drain()
        await line.rest()


async def test_all_that_was_asked_before_a_side_was_closed_is_answered(port: int) -> None:
    async with Line(port) as line:
        await line.send(post(b"/v1/tasks", TASK) * 5 + GET)
        line.send_no_more()
        assert [status_of(one) for one in await answers_of(line, 6)] == [202] * 5 + [200]
        assert await line.rest() == b""


async def test_a_body_that_breaks_off_when_a_side_is_closed_is_not_taken(gateway: Running, port: int) -> None:
    for request in (post(b"/v1/tasks", TASK)[:-1], post(b"/v1/tasks", TASK, chunked=True)[:-2], GET[:-2]):
        async with Line(port) as line:
            await line.send(request)
            line.send_no_more()
            assert await line.rest() == b""
    assert (await gateway.api.get("/v1/tasks")).json()["data"] == []


async def test_a_wait_ends_when_its_caller_closes_its_side_and_a_stream_too(gateway: Running, port: int) -> None:
    """Both have gone, or might have: nothing is held for them. Who still reads has its answer."""
    task = await gateway.submit()
    path = f"/v1/tasks/{task['id']}".encode()
    for what, target in (("waits", path + b"?wait=60"), ("streams", path + b"/stream")):
        async with Line(port) as line:
            await line.send(b"GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n" % (target, KEY))
            await eventually(partial(_held, gateway, what, 1))
            if what == "streams":
                await _stream_begun(line)
            line.send_no_more()
            answer = await line.rest(timeout_s=20)
            if what == "waits":
                assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == "queued"
        await eventually(partial(_held, gateway, what, 0))


async def _held(gateway: Running, what: str, count: int) -> bool:
    return f'gateway_watchers{{what="{what}"}} {count}.0' in (await gateway.api.get("/metrics")).text


async def test_noise_behind_a_request_does_not_take_its_answer(gateway: Running, port: int) -> None:
    """A body that is longer than it says, for one: its task is taken, and 400 would say that it was not."""
    for noise in (
        b"}",
        b"\x00\x01\x02\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nBad header\r\n\r\n",
    ):
        async with Line(port) as line:
            await line.send(post(b"/v1/tasks", TASK) + noise)
            [answer] = await answers_of(line, 1)
            assert status_of(answer) == 202
            assert await line.rest() == b""
    assert len((await gateway.api.get("/v1/tasks")).json()["data"]) == 4
