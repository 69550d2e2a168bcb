"""Bodies over the limit are refused before they are read to their end, announced or not, and nothing is stored."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import pytest
from starlette.types import Message

from app.callbacks.admission import MOST_BYTES, MOST_ENTRIES
from app.callbacks.endpoint import CallbackEndpoint
from app.errors import Unavailable
from app.main import listen, make_server
from app.web.wrong_key_limit import FailureMeter
from tests.support.counted_calls import counted_calls
from tests.support.cyclic_garbage import garbage_of
from tests.support.databases import on_sqlite
from tests.support.direct_sql import Direct
from tests.support.gateway import Running
from tests.support.song_callbacks import assert_problem, logged, song
from tests.support.start_fixtures import StartGateway

LIMIT = 4096


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> Running:
    return await start_gateway(workers=False, callback_max_bytes=LIMIT)


def _body(size: int) -> bytes:
    """A good callback of this many bytes."""
    return json.dumps(song()).encode().ljust(size)


async def _chunks(body: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def _send(url: str, *parts: bytes, wait_s: float = 5) -> bytes:
    """Write bytes to the gateway's socket, and read until it has answered or closed."""
    parts_of_url = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts_of_url.hostname, parts_of_url.port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), wait_s) if wait_s else b""
    finally:
        writer.close()


def _head(url: str, *headers: str) -> bytes:
    return "\r\n".join([f"POST {urlsplit(url).path} HTTP/1.1", "Host: gateway", *headers, "", ""]).encode()


async def test_a_body_over_the_limit_is_413_and_nothing_is_stored(gateway: Running, db: Direct) -> None:
    task_id = UUID((await gateway.submit())["id"])
    url = gateway.callback_url("song", task_id)
    before = await db.everything()
    for content in (_body(LIMIT + 1), _body(50 * LIMIT), _chunks(_body(LIMIT + 1)), _chunks(_body(50 * LIMIT))):
        answer = await gateway.api.post(url, content=content)
        assert_problem(answer, 413, "payload_too_large")
    assert await db.everything() == before
    # Exactly the limit is fine, both ways.
    for content in (_body(LIMIT), _chunks(_body(LIMIT))):
        assert (await gateway.api.post(url, content=content)).status_code == 200
    assert [(one["size"], one["count"]) for one in await logged(gateway)] == [(LIMIT, 2)]


@on_sqlite
async def test_an_announced_length_is_refused_before_the_body_comes(gateway: Running, db: Direct) -> None:
    url = gateway.callback_url("song", UUID((await gateway.submit())["id"]))
    before = await db.everything()
    assert b" 413 " in await _send(url, _head(url, f"Content-Length: {10**12}"))
    assert b" 413 " in await _send(url, _head(url, f"Content-Length: {LIMIT + 1}"))
    # A wrong token is refused first, also without its body.
    assert b" 403 " in await _send(url, _head(url[:-1], "Content-Length: 100000"))
    assert await db.everything() == before


@on_sqlite
async def test_an_endless_chunked_body_is_answered_at_the_limit(gateway: Running, db: Direct) -> None:
    url = gateway.callback_url("song", UUID((await gateway.submit())["id"]))
    before = await db.everything()
    chunk = b"400\r\n" + b" " * 1024 + b"\r\n"
    answer = await _send(url, _head(url, "Transfer-Encoding: chunked"), *[chunk] * 5)
    assert b" 413 " in answer
    assert await db.everything() == before


@on_sqlite
async def test_a_sender_that_breaks_off_leaves_nothing_and_holds_no_place(gateway: Running, db: Direct) -> None:
    url = gateway.callback_url("song", UUID((await gateway.submit())["id"]))
    before = await db.everything()
    half = b'{"songs":[{"item_id":"t2m_1","status":"succeeded"}]}'
    for _ in range(12):
        await asyncio.gather(
            *(_send(url, _head(url, "Content-Length: 1000"), half, wait_s=0) for _ in range(30)),
            *(
                _send(url, _head(url, "Transfer-Encoding: chunked"), b"30\r\n" + half[:48] + b"\r\n", wait_s=0)
                for _ in range(30)
            ),
        )
    assert await db.everything() == before
    assert (await gateway.api.post(url, content=half)).status_code == 200


@on_sqlite
async def test_over_capacity_is_503_at_once_and_ends_with_the_load(gateway: Running, db: Direct) -> None:
    """Senders that dribble hold their places; whoever comes then is told when to come again."""
    url = gateway.callback_url("song", UUID((await gateway.submit())["id"]))
    place = urlsplit(url)
    held = [await asyncio.open_connection(place.hostname, place.port) for _ in range(520)]
    for _, writer in held:
        writer.write(_head(url, "Content-Length: 100") + b"{")
    await asyncio.sleep(0.5)
    answer = await gateway.api.post(url, json=song())
    assert_problem(answer, 503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert await logged(gateway) == []
    # The rest of the API does not suffer.
    assert (await gateway.api.get("/healthz")).status_code == 200
    for _, writer in held:
        writer.close()
    for _ in range(100):
        answer = await gateway.api.post(url, json=song())
        if answer.status_code == 200:
            break
        await asyncio.sleep(0.02)
    assert answer.status_code == 200


@asynccontextmanager
async def _hasty(gateway: Running, read_timeout_s: float) -> AsyncIterator[str]:
    """The gateway's callbacks on a port of their own, where a body must come within so long; the port's URL."""
    listener = listen("127.0.0.1", 0)
    endpoint = CallbackEndpoint(gateway.gateway.intake, FailureMeter(), LIMIT, (), read_timeout_s=read_timeout_s)
    server = make_server(endpoint, host="127.0.0.1", port=0)
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


@on_sqlite
async def test_a_body_that_does_not_come_is_408_and_its_place_is_free_again(gateway: Running, db: Direct) -> None:
    path = urlsplit(gateway.callback_url("song", UUID((await gateway.submit())["id"]))).path
    before = await db.everything()
    async with _hasty(gateway, read_timeout_s=1.5) as url:
        half = _head(f"{url}{path}", "Content-Length: 1000"), b'{"songs":[{"item_id":"t2m_1"}'
        answers = await asyncio.gather(*(_send(url, *half) for _ in range(MOST_ENTRIES)))
        assert {answer.partition(b"\r\n")[0].split()[1] for answer in answers} == {b"408"}
        # The rest of the body would be taken for the next request.
        assert all(b"connection: close" in answer.lower() for answer in answers)
        assert await db.everything() == before
        # All places were taken; and a whole body that follows finds one.
        answer = await gateway.api.post(f"{url}{path}", json=song())
        assert (answer.status_code, answer.text) == (200, "success")


@on_sqlite
async def test_a_body_that_is_too_large_is_not_kept_by_its_error(gateway: Running) -> None:
    """The collector comes seldom: a cycle of an error and a frame would hold each of a flood of bodies until then."""
    path = urlsplit(gateway.callback_url("song", UUID((await gateway.submit())["id"]))).path
    endpoint = CallbackEndpoint(gateway.gateway.intake, FailureMeter(), LIMIT, ())
    sent = []

    async def receive() -> Message:
        return {"type": "http.request", "body": bytes(LIMIT), "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    announced = [(b"content-length", b"%d" % (LIMIT + 1))]
    with garbage_of("_read", "_take") as held:
        for headers in ([], announced):
            await endpoint({"type": "http", "method": "POST", "path": path, "headers": headers}, receive, send)
    assert held == []
    assert [message["status"] for message in sent if "status" in message] == [413, 413]


@on_sqlite
async def test_a_request_that_ends_while_its_body_is_read_is_not_taken_for_late(gateway: Running) -> None:
    """The process ends, say: the cancellation goes on to whoever asked for it, and the place is free again."""
    path = urlsplit(gateway.callback_url("song", UUID((await gateway.submit())["id"]))).path
    admission = gateway.gateway.intake.admission
    endpoint = CallbackEndpoint(gateway.gateway.intake, FailureMeter(), LIMIT, (), read_timeout_s=0.5)
    sent = []

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError("nothing comes")

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": []}
    for _ in range(MOST_ENTRIES + 1):
        request = asyncio.create_task(endpoint(scope, receive, send))
        await asyncio.sleep(0)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
    admission.enter()
    admission.leave(0)
    await asyncio.sleep(1)
    assert sent == []


@on_sqlite
async def test_the_limit_does_not_touch_other_requests(gateway: Running) -> None:
    task = await gateway.submit(metadata={"note": "x" * (2 * LIMIT)})
    assert len((await gateway.task(task["id"]))["metadata"]["note"]) == 2 * LIMIT


MEGABYTE = 1024 * 1024 - 1000
MOST_CALLS = 5000
"""Of the loop's thread in one turn: some milliseconds."""


async def _calls_of_loop(work: Awaitable[httpx.Response]) -> tuple[Counter[str], int]:
    """What this thread, that of the loop, called until a callback was answered, and how many calls at most between two
    turns."""
    with counted_calls() as calls:
        answer, longest, before = asyncio.ensure_future(work), 0, 0
        while not answer.done():
            await asyncio.sleep(0)
            longest, before = max(longest, calls.total() - before), calls.total()
    assert (await answer).text == "success"
    return calls, longest


LARGE = {
    "escapes": b'"title":"' + b"\\u0061" * 19_000 + b"x" * 800_000 + b'"',
    "escapes of escapes": b'"title":"' + b"&amp;%25" * 9_000 + b"%61" * 1_000 + b'"',
    "numbers": b'"x":' + b"[" * 9 + b"0," * (MEGABYTE // 2) + b"0" + b"]" * 9,
    "objects": b'"x":' + b"[" * 40 + b"{}," * (MEGABYTE // 3) + b"0" + b"]" * 40,
    "names": b",".join(b'"%x":0' % n for n in range(80_000)),
    "JSON in a text": b'"lyrics_sections":"[' + b"[]," * (MEGABYTE // 3) + b'0]"',
}


@on_sqlite
async def test_a_megabyte_of_anything_does_not_hold_up_the_others(start_gateway: StartGateway) -> None:
    """It is read in another thread; a small one at once."""
    gateway = await start_gateway(workers=False)
    for name, fields in {"nothing": b'"x":0', **LARGE}.items():
        task_id = (await gateway.submit())["id"]
        body = b'{"songs":[{"item_id":"%s","status":"running",%s}]}' % (task_id.encode(), fields)
        calls, longest = await _calls_of_loop(gateway.call_back("song", body, UUID(task_id)))
        assert calls["read_callback"] == (name == "nothing")
        assert longest < MOST_CALLS, name
        assert (await gateway.task(task_id))["items"][0]["status"] == "running"


@on_sqlite
async def test_there_is_room_for_a_body_of_the_greatest_size_that_is_allowed(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(workers=False, callback_max_bytes=MOST_BYTES + 1)
    admission = gateway.gateway.intake.admission
    admission.take_bytes(MOST_BYTES + 1)
    with pytest.raises(Unavailable):
        admission.take_bytes(1)
