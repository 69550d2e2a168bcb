"""One conversation over HTTP: a call with its retries, or an open stream."""

import asyncio
import ipaddress
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any, Final

import httpx

from tempolor_gateway_client.errors import GatewayError, Unavailable, UnexpectedAnswer, error_of
from tempolor_gateway_client.retries import Outage, Retries
from tempolor_gateway_client.sse import Event, read_events

QUIET_S: Final = 60.0
"""A stream that is silent for so long is dead: the gateway sends a heartbeat every 15 s."""
SLOW_LINE_BYTES_PER_S: Final = 128 * 1024
"""What an upload is sent at, at least."""
_NO_CONTENT: Final = 204
_BROKEN: Final = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError)

Query = Mapping[str, Any]


class Transport:
    """Speaks to one gateway with one API key. ``timeout_s``: of one attempt, from its beginning to its answer."""

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        timeout_s: float,
        retries: Retries,
        trust_env: bool,
        tls: ssl.SSLContext | None,
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ValueError("the base URL must begin with http:// or https://")
        if not api_key:
            raise ValueError("the API key is empty")
        if api_key != api_key.strip() or not api_key.isprintable():
            raise ValueError("the API key has a line break in it, or white space around it")
        try:
            url = httpx.URL(base_url)
        except httpx.InvalidURL as error:
            raise ValueError("the base URL cannot be read") from error
        if not url.host:
            raise ValueError("the base URL cannot be read: it names no host")
        if url.port is not None and not 0 < url.port < 65536:
            raise ValueError("the base URL cannot be read: there is no such port")
        self.retries = retries
        self._timeout_s = timeout_s
        # Keys are any printable text, and the gateway reads them as UTF-8.
        headers = {b"authorization": b"Bearer " + api_key.encode(), b"user-agent": b"tempolor-gateway-client"}
        # This machine is never asked through a proxy, and what the variables hold need not be usable for it.
        heeds_proxies = trust_env and not _is_loopback(url.host)
        try:
            verify = tls or httpx.create_ssl_context(trust_env=trust_env)
        except OSError as error:
            raise ValueError(
                "the authorities of the environment cannot be read (SSL_CERT_FILE, SSL_CERT_DIR): mend them, or say "
                "trust_env=False"
            ) from error
        try:
            self._http = httpx.AsyncClient(
                base_url=url,
                headers=headers,
                # Waits and streams hold a connection each; how many there may be is the gateway's to say.
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
                trust_env=heeds_proxies,
                verify=verify,
            )
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            raise ValueError(
                "the proxy variables of the environment cannot be used (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY): "
                "mend them, or say trust_env=False"
            ) from error

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def get(self, path: str, query: Query | None = None, *, hold_s: float = 0.0) -> Any:
        """The JSON of a GET. ``hold_s``: how long the gateway may hold the answer. Raises ``GatewayError``."""
        return await self._call("GET", path, params=query or {}, hold_s=hold_s)

    async def get_text(self, path: str) -> str:
        """The text of a GET. Raises ``GatewayError``."""
        return str(await self._call("GET", path, is_json=False))

    async def post(
        self, path: str, document: Any = None, *, idempotency_key: str | None = None, hold_s: float = 0.0
    ) -> Any:
        """The JSON of a POST. It is repeated like a GET, so it must be one that may arrive twice. Raises
        ``GatewayError``."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key is not None else {}
        return await self._call("POST", path, hold_s=hold_s, **_body(document, headers))

    async def post_bytes(self, path: str, content: bytes, query: Query, media_type: str) -> Any:
        """The JSON of a POST of raw bytes, which is repeated like a GET. An attempt may take longer by what the bytes
        take on a slow line. Raises ``GatewayError``."""
        headers = {"Content-Type": media_type}
        hold_s = len(content) / SLOW_LINE_BYTES_PER_S
        return await self._call("POST", path, hold_s=hold_s, headers=headers, content=content, params=query)

    @asynccontextmanager
    async def download(self, path: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes of a file, in one attempt; a redirect to where it is kept is followed, without the API key. Raises
        ``GatewayError``; the iteration raises ``Unavailable`` when the connection breaks."""
        request = self._http.build_request("GET", path, timeout=self._timeout_s)
        with _translated():
            answer = await self._http.send(request, stream=True, follow_redirects=True)
        try:
            if not answer.is_success:
                with _translated():
                    error = error_of(answer.status_code, answer.headers, await answer.aread())
                if answer.history and not isinstance(error, Unavailable):
                    # It is the vendor's: a 403 there says nothing of the key, a 404 nothing of the item.
                    detail = f"the vendor's link was answered with HTTP {answer.status_code}"
                    raise GatewayError(detail, status=answer.status_code, code=error.code)
                raise error
            yield _pieces_of(answer)
        finally:
            await answer.aclose()

    async def patch(self, path: str, document: Any) -> Any:
        """The JSON of a PATCH, which is repeated like a GET. Raises ``GatewayError``."""
        return await self._call("PATCH", path, **_body(document, {}))

    async def post_once(self, path: str) -> Any:
        """The JSON of a POST that must not arrive twice: it is not repeated. Raises ``GatewayError``."""
        return await self._attempt("POST", path, self._timeout_s)

    async def _call(self, method: str, path: str, *, hold_s: float = 0.0, **given: Any) -> Any:
        outage: Outage | None = None
        while True:
            try:
                return await self._attempt(method, path, self._timeout_s + hold_s, **given)
            except Unavailable as error:
                outage = outage or Outage(self.retries)
                await outage.pause(error)

    async def _attempt(self, method: str, path: str, limit_s: float, *, is_json: bool = True, **given: Any) -> Any:
        request = self._http.build_request(method, path, timeout=limit_s, **given)
        with _translated():
            async with asyncio.timeout(limit_s):
                answer = await self._http.send(request)
        if not answer.is_success:
            raise error_of(answer.status_code, answer.headers, answer.content)
        if not is_json:
            return answer.text
        try:
            return answer.json()
        except ValueError:
            raise UnexpectedAnswer(
                "the answer is not JSON", status=answer.status_code, code="unexpected_answer"
            ) from None

    @asynccontextmanager
    async def stream(self, path: str, last_event_id: str | None) -> AsyncIterator[AsyncIterator[Event] | None]:
        """An open stream, in one attempt; None if there is nothing more to come. Raises ``GatewayError``; the
        iteration raises ``Unavailable`` when the connection breaks."""
        headers = {"Accept": "text/event-stream"}
        if last_event_id:
            headers["Last-Event-ID"] = last_event_id
        request = self._http.build_request(
            "GET", path, headers=headers, timeout=httpx.Timeout(self._timeout_s, read=QUIET_S)
        )
        with _translated():
            async with asyncio.timeout(self._timeout_s):
                answer = await self._http.send(request, stream=True)
        try:
            if not answer.is_success:
                with _translated():
                    raise error_of(answer.status_code, answer.headers, await answer.aread())
            if answer.status_code == _NO_CONTENT:
                yield None
            else:
                async with aclosing(_events_of(answer)) as events:
                    yield events
        finally:
            await answer.aclose()


def _body(document: Any, headers: dict[str, str]) -> dict[str, Any]:
    if document is None:
        return {"headers": headers}
    content = json.dumps(document, allow_nan=False).encode()
    return {"headers": headers | {"Content-Type": "application/json"}, "content": content}


def _is_loopback(host: str) -> bool:
    host = host.removesuffix(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _pieces_of(answer: httpx.Response) -> AsyncGenerator[bytes, None]:
    with _translated():
        async for piece in answer.aiter_bytes():
            yield piece


async def _events_of(answer: httpx.Response) -> AsyncGenerator[Event, None]:
    if not answer.headers.get("content-type", "").startswith("text/event-stream"):
        raise UnexpectedAnswer("the answer is not an event stream", status=answer.status_code, code="unexpected_answer")
    with _translated():
        async with aclosing(read_events(answer.aiter_bytes())) as events:
            async for event in events:
                yield event


@contextmanager
def _translated() -> Iterator[None]:
    """What passes by itself becomes ``Unavailable``; what a repeat cannot mend goes through."""
    try:
        yield
    except (TimeoutError, httpx.TimeoutException) as error:
        raise Unavailable("the gateway did not answer in time", code="timed_out") from error
    except _BROKEN as error:
        detail = f"the connection to the gateway failed: {str(error) or type(error).__name__}"
        raise Unavailable(detail, code="unreachable") from error
