"""What a receiver may do to us: each of its answers is a value, in bounded time and memory."""

import asyncio
import email.utils
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.notifications.post import Delivered, Failed, Forbidden, Gone, Rejected, printable
from tests.support.counted_calls import counted_calls
from tests.support.receiver import MESSAGE, OK, Resolver, calling, endless, plain, raw, receiving
from tests.support.virtual_time import monotonic

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


async def answer_to(reply: Callable[..., Any] | Callable[..., Awaitable[Any]], **given: Any) -> Any:
    async with receiving(reply) as receiver:
        with calling(**given) as caller:
            return await caller.post(receiver.url(), MESSAGE)


@pytest.mark.parametrize("status", ["200 OK", "202 Accepted", "204 No Content"])
async def test_any_2xx_is_delivered(status: str) -> None:
    assert await answer_to(plain(status)) == Delivered(int(status[:3]))


@pytest.mark.parametrize("status", ["304 Not Modified", "400 Bad", "404 Not Found", "429 Slow", "500 No", "599 No"])
async def test_any_other_status_is_rejected(status: str) -> None:
    assert await answer_to(plain(status)) == Rejected(int(status[:3]))


async def test_410_is_gone() -> None:
    assert await answer_to(plain("410 Gone", body=b"moved out")) == Gone("moved out")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("Retry-After: 120", 120.0),
        ("retry-after: 0", 1.0),
        ("Retry-After: " + email.utils.format_datetime(NOW + timedelta(minutes=5), usegmt=True), 300.0),
        ("Retry-After: " + email.utils.format_datetime(NOW - timedelta(days=1), usegmt=True), 1.0),
        ("Retry-After: 99999999999", 86_400.0),
        ("Retry-After: soon", None),
        ("Retry-After: -5", None),
    ],
)
async def test_retry_after_is_read_as_seconds_and_as_a_date(header: str, seconds: float | None) -> None:
    found = await answer_to(plain("503 Busy", header), now=lambda: NOW)
    assert found == Rejected(503, seconds)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"])
async def test_a_redirect_is_reported_and_not_followed(status: str) -> None:
    async with receiving() as inner, receiving(plain(status, f"Location: {inner.url()}")) as outer:
        with calling() as caller:
            assert await caller.post(outer.url(), MESSAGE) == Rejected(int(status[:3]))
    assert (outer.connections, inner.connections) == (1, 0)


async def test_the_path_and_query_arrive_as_given_and_the_host_with_its_port() -> None:
    async with receiving() as receiver:
        with calling(resolve=Resolver(["127.0.0.1"])) as caller:
            await caller.post(receiver.url("Hooks.example", "/a%20b?x=1&y=%2F#part"), MESSAGE)
    assert receiver.targets == ["/a%20b?x=1&y=%2F"]
    assert receiver.headers[0]["host"] == f"hooks.example:{receiver.port}"
    assert receiver.headers[0]["webhook-id"] == "0192-a"
    assert receiver.bodies == [MESSAGE.body]


async def test_each_message_has_a_connection_and_a_look_up_of_its_own() -> None:
    resolver = Resolver(["127.0.0.1"])
    async with receiving() as receiver:
        with calling(resolve=resolver) as caller:
            for _ in range(3):
                await caller.post(receiver.url("hooks.example"), MESSAGE)
    assert receiver.connections == 3
    assert resolver.asked == ["hooks.example"] * 3


async def test_cookies_are_not_kept() -> None:
    async with receiving(plain("200 OK", "Set-Cookie: a=b; Path=/")) as receiver:
        with calling() as caller:
            for _ in range(2):
                await caller.post(receiver.url(), MESSAGE)
    assert "cookie" not in receiver.headers[1]


@pytest.mark.real_time
@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"]
)
async def test_a_huge_answer_is_read_only_so_far(head: bytes) -> None:
    sent = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(head)
        while True:
            writer.write(b"x" * 65_536)
            sent += 65_536
            await writer.drain()

    async with receiving(flood) as receiver:
        with calling() as caller:
            began = monotonic()
            assert await caller.post(receiver.url(), MESSAGE) == Delivered(200, "x" * 1024)
            assert monotonic() - began < 2
        await asyncio.wait_for(receiver.left.wait(), 5)
    assert sent < 32 * 1024 * 1024, "only what the sockets' buffers take"


async def test_an_answer_cut_into_single_bytes_is_read_only_so_far() -> None:
    reply = endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 20_000)
    with counted_calls() as calls:
        assert await answer_to(reply) == Delivered(200, "x" * 1024)
    assert 1_024 <= calls["next_event"] < 3_000, "64 KiB in such pieces would hold up the event loop"


async def test_a_bomb_is_not_unpacked() -> None:
    assert await answer_to(plain("200 OK", "Content-Encoding: gzip", body=b"not gzip at all")) == Delivered(
        200, "not gzip at all"
    )


@pytest.mark.parametrize("head", [b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nX: ", b""])
async def test_headers_that_trickle_for_ever_end_with_the_time_limit(head: bytes) -> None:
    began = monotonic()
    assert await answer_to(endless(head, b"0", every_s=0.01), timeout_s=0.5) == Failed("timeout")
    assert monotonic() - began == pytest.approx(0.5, abs=0.02)


async def test_interim_answers_for_ever_end_with_the_time_limit() -> None:
    reply = endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", every_s=0.01)
    assert await answer_to(reply, timeout_s=0.5) == Failed("timeout")


@pytest.mark.parametrize(
    ("status_line", "answer"), [("200 OK", Delivered(200, "…")), ("503 Busy", Rejected(503, 7.0, "…"))]
)
async def test_a_status_counts_though_its_body_trickles_for_ever(status_line: str, answer: Any) -> None:
    head = f"HTTP/1.1 {status_line}\r\nRetry-After: 7\r\n\r\n"
    began = monotonic()
    found = await answer_to(endless(head.encode(), b"z", every_s=0.01), timeout_s=1)
    assert type(found) is type(answer)
    assert found.status == answer.status
    assert found.text.strip("z") == ""
    assert monotonic() - began == pytest.approx(1, abs=0.02)


async def test_a_status_counts_though_its_body_breaks_off() -> None:
    assert await answer_to(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf")) == Delivered(200, "half")


async def test_silence_ends_with_the_time_limit() -> None:
    async def silence(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with receiving(silence) as receiver:
        with calling(timeout_s=1.5) as caller:
            assert await caller.post(receiver.url(), MESSAGE) == Failed("timeout")
    assert receiver.bodies == [MESSAGE.body]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"HTTP/1.1 200",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 40_000 + b"\r\n",
    ],
)
async def test_what_is_no_answer_is_a_failure(content: bytes) -> None:
    assert await answer_to(raw(content)) == Failed("bad_answer")


async def test_a_reset_is_a_failure() -> None:
    async def reset(writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    assert (await answer_to(reset)).reason in ("connection_lost", "bad_answer")


async def test_a_refused_connection_is_a_failure() -> None:
    async with receiving() as receiver:
        url = receiver.url()
    with calling() as caller:
        assert await caller.post(url, MESSAGE) == Failed("connection_failed")


async def test_a_name_that_leads_nowhere_is_a_failure() -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise OSError("Name or service not known")

    for resolve in (unknown, Resolver([])):
        with calling(resolve=resolve) as caller:
            assert await caller.post("http://hooks.example/", MESSAGE) == Failed("name_not_resolved")


@pytest.mark.real_time
async def test_a_slow_name_server_holds_up_nobody_else() -> None:
    answer_now = threading.Event()

    def slow(host: str, port: int, **_: Any) -> list[Any]:
        if host == "slow.example":
            answer_now.wait(20)
        return [(0, 0, 0, "", ("127.0.0.1", port))]

    async with receiving() as receiver:
        with calling(resolve=slow, timeout_s=30.0) as caller:
            stuck = [asyncio.create_task(caller.post("http://slow.example:1/", MESSAGE)) for _ in range(8)]
            async with asyncio.timeout(5):
                assert await caller.post(receiver.url("hooks.example"), MESSAGE) == Delivered(200, "thanks")
                await asyncio.get_running_loop().run_in_executor(None, threading.get_ident)
            assert not any(one.done() for one in stuck)
            answer_now.set()
            assert await asyncio.gather(*stuck) == [Failed("connection_failed")] * 8


@pytest.mark.real_time
async def test_a_name_server_that_never_answers_ends_with_the_time_limit() -> None:
    answer_now = threading.Event()
    with calling(resolve=lambda *_, **__: answer_now.wait(20) and [], timeout_s=0.6) as caller:
        began = monotonic()
        assert await caller.post("http://slow.example/", MESSAGE) == Failed("timeout")
        assert monotonic() - began < 3
        answer_now.set()


async def test_the_other_family_is_tried_where_the_first_choice_does_not_answer() -> None:
    async with receiving() as receiver:
        with calling(resolve=Resolver(["::ffff:127.0.0.9", "127.0.0.1"])) as caller:
            assert await caller.post(receiver.url("hooks.example"), MESSAGE) == Delivered(200, "thanks")


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as receiver, receiving() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy.url(path=""))
        with calling() as caller:
            assert await caller.post(receiver.url(), MESSAGE) == Delivered(200, "thanks")
    assert (receiver.connections, proxy.connections) == (1, 0)


async def test_a_url_from_before_the_rules_is_not_called() -> None:
    async with receiving() as receiver:
        with calling() as caller:
            found = await caller.post(f"http://user:secret@127.0.0.1:{receiver.port}/", MESSAGE)
    assert found == Forbidden("invalid_url")
    assert receiver.connections == 0


async def test_many_at_once() -> None:
    async with receiving(OK) as receiver:
        with calling() as caller:
            found = await asyncio.gather(*(caller.post(receiver.url(), MESSAGE) for _ in range(50)))
    assert found == [Delivered(200, "thanks")] * 50


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"  all\r\n\twell \x00\x07\x1b[31m", "all well [31m"),
        ("bidi \u202egnp\u202c, c1 \x9b, line\u2028end".encode(), "bidi gnp , c1 , line end"),
        (b"\xff\xfe half \xe2\x82", "\ufffd\ufffd half \ufffd"),
        ("ünïcödé 港 🎵".encode(), "ünïcödé 港 🎵"),
    ],
)
def test_what_is_shown_acts_on_nothing(content: bytes, text: str) -> None:
    assert printable(content) == text
