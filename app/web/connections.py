"""Limit connections, and correct HTTP/1 behaviour, where uvicorn does not.

Limits: how long and how large a request's head may be, how long a response may go unread, how long a connection may be
idle, and how many connections one process has. HTTP/1: an ``Upgrade`` is ignored, a client that half-closes still gets
its responses, HTTP/1.0 gets no chunks, a trailer is no header.
"""

import asyncio
import resource
from dataclasses import dataclass
from typing import Any, ClassVar, Final, cast

import httptools
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.runtime import metrics
from app.web.coalesce_writes import JoinedWrites
from app.web.head_requests import HEALTH_PATHS
from app.web.problems import Problem

SECURITY_HEADERS: Final = [
    ("x-content-type-options", "nosniff"),
    ("cache-control", "no-store"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("referrer-policy", "no-referrer"),
]
"""On every answer, also those that no application sees, unless it sets one of them itself. But for the console's, no
answer is a page, and but for files and assets none should be kept by anybody; paths of callbacks and signed URLs must
not travel on as referrers."""
OTHER_FILES: Final = 256
"""Files that a process opens beside its connections: the database's, the vendor's, the receivers', its own."""
LEAST_BYTES_PER_S: Final = 1024
"""Least rate at which a slow reader must take a response that does not fit the buffers."""
FRAMING: Final = 8
"""Bytes of framing that each byte of a chunked body may cost: chunks of one byte have five or six."""


MOST_CONNECTIONS: Final = 8192
"""Waits and streams together are at most 5,500."""
SPARE_CONNECTIONS: Final = 64
HTTP_VERSIONS: Final = frozenset({"1.0", "1.1"})
_NO_HTTP: Final = (400, "bad_request", "This is not a valid HTTP request.")
_OTHER_VERSION: Final = (505, "http_version", "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
_NO_PROXY: Final = (501, "no_proxy", "The gateway is not a proxy: it has no CONNECT.")


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


def limits_of_process() -> Limits:
    """Make limits that fit the number of files that the process may open, which is raised as far as allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = MOST_CONNECTIONS + SPARE_CONNECTIONS + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    room = needed if soft == resource.RLIM_INFINITY else soft
    return Limits(most_connections=max(OTHER_FILES, min(MOST_CONNECTIONS, room - SPARE_CONNECTIONS - OTHER_FILES)))


def guarded(limits: Limits) -> type[asyncio.Protocol]:
    """Make the protocol class with these limits, for uvicorn's ``http``."""
    return type("Connection", (GuardedConnection,), {"limits": limits})


class GuardedConnection(HttpToolsProtocol):
    """Uvicorn's connection with limits on what uvicorn does not bound: a connection that sends nothing, headers that
    never end or are huge, trailers, what follows a body that was refused, and a response that nobody reads."""

    limits: ClassVar[Limits] = Limits()
    _head_timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None
    _refusal: tuple[int, str, str] | None = None
    _overhead: int = 0
    """Bytes of this request that are not of its body, as far as they are known."""
    _reads: bool = True
    """Whether more is read; else only requests read so far are answered."""

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
        """Handle a half-close: true if the connection stays open for responses. A client that went away looks the same
        until it is written to, so a stream under way ends, and a wait is answered now."""
        cycle: Any = self.cycle
        # What has begun and has no length is a stream.
        if (
            self._is_answering()
            and not cycle.more_body
            and (cycle.expected_content_length or not cycle.response_started)
        ):
            self._stop_reading()
            # Wakes an application that waits for the disconnect behind the body.
            cycle.message_event.set()
            return True
        # The transport closes itself after this, without the bytes that JoinedWrites buffers: the response to a HEAD,
        # whose sender has half-closed.
        cast(JoinedWrites, self.transport).flush()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head_timer, self._unread_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._reads:
            return
        self._unset_keepalive_if_required()
        self._overhead += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError:
            # It is counted and not logged: anybody could fill the log.
            version = self.parser.get_http_version()
            default = _NO_HTTP if version in HTTP_VERSIONS or version == "0.0" else _OTHER_VERSION
            self._refuse(*(self._refusal or default))
        if self.transport.is_closing() or not self._reads:
            return
        # A head that has not ended, or the rest of a request that was answered without it.
        if not self._is_answering() and self._head_timer is None:
            self._watch_head()
        self._overhead = max(self._overhead, 0)
        if self._overhead > self.limits.most_head_bytes:
            self._refuse(431, "head_too_large", "The headers of the request are too large.")

    def _parse(self, data: bytes) -> None:
        """Parse received bytes, and ignore an ``Upgrade`` (h2c, WebSocket, TLS), as RFC 9110, 7.8 allows. The parser
        stops behind a head with one, and takes what follows for the other protocol: so a new parser is fed the head
        without the ``Upgrade``, and then the rest."""
        rest: bytes | memoryview = data
        while True:
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                rest = memoryview(rest)[upgrade.args[0] :]
                head = self._head_without_upgrade()
                self.parser = httptools.HttpRequestParser(self)
                # As uvicorn does: what follows a request with ``Connection: close`` must not take its response away.
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                self.parser.feed_data(head)
            else:
                return

    def _head_without_upgrade(self) -> bytes:
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
        if version not in HTTP_VERSIONS:
            self._refusal = _OTHER_VERSION
            raise ValueError("another version")
        if version == "1.0":
            # It knows no interim responses.
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
        app = _with_own_headers(app, cycle)
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
        # The client should close an idle connection first, or it sends a request into one that we have just closed.
        # Balancers do so after 60 s; uvicorn's 5 s is also what many HTTP clients have.
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
            # There was no request, so there is no response.
            metrics.connections_refused.labels("idle").inc()
            self.transport.close()
        else:
            self._refuse(408, "too_slow", "The request did not come in time.")

    def _is_answering(self) -> bool:
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    def _stop_reading(self) -> None:
        """Read no more, and close after the response to the last request."""
        self._reads = False
        self.cycle.keep_alive = False

    def _refuse(self, status: int, code: str, detail: str) -> None:
        if self._is_answering():
            if not self.cycle.more_body:
                # The request before this one is good, and this response would be taken for the response to it.
                metrics.connections_refused.labels(code).inc()
                self._stop_reading()
                return
            if self.cycle.response_started or self.pipeline:
                # Half of a response was sent, or an earlier one is due: nothing can follow it.
                self._cut(code)
                return
        metrics.connections_refused.labels(code).inc()
        problem = Problem(status, code, detail, {"Connection": "close"})
        lines = [b"%s: %s\r\n" % line for line in [*self.server_state.default_headers, *problem.raw_headers]]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", bytes(problem.body)]))
        self.transport.close()
        self._linger()

    def _linger(self) -> None:
        """Bound how long a connection that is being closed waits for its reader."""
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


def _with_own_headers(app: ASGIApp, cycle: RequestResponseCycle) -> ASGIApp:
    """Wrap the application so that a header that it sets replaces the default of that name: of two policies a browser
    applies both."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_own(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower() for name, _ in message.get("headers", ())}
                cycle.default_headers = [header for header in cycle.default_headers if header[0].lower() not in own]
            await send(message)

        await app(scope, receive, send_own)

    return answer


def _without_chunks(app: ASGIApp, cycle: RequestResponseCycle) -> ASGIApp:
    """Wrap the application for HTTP/1.0, which knows no chunks: a response of unknown length ends with its
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
    """Wrap the application for a connection beyond the limit, so that the process can still be monitored."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in HEALTH_PATHS:
            await app(scope, receive, send)
            return
        metrics.connections_refused.labels("crowded").inc()
        headers = {"Retry-After": "1", "Connection": "close"}
        await Problem(503, "unavailable", "Too many connections are open.", headers)(scope, receive, send)

    return answer
