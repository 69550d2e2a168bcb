"""The vendor's HTTP interface: the only place that sees its HTTP errors, and turns each answer into a value.

What an answer means is in ``answers``; here is what happens where none comes: for a submission, whether a connection
was made at all decides between "certainly not taken" and "we cannot know" (G5).
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import httpx
import msgspec

from app.domain.retry_after import parse_retry_after
from app.vendor import codes, wire
from app.vendor.answers import (
    QueryAnswer,
    Refused,
    Response,
    Spoiled,
    SubmitAnswer,
    Unanswered,
    Unknown,
    read_answer,
    read_query_answer,
    read_submit_answer,
    result_of,
)
from app.vendor.codes import Meaning, Remedy
from app.vendor.kinds import ACCOUNT_PATH, Family, Kind

QUERY_TIMEOUT_S: Final = 20.0
"""Under the lease of a query (30 s), so that a lease never lapses under a call."""
MOST_ANSWER_BYTES: Final = 16 * 1024 * 1024

CallObserver = Callable[[str, str, float], None]
"""Told of each call: operation, result (a code or a short word), seconds."""


def _http_client(base_url: str, api_key: str, keep_alive: int, tls: ssl.SSLContext) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=base_url.rstrip("/"),
        headers={
            # The bare key: the vendor refuses a "Bearer" prefix.
            b"Authorization": api_key.encode(),
            b"Content-Type": b"application/json; charset=utf-8",
            b"Accept": b"application/json",
        },
        follow_redirects=False,
        verify=tls,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=keep_alive, keepalive_expiry=15),
    )


class VendorClient:
    """Connections to the vendor. ``close()`` it at the end. ``tls``: whom to trust."""

    def __init__(
        self, base_url: str, api_key: str, tls: ssl.SSLContext, observer: CallObserver = lambda *_: None
    ) -> None:
        self._observer = observer
        self._api_key = api_key
        # A kept connection that the vendor closes just as we write leaves the outcome unknown. A question can
        # be asked again, a submission cannot: each one gets a connection of its own.
        self._submissions = _http_client(base_url, api_key, keep_alive=0, tls=tls)
        self._questions = _http_client(base_url, api_key, keep_alive=10, tls=tls)

    async def close(self) -> None:
        await self._submissions.aclose()
        await self._questions.aclose()

    async def submit(self, kind: Kind, params: dict[str, Any], callback_url: str, timeout_s: float) -> SubmitAnswer:
        """Submit one task. Never raises for what the vendor or the network does."""
        started = time.perf_counter()
        answer = await self._submit(kind.path, params | {"callback_url": callback_url}, timeout_s)
        self._observer("submit", result_of(answer), time.perf_counter() - started)
        return answer

    async def query(self, family: Family, item_ids: list[str]) -> QueryAnswer:
        """Ask about at most ten items of one family. Never raises for what the vendor or the network does."""
        started = time.perf_counter()
        answer = await self._query(family, item_ids)
        self._observer("query", result_of(answer), time.perf_counter() - started)
        return answer

    async def account(self) -> dict[str, Any] | Unanswered:
        """The vendor's account data (``balance``: points)."""
        started = time.perf_counter()
        result = await self._account()
        outcome = result_of(result) if isinstance(result, Unanswered) else str(codes.SUCCESS)
        self._observer("account", outcome, time.perf_counter() - started)
        return result

    async def _submit(self, path: str, body: dict[str, Any], timeout_s: float) -> SubmitAnswer:
        try:
            async with asyncio.timeout(timeout_s):
                response = await _post(self._submissions, path, body, timeout_s)
        except TimeoutError:
            return Unknown("timeout")
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol) as error:
            unreachable = Meaning("vendor_unreachable", Remedy.BACK_OFF, retryable=True)
            return Refused(unreachable, f"The vendor could not be reached ({type(error).__name__}).")
        except (httpx.HTTPError, OSError, ValueError) as error:
            return Unknown(type(error).__name__)
        answer = read_submit_answer(response)
        return replace(answer, message=self._redact(answer.message)) if isinstance(answer, Refused) else answer

    async def _query(self, family: Family, item_ids: list[str]) -> QueryAnswer:
        response = await self._ask(family.query_path, {"item_ids": item_ids})
        if isinstance(response, Unanswered):
            return response
        answer = read_query_answer(response, family)
        return replace(answer, message=self._redact(answer.message)) if isinstance(answer, Spoiled) else answer

    async def _account(self) -> dict[str, Any] | Unanswered:
        response = await self._ask(ACCOUNT_PATH, {})
        found = response if isinstance(response, Unanswered) else read_answer(response)
        if isinstance(found, Unanswered):
            return found
        if found.status != codes.SUCCESS or not isinstance(found.data, dict):
            return Unanswered(self._redact(found.message) or "no account in the answer", found.status)
        account: dict[str, Any] = wire.clean(found.data, wire.Oddities(int))
        return account

    async def _ask(self, path: str, body: dict[str, Any]) -> Response | Unanswered:
        try:
            async with asyncio.timeout(QUERY_TIMEOUT_S):
                return await _post(self._questions, path, body, QUERY_TIMEOUT_S)
        except TimeoutError:
            return Unanswered("timeout")
        except (httpx.HTTPError, OSError, ValueError) as error:
            return Unanswered(type(error).__name__)

    def _redact(self, words: str) -> str:
        """The vendor's words without our key, which it may repeat: they are shown to clients and logged."""
        return words.replace(self._api_key, "…")


async def _post(http: httpx.AsyncClient, path: str, body: dict[str, Any], timeout_s: float) -> Response:
    """One call, read to its bounded end. The caller times the whole of it; only connecting is timed here, in
    half of that, since a connection that could not be made is certainly not a submission."""
    timeout = httpx.Timeout(None, connect=timeout_s / 2)
    chunks: list[bytes] = []
    size = 0
    async with http.stream("POST", path, content=msgspec.json.encode(body), timeout=timeout) as response:
        async for chunk in response.aiter_bytes():
            size += len(chunk)
            if size > MOST_ANSWER_BYTES:
                raise ValueError("the answer is too large")
            chunks.append(chunk)
    retry_after_s = parse_retry_after(response.headers.get("retry-after"), datetime.now(UTC))
    return Response(response.status_code, b"".join(chunks), retry_after_s)
