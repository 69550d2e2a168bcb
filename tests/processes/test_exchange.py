"""A call that gets no answer: whether a byte of it may have gone out to the vendor, told over real sockets; and that
no answer takes more time or memory than an answer may."""

import asyncio
import gzip
import json
import socket
import ssl
import struct
import threading
import time
import tracemalloc
import zlib
from contextlib import ExitStack, asynccontextmanager, suppress

import httpx
import pytest
import uvloop

from app.vendor.answers import Accepted, Refused, Response, Unanswered, Unknown
from app.vendor.client import VendorClient
from app.vendor.exchange import NoAnswer, exchange
from app.vendor.kinds import FAMILIES, KINDS
from app.wiring import usual_authorities
from tests.support.receiver import CERTIFICATE, endless, plain, raw, receiving

BODY = {"prompt": "slow pop ballad", "callback_url": "https://gw.example/callbacks/song/x"}
ACCEPTED = json.dumps({"status": 200000, "message": "", "request_id": "r", "data": {"item_ids": ["t2m_1"]}}).encode()
MOST_BYTES = 64 * 1024


def server_tls():
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(CERTIFICATE)
    return tls


def trusting():
    return ssl.create_default_context(cafile=str(CERTIFICATE))


async def post(base_url, *, timeout_s=2.0, most_bytes=MOST_BYTES, **given):
    """One call of ``exchange``, by a client of its own."""
    given.setdefault("verify", usual_authorities())
    async with httpx.AsyncClient(base_url=base_url, trust_env=False, **given) as http:
        return await exchange(http, "/song/generate", BODY, timeout_s, most_bytes)


@asynccontextmanager
async def speaking(talk, tls=None):
    """A server that does what it is told with each connection; yields its port and all that was sent to it."""
    heard = bytearray()
    talking = set()

    async def serve(reader, writer):
        talking.add(asyncio.current_task())
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await talk(reader, writer, heard)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls) as server:
        yield server.sockets[0].getsockname()[1], heard
        for task in talking:
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)


def reset(writer):
    """End a connection with RST."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def hang(reader, writer, heard):
    while piece := await reader.read(65_536):
        heard += piece


async def say_nothing(reader, writer, heard):
    """Take no byte from the socket at all."""
    await asyncio.sleep(30)


def closes_after(needed, ending=lambda writer: None):
    async def talk(reader, writer, heard):
        while needed not in heard:
            heard += await reader.read(65_536)
        ending(writer)

    return talk


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
async def test_a_proxy_that_opens_no_tunnel_kept_the_request_here(answer):
    async def talk(reader, writer, heard):
        heard += await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    async with speaking(talk) as (port, heard):
        found = await post("https://vendor.test", proxy=f"http://127.0.0.1:{port}")
    assert isinstance(found, NoAnswer)
    assert not found.left
    assert heard.startswith(b"CONNECT vendor.test:443")
    assert b"prompt" not in heard


async def test_a_proxy_that_never_answers_kept_the_request_here():
    async with speaking(hang) as (port, _):
        found = await post("https://vendor.test", proxy=f"http://127.0.0.1:{port}", timeout_s=0.4)
    assert found == NoAnswer("timeout", left=False)


async def test_a_proxy_that_does_not_listen_kept_the_request_here():
    found = await post("https://vendor.test", proxy=f"http://127.0.0.1:{unused_port()}")
    assert found == NoAnswer("connection_failed", left=False)


@asynccontextmanager
async def tunnelling(vendor_port):
    """A proxy that opens tunnels to the vendor, whatever name it is asked for."""

    async def pipe(reader, writer):
        with suppress(ConnectionError):
            while piece := await reader.read(65_536):
                writer.write(piece)
                await writer.drain()
        writer.close()

    async def talk(reader, writer, heard):
        await reader.readuntil(b"\r\n\r\n")
        vendor_reader, vendor_writer = await asyncio.open_connection("127.0.0.1", vendor_port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(pipe(reader, vendor_writer), pipe(vendor_reader, writer))
        finally:
            vendor_writer.close()

    async with speaking(talk) as (port, _):
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (plain("200 OK", body=b"{}"), Response(200, b"{}")),
        (raw(b""), NoAnswer("bad_answer", left=True)),
        (raw(b"nonsense\r\n\r\n"), NoAnswer("bad_answer", left=True)),
        (endless(b"", b"", every_s=5), NoAnswer("timeout", left=True)),
    ],
    ids=["answered", "closed", "nonsense", "silent"],
)
async def test_through_a_tunnel_it_is_the_inner_connection_that_counts(reply, expected):
    async with receiving(reply, tls=server_tls()) as vendor, tunnelling(vendor.port) as proxy:
        assert await post("https://receiver.test", proxy=proxy, verify=trusting(), timeout_s=2) == expected
    assert len(vendor.bodies) == 1


async def test_through_a_tunnel_a_certificate_for_another_name_keeps_the_request_here():
    async with receiving(tls=server_tls()) as vendor, tunnelling(vendor.port) as proxy:
        found = await post("https://other.test", proxy=proxy, verify=trusting())
    assert not found.left
    assert vendor.bodies == []


async def test_what_a_forwarding_proxy_was_given_may_have_gone_on():
    async with speaking(closes_after(b"prompt")) as (port, heard):
        found = await post("http://vendor.test", proxy=f"http://127.0.0.1:{port}")
    assert found == NoAnswer("bad_answer", left=True)
    assert heard.startswith(b"POST http://vendor.test/song/generate")


@pytest.mark.parametrize("verify", [trusting, usual_authorities], ids=["another name", "nobody vouches"])
async def test_a_certificate_that_is_not_trusted_keeps_the_request_here(verify):
    async with receiving(tls=server_tls()) as vendor:
        found = await post(f"https://127.0.0.1:{vendor.port}", verify=verify())
    assert found == NoAnswer("tls_failed", left=False)
    assert vendor.bodies == []


HANDSHAKES = {
    "speaks in the clear": lambda writer: writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "closes": lambda writer: None,
    "resets": reset,
}


@pytest.mark.parametrize("ending", HANDSHAKES.values(), ids=HANDSHAKES)
async def test_a_handshake_that_fails_keeps_the_request_here(ending):
    async with speaking(closes_after(b"\x16\x03", ending)) as (port, heard):
        found = await post(f"https://127.0.0.1:{port}")
    assert isinstance(found, NoAnswer)
    assert not found.left
    assert b"prompt" not in heard


async def test_a_handshake_that_never_ends_keeps_the_request_here():
    async with speaking(hang) as (port, _):
        assert await post(f"https://127.0.0.1:{port}", timeout_s=0.6) == NoAnswer("timeout", left=False)


def unused_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


async def test_a_port_that_nobody_listens_on_keeps_the_request_here():
    found = await post(f"http://127.0.0.1:{unused_port()}")
    assert found == NoAnswer("connection_failed", left=False)


async def test_a_name_that_does_not_exist_keeps_the_request_here():
    # Reserved never to exist; without a name server the look-up fails just so.
    assert await post("http://vendor.invalid", timeout_s=20) == NoAnswer("connection_failed", left=False)


async def test_a_connection_that_is_never_made_keeps_the_request_here():
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        # A full queue: what comes now gets no answer to its SYN.
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
        found = await post(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.6)
    assert found == NoAnswer("timeout", left=False)


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
async def test_a_header_that_must_not_be_sent_keeps_the_request_here(headers):
    async with receiving() as vendor:
        found = await post(f"http://127.0.0.1:{vendor.port}", headers=headers)
    assert found == NoAnswer("request_invalid", left=False)
    assert vendor.bodies == []


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "http://[::1", "nothing", "http://127.0.0.1:99999"])
async def test_an_address_that_is_none_keeps_the_request_here(url):
    with suppress(httpx.InvalidURL):  # some are refused when the client is made
        found = await post(url)
        assert isinstance(found, NoAnswer)
        assert not found.left


LOST = {
    "closed": (closes_after(b"prompt"), NoAnswer("bad_answer", left=True)),
    "reset": (closes_after(b"prompt", reset), NoAnswer("connection_lost", left=True)),
    "closed after the head": (closes_after(b"\r\n\r\n"), None),
    "closed after one byte": (closes_after(b"P"), None),
    "silent": (hang, NoAnswer("timeout", left=True)),
    "never read": (say_nothing, NoAnswer("timeout", left=True)),
}


@pytest.mark.parametrize(("talk", "expected"), LOST.values(), ids=LOST)
async def test_what_has_begun_to_go_out_may_have_been_taken(talk, expected):
    async with speaking(talk) as (port, _):
        found = await post(f"http://127.0.0.1:{port}", timeout_s=1)
    assert found.left
    assert expected in (None, found)


RUNS = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
"""`serve` runs on uvloop, which has an order of its own for what is due at once."""


@RUNS
def test_a_connection_that_was_reset_before_the_first_byte_keeps_the_request_here(run):
    assert run(reset_early()) == NoAnswer("connection_failed", left=False)


async def reset_early():
    gone = asyncio.Event()

    async def talk(reader, writer, heard):
        reset(writer)
        gone.set()

    class Slowly(httpx.AsyncHTTPTransport):
        """Lets the reset arrive between the connection and the first byte."""

        async def handle_async_request(self, request):
            note = request.extensions["trace"]

            async def trace(event, info):
                if event.endswith("connect_tcp.complete"):
                    await gone.wait()
                    await asyncio.sleep(0.1)
                await note(event, info)

            request.extensions["trace"] = trace
            return await super().handle_async_request(request)

    async with speaking(talk) as (port, _):
        return await post(f"http://127.0.0.1:{port}", transport=Slowly())


# What answers bring


BOMB = b"\x00" * (256 << 20)


def packed(*encodings, content=ACCEPTED):
    for one in encodings:
        content = gzip.compress(content, 1) if one == "gzip" else zlib.compress(content)
    return plain("200 OK", f"Content-Encoding: {', '.join(encodings)}", body=content)


@pytest.mark.parametrize("encoding", ["identity", "gzip", "deflate"])
async def test_an_answer_that_is_packed_once_though_nobody_asked_is_read(encoding):
    reply = packed(encoding) if encoding != "identity" else plain("200 OK", "Content-Encoding: Identity", body=ACCEPTED)
    async with receiving(reply) as vendor:
        assert await post(f"http://127.0.0.1:{vendor.port}") == Response(200, ACCEPTED)


@pytest.mark.parametrize("encodings", [("gzip", "gzip"), ("gzip", "deflate"), ("deflate", "gzip", "gzip"), ("br",)])
async def test_an_answer_that_is_packed_otherwise_is_not_unpacked(encodings):
    async with receiving(packed(*encodings)) as vendor:
        assert await post(f"http://127.0.0.1:{vendor.port}") == NoAnswer("answer_encoding", left=True)


async def test_what_is_not_packed_as_it_says_is_not_unpacked():
    async with receiving(plain("200 OK", "Content-Encoding: gzip", body=ACCEPTED)) as vendor:
        assert await post(f"http://127.0.0.1:{vendor.port}") == NoAnswer("answer_encoding", left=True)


async def test_an_answer_that_explodes_is_left_at_its_bound():
    tracemalloc.start()
    async with receiving(packed("gzip", content=BOMB)) as vendor:
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        found = await post(f"http://127.0.0.1:{vendor.port}")
        _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == NoAnswer("answer_too_large", left=True)
    assert most - before < 4 << 20


TOO_LARGE = {
    "told": plain("200 OK", body=b" " * (MOST_BYTES + 1)),
    "endless": endless(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 1000),
    "chunked": endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"3e8\r\n" + b" " * 1000 + b"\r\n"),
    "single bytes": endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n" * 1000),
}


@pytest.mark.parametrize("reply", TOO_LARGE.values(), ids=TOO_LARGE)
async def test_an_answer_that_is_too_large_is_left_at_once(reply):
    began = time.monotonic()
    async with receiving(reply) as vendor:
        assert await post(f"http://127.0.0.1:{vendor.port}", timeout_s=30) == NoAnswer("answer_too_large", left=True)
    assert time.monotonic() - began < 20


async def test_an_answer_of_just_its_bound_is_read():
    async with receiving(plain("200 OK", body=b" " * MOST_BYTES)) as vendor:
        assert await post(f"http://127.0.0.1:{vendor.port}") == Response(200, b" " * MOST_BYTES)


# The time-out


@pytest.mark.parametrize("stops_s", [(1.6,), (0.6, 0.6, 0.6, 0.6), (0.1, 3.0)], ids=str)
@RUNS
def test_time_in_which_the_process_did_not_run_is_not_counted(run, stops_s):
    assert run(stopped(stops_s)) == Response(200, ACCEPTED)


async def stopped(stops_s):
    vendor = SlowVendor(after_s=0.4)
    call = asyncio.create_task(post(vendor.url, timeout_s=1.5))
    await asyncio.to_thread(vendor.asked.wait, 10)
    for stop_s in stops_s:
        time.sleep(stop_s)  # noqa: ASYNC251 - the process stands still, and the vendor goes on
        await asyncio.sleep(0)
    return await call


class SlowVendor:
    """One that is not stopped when this process is: it answers one request after a while, from a thread."""

    def __init__(self, after_s):
        self._after_s = after_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        connection, _ = self._listener.accept()
        with self._listener, connection:
            heard = b""
            while b"prompt" not in heard:
                heard += connection.recv(65_536)
            self.asked.set()
            time.sleep(self._after_s)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(ACCEPTED), ACCEPTED))
            connection.recv(1)


async def test_an_answer_that_never_comes_is_given_up_in_time():
    async with speaking(hang) as (port, _):
        began = time.monotonic()
        await post(f"http://127.0.0.1:{port}", timeout_s=0.8)
        assert 0.8 <= time.monotonic() - began < 3


# What the client makes of it


@asynccontextmanager
async def vendor_client(base_url, api_key="Tempo-0123"):
    client = VendorClient(base_url, api_key, usual_authorities())
    try:
        yield client
    finally:
        await client.close()


async def submit(client, timeout_s=2):
    return await client.submit(
        KINDS["song.generate"], {"prompt": "x"}, "https://gw.example/callbacks/song/x", timeout_s
    )


async def test_what_did_not_leave_is_refused_for_a_while_and_what_may_have_is_unknown():
    async with vendor_client(f"http://127.0.0.1:{unused_port()}") as client:
        refused = await submit(client)
        assert isinstance(refused, Refused)
        assert (refused.meaning.code, refused.meaning.remedy) == ("vendor_unreachable", "back_off")
        assert await client.query(FAMILIES["song"], ["a"]) == Unanswered("connection_failed")
        assert await client.account() == Unanswered("connection_failed")
    async with speaking(closes_after(b"prompt")) as (port, _), vendor_client(f"http://127.0.0.1:{port}") as client:
        assert await submit(client) == Unknown("bad_answer")


async def test_a_key_that_no_header_can_carry_is_refused_and_not_unknown():
    async with receiving() as vendor, vendor_client(f"http://127.0.0.1:{vendor.port}", "Tempo-0123 ") as client:
        assert isinstance(await submit(client), Refused)
    assert vendor.bodies == []


async def test_nothing_packed_is_asked_for():
    accepted = plain("200 OK", body=ACCEPTED)
    async with receiving(accepted) as vendor, vendor_client(f"http://127.0.0.1:{vendor.port}") as client:
        assert await submit(client) == Accepted(("t2m_1",), "r")
        await client.query(FAMILIES["song"], ["a"])
    assert {one["accept-encoding"] for one in vendor.headers} == {"identity"}


def test_of_what_waits_at_a_socket_little_is_taken_at_once():
    content = b"HTTP/1.1 200 OK\r\nContent-Length: 8000000\r\n\r\n" + b" " * 8_000_000

    def answer(listener):
        with suppress(OSError), listener.accept()[0] as connection:
            connection.recv(65_536)
            connection.sendall(content)

    async def most_taken(url):
        async with httpx.AsyncClient(base_url=url, trust_env=False, verify=usual_authorities()) as http:
            tracemalloc.start()
            found = await asyncio.gather(*(exchange(http, "/", BODY, 20, 256 * 1024) for _ in range(8)))
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert found == [NoAnswer("answer_too_large", left=True)] * 8
        return most

    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(8):
            threading.Thread(target=answer, args=(listener,), daemon=True).start()
        assert uvloop.run(most_taken(f"http://127.0.0.1:{listener.getsockname()[1]}")) < 16_000_000


async def test_while_an_answer_only_ever_begins_the_loop_goes_on():
    continues = endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 5000)
    async with receiving(continues) as vendor:
        with busy_loop() as longest_s:
            assert await post(f"http://127.0.0.1:{vendor.port}", timeout_s=2) == NoAnswer("timeout", left=True)
    assert longest_s() < 0.1


FLOODS = {
    "ids": b'{"status":200000,"data":{"item_ids":[%b]}}' % b",".join(b'"t2m_%d"' % number for number in range(9000)),
    "lists": b'{"status":200000,"data":[%b[]]}' % (b"[[]]," * 25_000),
    "objects": b'{"status":400001,"data":{"songs":[%b{}]}}' % (b"{}," * 42_000),
    "no json": b'{"status":200000,"data":[%b}' % (b"[[]]," * 25_000),
}


@pytest.mark.parametrize("content", FLOODS.values(), ids=FLOODS)
async def test_while_a_flood_is_read_the_loop_goes_on(content):
    flood = plain("200 OK", body=content)
    async with receiving(flood) as vendor, vendor_client(f"http://127.0.0.1:{vendor.port}") as client:
        with busy_loop() as longest_s:
            await submit(client, timeout_s=20)
            await client.query(FAMILIES["song"], ["a"])
            await client.account()
    assert len(vendor.bodies) == 3
    assert longest_s() < 0.1


class busy_loop:
    """How long the loop worked at one thing at most, by the clock of its own thread: others share the machine."""

    def __enter__(self):
        self._longest = 0.0
        self._watching = asyncio.create_task(self._watch())
        return lambda: self._longest

    def __exit__(self, *_):
        self._watching.cancel()

    async def _watch(self):
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            self._longest = max(self._longest, time.thread_time() - before)
