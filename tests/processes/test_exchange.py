"""A call that gets no answer, over the kernel's sockets: TLS, tunnels, resets, and what an answer may take of the
machine. The rest of it: ``tests/stories/submissions/test_exchange.py``."""

import asyncio
import gzip
import socket
import ssl
import threading
import time
import tracemalloc
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
import uvloop

from app.tempolor.answers import NoAnswer, Response
from app.tempolor.exchange import exchange
from app.tempolor.kinds import FAMILIES
from app.wiring import default_tls_context
from tests.support.receiver import CERTIFICATE, Reply, endless, plain, raw, receiving
from tests.support.silent_vendor import (
    ACCEPTED,
    BODY,
    closes_after,
    hang,
    post,
    reset,
    speaking,
    submit,
    unused_port,
    vendor_client,
)


def server_tls() -> ssl.SSLContext:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(CERTIFICATE)
    return tls


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(CERTIFICATE))


@asynccontextmanager
async def tunnelling(vendor_port: int) -> AsyncIterator[str]:
    """A proxy that opens tunnels to the vendor, whatever name it is asked for."""

    async def pipe(reader: StreamReader, writer: StreamWriter) -> None:
        with suppress(ConnectionError):
            while piece := await reader.read(65_536):
                writer.write(piece)
                await writer.drain()
        writer.close()

    async def talk(reader: StreamReader, writer: StreamWriter, heard: bytearray) -> None:
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
        (raw(b""), NoAnswer("bad_answer", maybe_sent=True)),
        (raw(b"nonsense\r\n\r\n"), NoAnswer("bad_answer", maybe_sent=True)),
        (endless(b"", b"", every_s=5), NoAnswer("timeout", maybe_sent=True)),
    ],
    ids=["answered", "closed", "nonsense", "silent"],
)
async def test_through_a_tunnel_it_is_the_inner_connection_that_counts(
    reply: Reply, expected: Response | NoAnswer
) -> None:
    async with receiving(reply, tls=server_tls()) as vendor, tunnelling(vendor.port) as proxy:
        assert await post("https://receiver.test", proxy=proxy, verify=trusting(), timeout_s=2) == expected
    assert len(vendor.bodies) == 1


async def test_through_a_tunnel_a_certificate_for_another_name_keeps_the_request_here() -> None:
    async with receiving(tls=server_tls()) as vendor, tunnelling(vendor.port) as proxy:
        found = await post("https://other.test", proxy=proxy, verify=trusting())
    assert isinstance(found, NoAnswer)
    assert not found.maybe_sent
    assert vendor.bodies == []


@pytest.mark.parametrize("verify", [trusting, default_tls_context], ids=["another name", "nobody vouches"])
async def test_a_certificate_that_is_not_trusted_keeps_the_request_here(verify: Callable[[], ssl.SSLContext]) -> None:
    async with receiving(tls=server_tls()) as vendor:
        found = await post(f"https://127.0.0.1:{vendor.port}", verify=verify())
    assert found == NoAnswer("tls_failed", maybe_sent=False)
    assert vendor.bodies == []


HANDSHAKES: dict[str, Callable[[StreamWriter], None]] = {
    "speaks in the clear": lambda writer: writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "closes": lambda writer: None,
    "resets": reset,
}


@pytest.mark.parametrize("ending", HANDSHAKES.values(), ids=HANDSHAKES)
async def test_a_handshake_that_fails_keeps_the_request_here(ending: Callable[[StreamWriter], None]) -> None:
    async with speaking(closes_after(b"\x16\x03", ending)) as (port, heard):
        found = await post(f"https://127.0.0.1:{port}")
    assert isinstance(found, NoAnswer)
    assert not found.maybe_sent
    assert b"prompt" not in heard


async def test_a_handshake_that_never_ends_keeps_the_request_here() -> None:
    async with speaking(hang) as (port, _):
        assert await post(f"https://127.0.0.1:{port}", timeout_s=0.6) == NoAnswer("timeout", maybe_sent=False)


async def test_a_port_that_nobody_listens_on_keeps_the_request_here() -> None:
    found = await post(f"http://127.0.0.1:{unused_port()}")
    assert found == NoAnswer("connection_failed", maybe_sent=False)


async def test_a_name_that_does_not_exist_keeps_the_request_here() -> None:
    # Reserved never to exist; without a name server the look-up fails just so.
    assert await post("http://vendor.invalid", timeout_s=20) == NoAnswer("connection_failed", maybe_sent=False)


async def test_a_connection_that_is_never_made_keeps_the_request_here() -> None:
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
    assert found == NoAnswer("timeout", maybe_sent=False)


async def test_what_has_begun_to_go_out_may_have_been_taken() -> None:
    async with speaking(closes_after(b"prompt", reset)) as (port, _):
        assert await post(f"http://127.0.0.1:{port}") == NoAnswer("connection_lost", maybe_sent=True)


Run = Callable[[Coroutine[Any, Any, Response | NoAnswer]], Response | NoAnswer]
RUNS = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
"""`serve` runs on uvloop, which has an order of its own for what is due at once."""


@RUNS
def test_a_connection_that_was_reset_before_the_first_byte_keeps_the_request_here(run: Run) -> None:
    assert run(reset_early()) == NoAnswer("connection_failed", maybe_sent=False)


async def reset_early() -> Response | NoAnswer:
    gone = asyncio.Event()

    async def talk(reader: StreamReader, writer: StreamWriter, heard: bytearray) -> None:
        reset(writer)
        gone.set()

    class Slowly(httpx.AsyncHTTPTransport):
        """Lets the reset arrive between the connection and the first byte."""

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            note = request.extensions["trace"]

            async def trace(event: str, info: Any) -> None:
                if event.endswith("connect_tcp.complete"):
                    await gone.wait()
                    await asyncio.sleep(0.1)
                await note(event, info)

            request.extensions["trace"] = trace
            return await super().handle_async_request(request)

    async with speaking(talk) as (port, _):
        return await post(f"http://127.0.0.1:{port}", transport=Slowly())


BOMB = b"\x00" * (32 << 20)


async def test_an_answer_that_explodes_is_left_at_its_bound() -> None:
    tracemalloc.start()
    async with receiving(plain("200 OK", "Content-Encoding: gzip", body=gzip.compress(BOMB, 1))) as vendor:
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        found = await post(f"http://127.0.0.1:{vendor.port}")
        _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == NoAnswer("answer_too_large", maybe_sent=True)
    assert most - before < 4 << 20


# The time-out


@pytest.mark.parametrize("stops_s", [(1.6,), (0.6, 0.6, 0.6, 0.6), (0.1, 3.0)], ids=str)
@RUNS
def test_time_in_which_the_process_did_not_run_is_not_counted(run: Run, stops_s: tuple[float, ...]) -> None:
    assert run(stopped(stops_s)) == Response(200, ACCEPTED)


async def stopped(stops_s: tuple[float, ...]) -> Response | NoAnswer:
    vendor = SlowVendor(after_s=0.4)
    call = asyncio.create_task(post(vendor.url, timeout_s=1.5))
    await asyncio.to_thread(vendor.asked.wait, 10)
    for stop_s in stops_s:
        time.sleep(stop_s)  # noqa: ASYNC251 - the process stands still, and the vendor goes on
        await asyncio.sleep(0)
    return await call


class SlowVendor:
    """One that is not stopped when this process is: it answers one request after a while, from a thread."""

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with self._listener, connection:
            heard = b""
            while b"prompt" not in heard:
                heard += connection.recv(65_536)
            self.asked.set()
            time.sleep(self._after_s)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(ACCEPTED), ACCEPTED))
            connection.recv(1)


# What the client makes of it


def test_of_what_waits_at_a_socket_little_is_taken_at_once() -> None:
    content = b"HTTP/1.1 200 OK\r\nContent-Length: 8000000\r\n\r\n" + b" " * 8_000_000

    def answer(listener: socket.socket) -> None:
        with suppress(OSError), listener.accept()[0] as connection:
            connection.recv(65_536)
            connection.sendall(content)

    async def most_taken(url: str) -> int:
        async with httpx.AsyncClient(base_url=url, trust_env=False, verify=default_tls_context()) as http:
            tracemalloc.start()
            found = await asyncio.gather(*(exchange(http, "/", BODY, 20, 256 * 1024) for _ in range(8)))
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert found == [NoAnswer("answer_too_large", maybe_sent=True)] * 8
        return most

    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(8):
            threading.Thread(target=answer, args=(listener,), daemon=True).start()
        assert uvloop.run(most_taken(f"http://127.0.0.1:{listener.getsockname()[1]}")) < 16_000_000


async def test_while_an_answer_only_ever_begins_the_loop_goes_on() -> None:
    continues = endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 5000)
    async with receiving(continues) as vendor:
        with busy_loop() as longest_s:
            assert await post(f"http://127.0.0.1:{vendor.port}", timeout_s=2) == NoAnswer("timeout", maybe_sent=True)
    assert longest_s() < 0.1


FLOODS = {
    "ids": b'{"status":200000,"data":{"item_ids":[%b]}}' % b",".join(b'"t2m_%d"' % number for number in range(9000)),
    "lists": b'{"status":200000,"data":[%b[]]}' % (b"[[]]," * 25_000),
    "objects": b'{"status":400001,"data":{"songs":[%b{}]}}' % (b"{}," * 42_000),
    "no json": b'{"status":200000,"data":[%b}' % (b"[[]]," * 25_000),
}


@pytest.mark.parametrize("content", FLOODS.values(), ids=FLOODS)
async def test_while_a_flood_is_read_the_loop_goes_on(content: bytes) -> None:
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

    def __enter__(self) -> Callable[[], float]:
        self._longest = 0.0
        self._watching = asyncio.create_task(self._watch())
        return lambda: self._longest

    def __exit__(self, *_: object) -> None:
        self._watching.cancel()

    async def _watch(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            self._longest = max(self._longest, time.thread_time() - before)
