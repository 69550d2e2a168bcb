"""What uvicorn leaves open on one connection.

Limits: how long and how large a request's head may be, how long an answer may go unread, how long a connection may
stand idle, and how many connections one process holds. And what HTTP/1 asks of a server: an offer of another protocol
is passed over, a sender that closes its side still gets its answers, HTTP/1.0 gets no chunks, a trailer is no header.
"""

import asyncio
import resource
from dataclasses import dataclass
from typing import Any, ClassVar, Final, cast

import httptools
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.runtime import metrics
from app.web.joined_writes import JoinedWrites
from app.web.problems import Problem

HEALTH_PATHS: Final = frozenset({"/healthz", "/readyz", "/backlog", "/metrics"})
"""Answered also while there are too many connections: whoever looks after the process must see it."""
SECURITY_HEADERS: Final = [
    ("x-content-type-options", "nosniff"),
    ("cache-control", "no-store"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("referrer-policy", "no-referrer"),
]
"""On every answer, also those that no application sees. No answer is a page or should be kept by anybody; paths of
callbacks and signed URLs must not travel on as referrers."""
OTHER_FILES: Final = 256
"""Files that a process opens beside its connections: the database's, the vendor's, the receivers', its own."""
LEAST_BYTES_PER_S: Final = 1024
"""What a slow reader must take of an answer that does not fit the buffers."""
FRAMING: Final = 8
"""Bytes of framing that each byte of a chunked body may cost: chunks of one byte have five or six."""


MOST_CONNECTIONS: Final = 8192
"""Waits and streams together are at most 5,500."""
SPARE_CONNECTIONS: Final = 64
SPOKEN: Final = frozenset({"1.0", "1.1"})
_NO_HTTP: Final = (400, "bad_request", "This is not a valid HTTP request.")
_OTHER_VERSION: Final = (505, "http_version", "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
_NO_PROXY: Final = (501, "no_proxy", "The gateway is no proxy: there is no CONNECT.")


@dataclass(frozen=True, slots=True)
class Limits:
    """``head_timeout_s``: from the first byte of a request, or from the connection, to the end of its headers.
    ``idle_s``: how long a connection is kept for its next request; ``crowded_idle_s``: the same while over half of the
    connections are taken. ``unread_timeout_s``: how long a reader may take next to nothing of its answer;
    ``linger_s``: the same once the connection is being closed. Over ``most_connections`` only the health routes are
    answered, to ``spare`` more."""

    head_timeout_s: float = 10.0
    idle_s: int = 75
    crowded_idle_s: int = 5
    unread_timeout_s: float = 60.0
    linger_s: float = 5.0
    most_head_bytes: int = 64 * 1024
    most_url_bytes: int = 32 * 1024
    most_connections: int = MOST_CONNECTIONS
    spare: int = SPARE_CONNECTIONS


def limits_of_process(wanted: int = MOST_CONNECTIONS) -> Limits:
    """Limits that fit the number of files that the process may open, which is raised as far as it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + SPARE_CONNECTIONS + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    room = needed if soft == resource.RLIM_INFINITY else soft
    return Limits(most_connections=max(OTHER_FILES, min(wanted, room - SPARE_CONNECTIONS - OTHER_FILES)))


def guarded(limits: Limits) -> type[asyncio.Protocol]:
    """The protocol class that holds these limits, for uvicorn's ``http``."""
    return type("Connection", (GuardedConnection,), {"limits": limits})


class GuardedConnection(HttpToolsProtocol):
    """Uvicorn's connection with limits. What uvicorn does not bound: a connection that sends nothing, headers that
    never end or are huge, trailers, what follows a body that was refused, and an answer that nobody reads."""

    limits: ClassVar[Limits] = Limits()
    _head_timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None
    _refusal: tuple[int, str, str] | None = None
    _overhead: int = 0
    """Bytes of this request that are not of its body, as far as they are known."""
    _hears: bool = True
    """Whether what still comes is read; else only what was asked is answered."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, JoinedWrites(transport, self.loop)))
        count, limits = len(self.connections), self.limits
        if count > limits.most_connections + limits.spare:
            self._cut("crowded")
            return
        if count > limits.most_connections:
            self.app = _health_alone(self.app)
        self._watch_head()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Whether the connection stays open for answers: its sender has closed its own side. One that went away
        looks the same until it is written to, so a stream under way ends, and a wait is answered now."""
        cycle: Any = self.cycle
        # What has begun and has no length is a stream.
        if (
            self._is_answering()
            and not cycle.more_body
            and (cycle.expected_content_length or not cycle.response_started)
        ):
            self._answer_the_rest()
            # Whoever reads on behind the body learns of it.
            cycle.message_event.set()
            return True
        # The transport closes itself behind this, past what is held: the answer to a HEAD, whose sender sends no more.
        cast(JoinedWrites, self.transport).flush()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head_timer, self._unread_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._hears:
            return
        self._unset_keepalive_if_required()
        self._overhead += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError:
            # It is counted and not logged: anybody could fill the log.
            named = self.parser.get_http_version()
            other = _NO_HTTP if named in SPOKEN or named == "0.0" else _OTHER_VERSION
            self._refuse(*(self._refusal or other))
        if self.transport.is_closing() or not self._hears:
            return
        between = not self._is_answering()
        # A head that has not ended, or the rest of a request that was answered without it.
        if between and self._head_timer is None:
            self._watch_head()
        self._overhead = max(self._overhead, 0)
        if self._overhead > self.limits.most_head_bytes:
            self._refuse(431, "head_too_large", "The headers of the request are too large.")

    def _parse(self, data: bytes) -> None:
        """Parse what came. An offer to go on in another protocol (h2c, WebSocket, TLS) may be ignored (RFC 9110, 7.8),
        and is. A parser stops behind a head that makes one, and takes what follows for that protocol: another is
        given the head without the offer, and then the rest."""
        rest: bytes | memoryview = data
        while True:
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as offer:
                rest = memoryview(rest)[offer.args[0] :]
                head = self._head_without_offer()
                self.parser = httptools.HttpRequestParser(self)
                # As uvicorn does: what follows a request that asks to close must not take its answer away.
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                self.parser.feed_data(head)
            else:
                return

    def _head_without_offer(self) -> bytes:
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        lines = [b"%s: %s\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        return b"%s %s HTTP/%s\r\n%s\r\n" % (method, self.url, version, b"".join(lines))

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                self._refusal = _NO_PROXY
                raise ValueError("CONNECT")
            return
        version = self.parser.get_http_version()
        if version not in SPOKEN:
            self._refusal = _OTHER_VERSION
            raise ValueError("another version")
        if version == "1.0":
            # It knows no interim answers.
            self.expect_100_continue = False
        self._forget_head()
        if len(self.url) > self.limits.most_url_bytes:
            self._refusal = (414, "url_too_long", "The URL is too long.")
            raise ValueError("the URL is too long")
        if self._overhead > self.limits.most_head_bytes:
            head = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if head > self.limits.most_head_bytes:
                self._refusal = (431, "head_too_large", "The headers of the request are too large.")
                raise ValueError("the head is too large")
        super().on_headers_complete()
        # Trailers are no headers: a proxy that sets X-Forwarded-For may pass on one that came as a trailer.
        self.headers = []

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if cycle.scope["http_version"] == "1.0":
            app = _without_chunks(app, cycle)
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        self._overhead -= len(body) * FRAMING
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._overhead = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        # Whoever keeps a connection must be the first to give it up, or it sends a request into one that we have just
        # closed. Balancers do so after 60 s; uvicorn's 5 s is also what many HTTP clients have.
        crowded = len(self.connections) > self.limits.most_connections // 2
        self.timeout_keep_alive = self.limits.crowded_idle_s if crowded else self.limits.idle_s
        super().on_response_complete()
        if self.transport.is_closing():
            self._linger()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._linger()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread_timer is None:
            self._watch_reader(self.limits.unread_timeout_s)

    def resume_writing(self) -> None:
        if self._unread_timer is not None and not self.transport.is_closing():
            self._unread_timer.cancel()
            self._unread_timer = None
        super().resume_writing()

    def _watch_head(self) -> None:
        self._head_timer = self.loop.call_later(self.limits.head_timeout_s, self._head_is_late)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        if not self._overhead:
            # Nothing was asked, so nothing is answered.
            metrics.connections_refused.labels("idle").inc()
            self.transport.close()
        else:
            self._refuse(408, "too_slow", "The request did not come in time.")

    def _is_answering(self) -> bool:
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    def _answer_the_rest(self) -> None:
        """Read no more; close behind the answer to the last request."""
        self._hears = False
        self.cycle.keep_alive = False

    def _refuse(self, status: int, code: str, detail: str) -> None:
        if self._is_answering():
            if not self.cycle.more_body:
                # What was asked before this is good, and this answer would be taken for its answer.
                metrics.connections_refused.labels(code).inc()
                self._answer_the_rest()
                return
            if self.cycle.response_started or self.pipeline:
                # Half of an answer is out, or one that is due before: nothing can follow it.
                self._cut(code)
                return
        metrics.connections_refused.labels(code).inc()
        problem = Problem(status, code, detail, {"Connection": "close"})
        lines = [b"%s: %s\r\n" % line for line in [*self.server_state.default_headers, *problem.raw_headers]]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", bytes(problem.body)]))
        self.transport.close()
        self._linger()

    def _linger(self) -> None:
        """A connection that is being closed waits for its reader, but not for ever."""
        if self._unread_timer is not None:
            self._unread_timer.cancel()
        self._watch_reader(self.limits.linger_s)

    def _watch_reader(self, within_s: float) -> None:
        unread = self.transport.get_write_buffer_size()
        self._unread_timer = self.loop.call_later(within_s, self._check_reader, within_s, unread)

    def _check_reader(self, within_s: float, before: int) -> None:
        if before - self.transport.get_write_buffer_size() < LEAST_BYTES_PER_S * within_s:
            self._cut("unread")
        else:
            self._watch_reader(within_s)

    def _cut(self, reason: str) -> None:
        metrics.connections_refused.labels(reason).inc()
        self.transport.abort()


def _without_chunks(app: ASGIApp, cycle: RequestResponseCycle) -> ASGIApp:
    """The application for a speaker of HTTP/1.0, which knows no chunks: an answer of unknown length ends with its
    connection."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        unframed = False

        async def send_plain(message: Message) -> None:
            nonlocal unframed
            if message["type"] == "http.response.start":
                unframed = not any(name.lower() == b"content-length" for name, _ in message["headers"])
                cycle.chunked_encoding = False if unframed else None
            elif unframed:
                # Added, since several may wait here for a slow reader.
                cycle.expected_content_length += len(message.get("body", b""))
            await send(message)

        await app(scope, receive, send_plain)

    return answer


def _health_alone(app: Any) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in HEALTH_PATHS:
            await app(scope, receive, send)
            return
        metrics.connections_refused.labels("crowded").inc()
        headers = {"Retry-After": "1", "Connection": "close"}
        await Problem(503, "unavailable", "Too many connections are open.", headers)(scope, receive, send)

    return answer
