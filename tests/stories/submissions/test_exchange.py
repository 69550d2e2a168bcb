"""A call that gets no answer: whether a byte of it may have gone out to the vendor; and that no answer takes more
time or memory than an answer may. Over the kernel's sockets: ``tests/processes/test_exchange.py``."""

import asyncio
import gzip
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest

from app.tempolor.answers import Accepted, NoAnswer, Refused, Response, Unanswered, Unknown
from app.tempolor.kinds import FAMILIES
from tests.support.receiver import endless, plain, receiving
from tests.support.silent_vendor import (
    ACCEPTED,
    MOST_BYTES,
    closes_after,
    hang,
    post,
    reset,
    say_nothing,
    speaking,
    submit,
    unused_port,
    vendor_client,
)
from tests.support.virtual_time import monotonic

PROXY_ANSWERS = {
    "407": b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
    "403": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\ndenied",
    "429": b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n",
    "502": b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
    "504": b"HTTP/1.1 504 Gateway Timeout\r\n\r\n",
    "302": b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/\r\n\r\n",
    "nonsense": b"SSH-2.0-OpenSSH_9.6\r\n",
    "half a head": b"HTTP/1.1 200 Conn",
    "nothing": b"",
    "no TLS behind it": b"HTTP/1.1 200 OK\r\n\r\nthis is no handshake\r\n\r\n" * 3,
}


@pytest.mark.parametrize("answer", PROXY_ANSWERS.values(), ids=PROXY_ANSWERS)
async def test_a_proxy_that_opens_no_tunnel_kept_the_request_here(answer: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: bytearray) -> None:
        heard += await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    async with speaking(talk) as (port, heard):
        found = await post("https://vendor.test", proxy=f"http://127.0.0.1:{port}")
    assert isinstance(found, NoAnswer)
    assert not found.maybe_sent
    assert heard.startswith(b"CONNECT vendor.test:443")
    assert b"prompt" not in heard


async def test_a_proxy_that_never_answers_kept_the_request_here() -> None:
    async with speaking(hang) as (port, _):
        found = await post("https://vendor.test", proxy=f"http://127.0.0.1:{port}", timeout_s=0.4)
    assert found == NoAnswer("timeout", maybe_sent=False)


async def test_a_proxy_that_does_not_listen_kept_the_request_here() -> None:
    found = await post("https://vendor.test", proxy=f"http://127.0.0.1:{unused_port()}")
    assert found == NoAnswer("connection_failed", maybe_sent=False)


async def test_what_a_forwarding_proxy_was_given_may_have_gone_on() -> None:
    async with speaking(closes_after(b"prompt")) as (port, heard):
        found = await post("http://vendor.test", proxy=f"http://127.0.0.1:{port}")
    assert found == NoAnswer("bad_answer", maybe_sent=True)
    assert heard.startswith(b"POST http://vendor.test/song/generate")


@pytest.mark.parametrize(
    "headers",
    [
        {b"Authorization": b"Tempo-0123 "},
        {b"Authorization": b" Tempo-0123"},
        {b"Authorization": b"Tempo-\n0123"},
        {b"X\x00": b"y"},
    ],
    ids=str,
)
async def test_a_header_that_must_not_be_sent_keeps_the_request_here(headers: dict[bytes, bytes]) -> None:
    async with receiving() as vendor:
        found = await post(f"http://127.0.0.1:{vendor.port}", headers=headers)
    assert found == NoAnswer("request_invalid", maybe_sent=False)
    assert vendor.bodies == []


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "http://[::1", "nothing", "http://127.0.0.1:99999"])
async def test_an_address_that_is_none_keeps_the_request_here(url: str) -> None:
    with suppress(httpx.InvalidURL):  # some are refused when the client is made
        found = await post(url)
        assert isinstance(found, NoAnswer)
        assert not found.maybe_sent


LOST = {
    "closed": (closes_after(b"prompt"), NoAnswer("bad_answer", maybe_sent=True)),
    "reset": (closes_after(b"prompt", reset), NoAnswer("connection_lost", maybe_sent=True)),
    "closed after the head": (closes_after(b"\r\n\r\n"), None),
    "closed after one byte": (closes_after(b"P"), None),
    "silent": (hang, NoAnswer("timeout", maybe_sent=True)),
    "never read": (say_nothing, NoAnswer("timeout", maybe_sent=True)),
}


@pytest.mark.parametrize(("talk", "expected"), LOST.values(), ids=LOST)
async def test_what_has_begun_to_go_out_may_have_been_taken(
    talk: Callable[..., Awaitable[Any]], expected: NoAnswer | None
) -> None:
    async with speaking(talk) as (port, _):
        found = await post(f"http://127.0.0.1:{port}", timeout_s=1)
    assert isinstance(found, NoAnswer)
    assert found.maybe_sent
    assert expected in (None, found)


# What answers bring


def packed(*encodings: str, content: bytes = ACCEPTED) -> Callable[..., Any]:
    for one in encodings:
        content = gzip.compress(content, 1) if one == "gzip" else zlib.compress(content)
    return plain("200 OK", f"Content-Encoding: {', '.join(encodings)}", body=content)


@pytest.mark.parametrize("encoding", ["identity", "gzip", "deflate"])
async def test_an_answer_that_is_packed_once_though_nobody_asked_is_read(encoding: str) -> None:
    reply = packed(encoding) if encoding != "identity" else plain("200 OK", "Content-Encoding: Identity", body=ACCEPTED)
    async with receiving(reply) as vendor:
        assert await post(f"http://127.0.0.1:{vendor.port}") == Response(200, ACCEPTED)


@pytest.mark.parametrize("encodings", [("gzip", "gzip"), ("gzip", "deflate"), ("deflate", "gzip", "gzip"), ("br",)])
async def test_an_answer_that_is_packed_otherwise_is_not_unpacked(encodings: tuple[str, ...]) -> None:
    async with receiving(packed(*encodings)) as vendor:
        assert await post(f"http://127.0.0.1:{vendor.port}") == NoAnswer("answer_encoding", maybe_sent=True)


async def test_what_is_not_packed_as_it_says_is_not_unpacked() -> None:
    async with receiving(plain("200 OK", "Content-Encoding: gzip", body=ACCEPTED)) as vendor:
        assert await post(f"http://127.0.0.1:{vendor.port}") == NoAnswer("answer_encoding", maybe_sent=True)


TOO_LARGE = {
    "told": plain("200 OK", body=b" " * (MOST_BYTES + 1)),
    "endless": endless(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 1000),
    "chunked": endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"3e8\r\n" + b" " * 1000 + b"\r\n"),
    "single bytes": endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n" * 1000),
}


@pytest.mark.parametrize("reply", TOO_LARGE.values(), ids=TOO_LARGE)
async def test_an_answer_that_is_too_large_is_left_at_once(reply: Callable[..., Awaitable[Any]]) -> None:
    async with receiving(reply) as vendor:
        assert await post(f"http://127.0.0.1:{vendor.port}", timeout_s=30) == NoAnswer(
            "answer_too_large", maybe_sent=True
        )


async def test_an_answer_of_just_its_bound_is_read() -> None:
    async with receiving(plain("200 OK", body=b" " * MOST_BYTES)) as vendor:
        assert await post(f"http://127.0.0.1:{vendor.port}") == Response(200, b" " * MOST_BYTES)


async def test_an_answer_that_never_comes_is_given_up_in_time() -> None:
    async with speaking(hang) as (port, _):
        began = monotonic()
        await post(f"http://127.0.0.1:{port}", timeout_s=0.8)
        assert 0.8 <= monotonic() - began <= 0.86  # looked at 50 ms apart


async def test_what_did_not_leave_is_refused_for_a_while_and_what_may_have_is_unknown() -> None:
    async with vendor_client(f"http://127.0.0.1:{unused_port()}") as client:
        refused = await submit(client)
        assert isinstance(refused, Refused)
        assert (refused.meaning.code, refused.meaning.remedy) == ("vendor_unreachable", "back_off")
        assert await client.query(FAMILIES["song"], ["a"]) == Unanswered("connection_failed")
        assert await client.account() == Unanswered("connection_failed")
    async with speaking(closes_after(b"prompt")) as (port, _), vendor_client(f"http://127.0.0.1:{port}") as client:
        assert await submit(client) == Unknown("bad_answer")


async def test_a_key_that_no_header_can_carry_is_refused_and_not_unknown() -> None:
    async with receiving() as vendor, vendor_client(f"http://127.0.0.1:{vendor.port}", "Tempo-0123 ") as client:
        assert isinstance(await submit(client), Refused)
    assert vendor.bodies == []


async def test_nothing_packed_is_asked_for() -> None:
    accepted = plain("200 OK", body=ACCEPTED)
    async with receiving(accepted) as vendor, vendor_client(f"http://127.0.0.1:{vendor.port}") as client:
        assert await submit(client) == Accepted(("t2m_1",), "r")
        await client.query(FAMILIES["song"], ["a"])
    assert {one["accept-encoding"] for one in vendor.headers} == {"identity"}
