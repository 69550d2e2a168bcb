"""Post one signed webhook to a receiver, bounded in time and size; its outcome is a value and never an exception."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar, Final, Literal

import httpcore
import httpx
import structlog

from app.errors import InvalidRequest
from app.runtime.egress import EgressGuard, EgressPolicy, EgressRefused, NameNotResolved, Resolve
from app.runtime.retry_after import parse_retry_after
from app.runtime.signing import Signed
from app.tasks.webhook_url import read_url

log = structlog.get_logger(__name__)

TIMEOUT_S: Final = 15.0
MOST_READ_BYTES: Final = 64 * 1024
"""Read of an answer, so that the receiver can finish sending it; then the connection is closed."""
MOST_READ_PIECES: Final = 1024
"""A chunked answer can be cut into single bytes, each of which costs a call of the parser."""
# All that one read brings is parsed before the event loop runs anything else, and 64 KB hold thousands of empty heads
# ("100 Continue"), which are no pieces of an answer. httpcore has no other way to say it.
httpcore.AsyncHTTP11Connection.READ_NUM_BYTES = 4096
SMALL_BUFFER: Final = (socket.SOL_SOCKET, socket.SO_RCVBUF, MOST_READ_BYTES)
"""The event loop takes from a socket what is there, megabytes of it, before reading can be stopped."""
SHOWN_BYTES: Final = 1024
NO_HEADERS: Final[Mapping[str, str]] = {}

FailReason = Literal["name_not_resolved", "connection_failed", "tls_failed", "timeout", "bad_answer", "connection_lost"]
ForbidReason = Literal["address_not_public", "invalid_url"]


@dataclass(frozen=True, slots=True)
class Delivered:
    """2xx: the receiver took it. ``text`` here and below: the beginning of its answer, on one printable line."""

    status: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Gone:
    """410: the receiver wants no more of these."""

    status: ClassVar[int] = 410
    text: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """Any other answer, redirects included (they are not followed)."""

    status: int
    retry_after_s: float | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """No answer; whether the receiver got the message is not known."""

    reason: FailReason


@dataclass(frozen=True, slots=True)
class Forbidden:
    """Not sent: the URL leads to where calls must not go."""

    reason: ForbidReason


Answered = Delivered | Gone | Rejected
"""The receiver answered: there is a status, and a text."""
Answer = Answered | Failed | Forbidden


class Unreadable:
    """In place of an answer: the snapshot could not be decoded, since another release wrote it say, and nothing was
    posted. It is retried as a failed attempt, and delays no other notification."""


def outcome_of(answer: Answer | Unreadable | None) -> str:
    """The outcome of an attempt as one of few words, for metrics and the outbound log."""
    match answer:
        case None:
            return "client_revoked"
        case Unreadable():
            return "unreadable"
        case Delivered():
            return "delivered"
        case Gone():
            return "gone"
        case Rejected():
            return "rejected"
        case Failed(reason) | Forbidden(reason):
            return reason


@dataclass(slots=True)
class _PartialAnswer:
    """What has arrived of an answer so far; 0 is no status yet."""

    status: int = 0
    retry_after: str = ""
    content: bytearray = field(default_factory=bytearray)


class WebhookSender:
    """Posts webhooks to receivers. ``close()`` it at the end.

    ``timeout_s`` bounds a whole call, from DNS to the end of the answer. ``policy``: where calls may go.
    ``resolve`` is called as ``socket.getaddrinfo`` is. ``tls``: whom to trust. ``redact`` takes our secrets out of what
    is shown of an answer. The environment is ignored, proxies above all: behind one, the address that is connected to
    would not be the one that was checked.
    """

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        tls: ssl.SSLContext,
        timeout_s: float = TIMEOUT_S,
        resolve: Resolve = socket.getaddrinfo,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        redact: Callable[[bytes], bytes] = bytes,
    ) -> None:
        self._guard = EgressGuard(policy, resolve=resolve)
        self._timeout_s = timeout_s
        self._tls = tls
        self._now = now
        self._redact = redact

    def close(self) -> None:
        self._guard.close()

    async def post(self, url: str, message: Signed, headers: Mapping[str, str] = NO_HEADERS) -> Answer:
        """Post a message once, with ``headers`` beside those that sign it. Never raises for what the URL says, the
        network does, or the receiver answers.

        A status is the answer, also where the rest of it breaks off, never ends, or is too large: a receiver that
        answered 2xx has the message.
        """
        received = _PartialAnswer()
        failure: Exception | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._exchange(read_url(url), message, headers, received)
        except InvalidRequest:
            # Refused when it was submitted; kept from before the rule, or put into the database by hand.
            log.warning("egress.refused", reason="invalid_url")
            return Forbidden("invalid_url")
        except EgressRefused:
            return Forbidden("address_not_public")
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError, ValueError) as error:
            failure = error
        if received.status:
            return self._classify(received)
        return Failed(_reason(failure))

    async def _exchange(
        self, url: httpx.URL, message: Signed, extra_headers: Mapping[str, str], received: _PartialAnswer
    ) -> None:
        """Send a message, and add the answer to ``received`` as it arrives.

        On a connection of its own: what was checked once is never used for a later message, no receiver keeps a
        socket of ours, and a kept connection that closes just as we write would look like a failure. Notifications
        to one receiver are seconds apart at best, so there is little to save.
        """
        origin = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        headers = {
            "Host": url.netloc.decode("ascii"),
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "Connection": "close",
            "User-Agent": "tempolor-gateway",
            **extra_headers,
            **message.headers,
        }
        # A third for connecting and a third for the TLS handshake: httpcore closes the socket when its own time for
        # these is up, but leaks it in a handshake that is cancelled from outside, by the limit of the whole call.
        limits = {"timeout": {"connect": self._timeout_s / 3}}
        async with (
            httpcore.AsyncHTTPConnection(
                origin.origin, self._tls, network_backend=self._guard, socket_options=[SMALL_BUFFER]
            ) as connection,
            connection.stream(
                "POST", origin, headers=list(headers.items()), content=message.body, extensions=limits
            ) as response,
        ):
            received.status = response.status
            received.retry_after = _header(response, b"retry-after")
            pieces = 0
            async for piece in response.aiter_stream():
                received.content += piece
                pieces += 1
                if len(received.content) >= MOST_READ_BYTES or pieces >= MOST_READ_PIECES:
                    return

    def _classify(self, received: _PartialAnswer) -> Answer:
        text = printable(self._redact(bytes(received.content))[:SHOWN_BYTES])
        if 200 <= received.status < 300:
            return Delivered(received.status, text)
        if received.status == 410:
            return Gone(text)
        return Rejected(received.status, parse_retry_after(received.retry_after, self._now()), text)


def printable(content: bytes) -> str:
    """A receiver's answer for display: one line, without what a terminal, a page or a database would act upon."""
    text = content.decode(errors="replace")
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _header(response: httpcore.Response, name: bytes) -> str:
    values = [value for key, value in response.headers if key.lower() == name]
    return values[0].decode("latin-1") if values else ""


def _reason(failure: Exception | None) -> FailReason:
    match failure:
        case NameNotResolved():
            return "name_not_resolved"
        case TimeoutError() | httpcore.TimeoutException():
            return "timeout"
        case httpcore.ConnectError() if isinstance(failure.__cause__, ssl.SSLError):
            return "tls_failed"
        case httpcore.ConnectError():
            return "connection_failed"
        case httpcore.ProtocolError():
            return "bad_answer"
        case _:
            return "connection_lost"
