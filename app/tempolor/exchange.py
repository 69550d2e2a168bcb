"""Make one HTTP call, bounded in time and size, its outcome a value: the only place that sees the transport's errors.

Where no answer comes, what counts is not which error it was but whether a byte of the request may have gone out to the
vendor: a submission that surely stayed here can be sent again, any other cannot (G5).
"""

import asyncio
import socket
import ssl
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import httpcore
import httpx
import msgspec

from app.runtime.retry_after import parse_retry_after
from app.tempolor.answers import NoAnswer, Reason, Response

MOST_PIECES: Final = 4096
"""A chunked answer can be cut into single bytes, each of which costs a turn of the parser."""
PIECES_AT_A_TIME: Final = 64
"""Pieces that are read before others have their turn: what one read of the socket brought comes without a wait."""

# All that one read brings is parsed before anybody else has a turn, and 64 KB hold thousands of empty heads
# ("100 Continue"), which are no pieces of an answer. httpcore has no other way to say it.
httpcore.AsyncHTTP11Connection.READ_NUM_BYTES = 4096

RECEIVE_BUFFER_BYTES: Final = 64 * 1024


class AnswerTooLarge(Exception):
    """The answer has more bytes, packed or unpacked, or comes in more pieces than one can need."""


class AnswerEncoded(Exception):
    """The answer is packed in a way that cannot be undone within bounds."""


async def exchange(
    http: httpx.AsyncClient, path: str, body: dict[str, Any], timeout_s: float, most_bytes: int
) -> Response | NoAnswer:
    """Post ``body``, and read the answer to its end. Never raises for what the vendor or the network does."""
    tracker = _SendTracker()
    # Half of the time for connecting: httpx closes the socket when its own time for that is up, and what is left
    # is for an answer.
    timeout = httpx.Timeout(None, connect=timeout_s / 2)
    extensions = {"trace": tracker.note}
    try:
        content = msgspec.json.encode(body)
        async with (
            _timeout(timeout_s),
            http.stream("POST", path, content=content, timeout=timeout, extensions=extensions) as response,
        ):
            answer = await _read(response, most_bytes)
        retry_after_s = parse_retry_after(response.headers.get("retry-after"), datetime.now(UTC))
        return Response(response.status_code, answer, retry_after_s)
    except Exception as error:
        # Whatever went wrong, also what nobody thought of: what left decides.
        return NoAnswer(_reason(error, tracker.maybe_sent), tracker.maybe_sent)


@dataclass(slots=True)
class _SendTracker:
    """Track whether a byte of the request may have gone out on the connection that is to carry it, by the steps that
    the transport reports. The request that opens a tunnel (CONNECT) goes to a proxy, and is none of it."""

    maybe_sent: bool = False
    _connection: Any = None

    async def note(self, event: str, info: dict[str, Any]) -> None:
        """Note a step that httpcore reports (``http11.send_request_headers.started``)."""
        _, _, step = event.partition(".")
        if step == "connect_tcp.complete":
            self._connection = info["return_value"].get_extra_info("socket")
            # The loop takes from a socket what is there, megabytes of it, before anybody can say that it is enough.
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        elif step == "send_request_headers.started" and info["request"].method != b"CONNECT":
            connection = self._connection
            if connection is not None and connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0:
                # The other side has broken it already, which nobody sees who only writes.
                raise httpcore.ConnectError("reset before the first byte")
            self.maybe_sent = True
        elif step == "send_request_headers.failed" and isinstance(info["exception"], _NOTHING_WRITTEN):
            self.maybe_sent = False


_NOTHING_WRITTEN: Final = (
    # A header that must not be sent: found before the first byte.
    httpcore.LocalProtocolError,
    # The connection was gone before the head of the request was handed over; the body is not even tried then.
    httpcore.WriteError,
)


@asynccontextmanager
async def _timeout(seconds: float) -> AsyncIterator[None]:
    """``asyncio.timeout``, of time in which this process ran.

    A process that was stopped finds its timers due and its answers arrived, both at once, and the timers come first:
    a plain time-out throws away an answer that is there. So the time is counted in parts, of which a stop of any
    length takes one, and after the last one there is a moment to read what came during it.
    """
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None
    async with asyncio.timeout(None) as limit:

        def count(parts_left: int) -> None:
            nonlocal timer
            if parts_left:
                timer = loop.call_later(seconds / _PARTS, count, parts_left - 1)
            else:
                limit.reschedule(loop.time() + _LAST_LOOK_S)

        count(_PARTS)
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()


_PARTS: Final = 8
_LAST_LOOK_S: Final = 0.05


async def _read(response: httpx.Response, most_bytes: int) -> bytes:
    """The body, unpacked, never more of it in memory than may be. Nothing packed is asked for, yet a proxy may pack;
    what is packed twice is meant to explode."""
    encodings = [name.strip().lower() for name in response.headers.get_list("content-encoding", split_commas=True)]
    unpacking = None
    if encodings in (["gzip"], ["x-gzip"], ["deflate"]):
        unpacking = zlib.decompressobj(zlib.MAX_WBITS | _ANY_HEADER)
    elif encodings not in ([], ["identity"], [""]):
        raise AnswerEncoded
    content = bytearray()
    pieces = 0
    async for piece in response.aiter_raw():
        room = most_bytes + 1 - len(content)
        content += piece[:room] if unpacking is None else unpacking.decompress(piece, room)
        pieces += 1
        if len(content) > most_bytes or pieces > MOST_PIECES:
            raise AnswerTooLarge
        if pieces % PIECES_AT_A_TIME == 0:
            await asyncio.sleep(0)
    return bytes(content)


_ANY_HEADER: Final = 32
"""Tells zlib to find out by itself whether it is gzip's format or its own."""


def _reason(error: Exception, maybe_sent: bool) -> Reason:
    match error:
        case TimeoutError() | httpx.TimeoutException():
            return "timeout"
        case AnswerTooLarge():
            return "answer_too_large"
        case AnswerEncoded() | zlib.error():
            return "answer_encoding"
        case _ if maybe_sent:
            return "bad_answer" if isinstance(error, httpx.ProtocolError) else "connection_lost"
        case httpx.ProxyError():
            return "proxy_failed"
        case httpx.ConnectError() if _is_tls(error):
            return "tls_failed"
        case httpx.NetworkError() | httpx.RemoteProtocolError() | httpcore.ConnectError() | OSError():
            return "connection_failed"
        case _:
            return "request_invalid"


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
