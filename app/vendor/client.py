"""The vendor's HTTP interface: the only place that sees its HTTP errors, and turns each answer into a value.

For a submission the difference between "certainly not taken" and "we cannot know" is what keeps a task from
being billed twice (G5), so every answer that is not plainly one or the other is ``Unknown``.
"""

import asyncio
import email.utils
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import httpx
import msgspec

from app.domain.observation import Reading
from app.vendor import codes, wire
from app.vendor.codes import Meaning, Remedy
from app.vendor.kinds import ACCOUNT_PATH, Family, Kind

QUERY_TIMEOUT_S: Final = 20.0
"""Under the lease of a query (30 s), so that a lease never lapses under a call."""
MOST_ANSWER_BYTES: Final = 16 * 1024 * 1024
MOST_WORDS: Final = 500
"""Characters kept of the vendor's message."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The vendor took the task and named its items (at least one)."""

    item_ids: tuple[str, ...]
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The vendor certainly did not take it. ``status`` is its business code, or None where there was none."""

    meaning: Meaning
    message: str
    status: int | None = None
    request_id: str | None = None
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """Whether it was taken cannot be known. ``reason`` is a short word for logs and metrics."""

    reason: str


SubmitAnswer = Accepted | Refused | Unknown


@dataclass(frozen=True, slots=True)
class Answered:
    """Items that the vendor showed; those asked for and absent here are unknown to it."""

    readings: tuple[Reading, ...]
    oddities: dict[str, int]


@dataclass(frozen=True, slots=True)
class Spoiled:
    """A refusal that one bad id can cause. ``no_such_work`` is 400008."""

    status: int
    message: str

    @property
    def no_such_work(self) -> bool:
        return self.status == codes.NO_SUCH_WORK


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No answer to the question: try again later. ``status`` is the business code if there was one."""

    reason: str
    status: int | None = None
    retry_after_s: float | None = None

    @property
    def key_rejected(self) -> bool:
        return self.status == codes.KEY_REJECTED


QueryAnswer = Answered | Spoiled | Unanswered


@dataclass(frozen=True, slots=True)
class _Envelope:
    status: int
    message: str
    request_id: str | None
    data: Any


CallObserver = Callable[[str, str, float], None]
"""Told of each call: operation, result (a code or a short word), seconds."""


def _http_client(base_url: str, api_key: str, keep_alive: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=base_url.rstrip("/"),
        headers={
            # The bare key: the vendor refuses a "Bearer" prefix.
            b"Authorization": api_key.encode(),
            b"Content-Type": b"application/json; charset=utf-8",
            b"Accept": b"application/json",
        },
        follow_redirects=False,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=keep_alive, keepalive_expiry=15),
    )


class VendorClient:
    """Connections to the vendor. ``close()`` it at the end."""

    def __init__(self, base_url: str, api_key: str, observer: CallObserver = lambda *_: None) -> None:
        self._observer = observer
        self._api_key = api_key
        # A kept connection that the vendor closes just as we write leaves the outcome unknown. A question can
        # be asked again, a submission cannot: each one gets a connection of its own.
        self._submissions = _http_client(base_url, api_key, keep_alive=0)
        self._questions = _http_client(base_url, api_key, keep_alive=10)

    async def close(self) -> None:
        await self._submissions.aclose()
        await self._questions.aclose()

    async def submit(self, kind: Kind, params: dict[str, Any], callback_url: str, timeout_s: float) -> SubmitAnswer:
        """Submit one task. Never raises for what the vendor or the network does."""
        started = time.perf_counter()
        answer = await self._submit(kind.path, params | {"callback_url": callback_url}, timeout_s)
        self._observer("submit", _result_of(answer), time.perf_counter() - started)
        return answer

    async def query(self, family: Family, item_ids: list[str]) -> QueryAnswer:
        """Ask about at most ten items of one family. Never raises for what the vendor or the network does."""
        started = time.perf_counter()
        answer = await self._query(family, item_ids)
        self._observer("query", _result_of(answer), time.perf_counter() - started)
        return answer

    async def account(self) -> dict[str, Any] | Unanswered:
        """The vendor's account data (``balance``: points)."""
        started = time.perf_counter()
        found = await self._read(ACCOUNT_PATH, {})
        result: dict[str, Any] | Unanswered
        if isinstance(found, Unanswered):
            result = found
        elif found.status != codes.SUCCESS or not isinstance(found.data, dict):
            result = Unanswered(self._redact(found.message) or "no account in the answer", found.status)
        else:
            result = wire.clean(found.data, Counter())
        outcome = _result_of(result) if isinstance(result, Unanswered) else str(codes.SUCCESS)
        self._observer("account", outcome, time.perf_counter() - started)
        return result

    async def _submit(self, path: str, body: dict[str, Any], timeout_s: float) -> SubmitAnswer:
        try:
            async with asyncio.timeout(timeout_s):
                response, content = await _post(self._submissions, path, body, timeout_s)
        except TimeoutError:
            return Unknown("timeout")
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol) as error:
            unreachable = Meaning("vendor_unreachable", Remedy.BACK_OFF, retryable=True)
            return Refused(unreachable, f"The vendor could not be reached ({type(error).__name__}).")
        except (httpx.HTTPError, OSError, ValueError) as error:
            return Unknown(type(error).__name__)
        answer = read_submit_answer(response, content)
        return replace(answer, message=self._redact(answer.message)) if isinstance(answer, Refused) else answer

    def _redact(self, words: str) -> str:
        """The vendor's words without our key, which it may repeat: they are shown to clients and logged."""
        return words.replace(self._api_key, "…")

    async def _query(self, family: Family, item_ids: list[str]) -> QueryAnswer:
        found = await self._read(family.query_path, {"item_ids": item_ids})
        if isinstance(found, Unanswered):
            return found
        if found.status in codes.SPOILS_BATCH:
            return Spoiled(found.status, self._redact(found.message))
        if found.status != codes.SUCCESS:
            return Unanswered(str(found.status), found.status)
        items = found.data.get(family.list_key) if isinstance(found.data, dict) else None
        if not isinstance(items, list):
            return Unanswered("no_list", found.status)
        body = wire.read_items(items, family)
        return Answered(tuple(body.readings), dict(body.oddities))

    async def _read(self, path: str, body: dict[str, Any]) -> _Envelope | Unanswered:
        try:
            async with asyncio.timeout(QUERY_TIMEOUT_S):
                response, content = await _post(self._questions, path, body, QUERY_TIMEOUT_S)
        except TimeoutError:
            return Unanswered("timeout")
        except (httpx.HTTPError, OSError, ValueError) as error:
            return Unanswered(type(error).__name__)
        retry_after_s = read_retry_after(response)
        if response.status_code in (401, 403):
            return Unanswered(f"http_{response.status_code}", codes.KEY_REJECTED, retry_after_s)
        envelope = read_envelope(content) if response.status_code < 300 else None
        if envelope is None:
            reason = "no_envelope" if response.status_code < 300 else f"http_{response.status_code}"
            return Unanswered(reason, None, retry_after_s)
        return envelope


async def _post(
    http: httpx.AsyncClient, path: str, body: dict[str, Any], timeout_s: float
) -> tuple[httpx.Response, bytes]:
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
    return response, b"".join(chunks)


def read_submit_answer(response: httpx.Response, content: bytes) -> SubmitAnswer:
    """Sort an answer to a submission into accepted, refused, and unknown.

    Ids in the answer make it accepted whatever its code says: a task that the vendor named must not be sent
    again. A refusal must be plain: a 4xx, or an envelope with a refusing code, and no ids.
    """
    http_status = response.status_code
    retry_after_s = read_retry_after(response)
    envelope = read_envelope(content)
    item_ids = _item_ids(envelope) if envelope else ()
    if envelope and item_ids:
        named = Accepted(item_ids, envelope.request_id)
        return named if http_status < 300 else Unknown(f"http_{http_status}_with_ids")
    if 400 <= http_status < 500:
        return _refused_http(http_status, envelope, retry_after_s)
    if http_status >= 300:
        return Unknown(f"http_{http_status}")
    if envelope is None:
        return Unknown("no_envelope")
    if envelope.status == codes.SUCCESS:
        return Unknown("no_item_ids")
    meaning = codes.on_submit(envelope.status)
    return Refused(meaning, envelope.message, envelope.status, envelope.request_id, retry_after_s)


def _refused_http(http_status: int, envelope: _Envelope | None, retry_after_s: float | None) -> Refused:
    status, message, request_id = None, f"The vendor answered HTTP {http_status}.", None
    if envelope is not None and envelope.status != codes.SUCCESS:
        status, message, request_id = envelope.status, envelope.message, envelope.request_id
    if http_status in (401, 403):
        meaning = codes.on_submit(codes.KEY_REJECTED)
    elif http_status == 429:
        meaning = Meaning("vendor_rate_limited", Remedy.SLOW_DOWN, retryable=True)
    else:
        meaning = codes.on_submit(status) if status is not None else codes.UNDOCUMENTED
    return Refused(meaning, message, status, request_id, retry_after_s)


def read_envelope(content: bytes) -> _Envelope | None:
    """The vendor's envelope, or None for anything else. The business code is ``status``, not ``code``."""
    try:
        document = wire.decode(content)
    except wire.Malformed:
        return None
    if not isinstance(document, dict):
        return None
    status = document.get("status")
    if isinstance(status, bool) or not isinstance(status, int):
        return None
    message, request_id = document.get("message"), document.get("request_id")
    return _Envelope(
        status,
        wire.clean_text(message)[:MOST_WORDS] if isinstance(message, str) else "",
        wire.clean_text(request_id)[:MOST_WORDS] if isinstance(request_id, str) else None,
        document.get("data"),
    )


def _item_ids(envelope: _Envelope) -> tuple[str, ...]:
    named = envelope.data.get("item_ids") if isinstance(envelope.data, dict) else None
    if not isinstance(named, list):
        return ()
    read = (wire.read_item_id(one) for one in named)
    return tuple(dict.fromkeys(one for one in read if one is not None))


def read_retry_after(response: httpx.Response, now: datetime | None = None) -> float | None:
    """Seconds that ``Retry-After`` asks to wait, given as seconds or as a date; None where there is none."""
    text = response.headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return float(min(int(text[:9]), 86_400))
    try:
        at = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if at.tzinfo is None:
        # A date whose zone is not told is UTC, as every date in HTTP is.
        at = at.replace(tzinfo=UTC)
    return min(max((at - (now or datetime.now(at.tzinfo))).total_seconds(), 0.0), 86_400.0)


def _result_of(answer: SubmitAnswer | QueryAnswer) -> str:
    match answer:
        case Accepted() | Answered():
            return str(codes.SUCCESS)
        case Refused():
            return str(answer.status) if answer.status in codes.ON_SUBMIT else answer.meaning.code
        case Spoiled():
            return str(answer.status)
        case Unanswered():
            return str(answer.status) if answer.status in codes.ON_SUBMIT else "unanswered"
        case Unknown():
            return "unknown"
