"""Over TLS the certificate must be for the name in the URL, though the connection goes to an address."""

import asyncio
import ssl
import time

import pytest

from app.notifications.post import Delivered, Failed
from tests.support.receiver import CERTIFICATE, MESSAGE, Resolver, calling, receiving

pytestmark = pytest.mark.real_time
HERE = Resolver(["127.0.0.1"])


@pytest.fixture
def server_tls() -> ssl.SSLContext:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(CERTIFICATE)
    return tls


@pytest.fixture
def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(CERTIFICATE))


async def test_the_name_of_the_url_is_asked_for_and_checked(
    server_tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    asked_for = []
    server_tls.sni_callback = lambda _socket, name, _context: asked_for.append(name)
    async with receiving(tls=server_tls) as receiver:
        with calling(resolve=HERE, tls=trusting) as caller:
            url = receiver.url("receiver.test", scheme="https")
            assert await caller.post(url, MESSAGE) == Delivered(200, "thanks")
    assert asked_for == ["receiver.test"]


@pytest.mark.parametrize("host", ["other.test", "127.0.0.1"])
async def test_a_certificate_for_another_name_is_refused(
    server_tls: ssl.SSLContext, trusting: ssl.SSLContext, host: str
) -> None:
    async with receiving(tls=server_tls) as receiver:
        with calling(resolve=HERE, tls=trusting) as caller:
            assert await caller.post(receiver.url(host, scheme="https"), MESSAGE) == Failed("tls_failed")
    assert receiver.bodies == []


async def test_a_certificate_that_nobody_vouches_for_is_refused(server_tls: ssl.SSLContext) -> None:
    async with receiving(tls=server_tls) as receiver:
        with calling(resolve=HERE) as caller:
            url = receiver.url("receiver.test", scheme="https")
            assert await caller.post(url, MESSAGE) == Failed("tls_failed")
    assert receiver.bodies == []


async def test_a_receiver_without_tls_is_not_spoken_to_in_the_clear() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with calling() as caller:
            assert await caller.post(f"https://127.0.0.1:{port}/", MESSAGE) == Failed("tls_failed")


async def test_a_handshake_that_never_ends_is_left_and_its_connection_closed() -> None:
    left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            pass
        left.set()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        began = time.monotonic()
        with calling(timeout_s=0.6) as caller:
            assert await caller.post(f"https://127.0.0.1:{port}/", MESSAGE) == Failed("timeout")
        assert time.monotonic() - began < 3
        await asyncio.wait_for(left.wait(), 2)
