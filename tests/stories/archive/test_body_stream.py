"""A body is read past the HTTP parser: to its byte, wherever the network cuts what it brings."""

import asyncio
import ssl
import time
from collections.abc import Iterable

import httpcore
import pytest

from app.archive.body_stream import BodyStream
from app.archive.download import MOST_BYTES_PER_S, Downloader
from app.runtime.egress import EgressPolicy

HEADS = b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + b"HTTP/1.1 200 OK\r\nETag: x\r\n%s\r\n\r\n"
BODY = b"ID3\r\n\r\n\n\n" + bytes(range(256)) * 40
LENGTH = HEADS % b"Content-Length: %d" % len(BODY)
CHUNKED = HEADS % b"Transfer-Encoding: chunked" + b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)


class _Network(httpcore.AsyncNetworkStream):
    """A connection that brings these pieces, and takes whatever is sent."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = list(pieces)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if not self._pieces:
            return b""
        piece = self._pieces.pop(0)
        if len(piece) > max_bytes:
            self._pieces.insert(0, piece[max_bytes:])
        return piece[:max_bytes]

    async def write(self, buffer: bytes, timeout: float | None = None) -> None: ...

    async def aclose(self) -> None: ...


async def _answer(pieces: Iterable[bytes]) -> tuple[httpcore.Response, BodyStream]:
    """What httpcore makes of the head of an answer that comes in these pieces."""
    stream = BodyStream(_Network(pieces))
    url = httpcore.URL("http://files.example/a.mp3")
    connection = httpcore.AsyncHTTP11Connection(url.origin, stream)
    return await connection.handle_async_request(
        httpcore.Request("GET", url, headers={"Host": "files.example"})
    ), stream


def _cut(answer: bytes, size: int) -> list[bytes]:
    return [answer[at : at + size] for at in range(0, len(answer), size)]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 17, 1000, 10**6])
async def test_a_body_of_known_length_is_read_from_its_first_byte_to_its_last(size: int) -> None:
    response, stream = await _answer(_cut(LENGTH + BODY + b"more", size))
    assert response.status == 200
    assert b"".join([piece async for piece in stream.body(len(BODY), 1)]) == BODY


@pytest.mark.parametrize("size", [1, 3, 1000, 10**6])
async def test_a_chunked_body_is_read_by_the_parser(size: int) -> None:
    response, stream = await _answer(_cut(CHUNKED, size))
    stream.end_head()
    assert b"".join([piece async for piece in response.aiter_stream()]) == BODY


async def test_a_body_that_is_cut_short_is_no_body() -> None:
    _, stream = await _answer([LENGTH, BODY[:100]])
    with pytest.raises(httpcore.RemoteProtocolError):
        async for _ in stream.body(len(BODY), 1):
            pass


@pytest.mark.real_time
async def test_downloads_wait_longer_after_the_event_loop_was_late() -> None:
    downloader = Downloader(EgressPolicy(), ssl.create_default_context(), 1)
    tenth = MOST_BYTES_PER_S // 10
    asyncio.get_running_loop().call_later(0.01, time.sleep, 0.3)
    await downloader.pace(tenth)
    began_at = time.monotonic()
    await downloader.pace(tenth)
    # A tenth of a second for its own bytes, and three for the loop's lateness.
    assert time.monotonic() - began_at > 0.35
    downloader.close()
