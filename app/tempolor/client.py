"""The HTTP client of the vendor: submit, query, read the account. Each answer becomes a value.

What an answer means is in ``answers``, how a call is made in ``exchange``; here they meet.
"""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

import httpx

from app.runtime import metrics
from app.tempolor.answers import (
    NoAnswer,
    QueryAnswer,
    Response,
    SubmitAnswer,
    Unanswered,
    read_account,
    read_query_answer,
    read_submit_answer,
    result_of,
)
from app.tempolor.drift import Finding, of_answer
from app.tempolor.exchange import exchange
from app.tempolor.kinds import ACCOUNT_PATH, Family, Kind
from app.tempolor.redact import Redactor

QUERY_TIMEOUT_S: Final = 20.0
"""Under the lease of a query (30 s), so that a lease never lapses under a call."""
MOST_ANSWER_BYTES: Final = 256 * 1024
"""Of an answer to a question: ten items, of which each is sent by callbacks of 8 KB. What is read to its end is also
what one decoding holds everything else up for."""
MOST_SUBMIT_ANSWER_BYTES: Final = 128 * 1024
"""Of an answer to a submission, and of the account: 500 ids of 200 characters, and room."""
READ_AT_ONCE_BYTES: Final = 32 * 1024
"""What is larger is read beside the loop."""

T = TypeVar("T", bound=SubmitAnswer | QueryAnswer | dict[str, Any])

FindDrift = Callable[[Any], list[Finding]]
"""What finds in a decoded answer what nobody knew."""


def _http_client(
    base_url: str, api_key: str, keep_alive: int, tls: ssl.SSLContext, proxy: str | None
) -> httpx.AsyncClient:
    over_tls = proxy is not None and proxy.startswith("https:")
    return httpx.AsyncClient(
        base_url=base_url.rstrip("/"),
        headers={
            # The bare key: the vendor refuses a "Bearer" prefix.
            b"Authorization": api_key.encode(),
            b"Content-Type": b"application/json; charset=utf-8",
            b"Accept": b"application/json",
            # Some kilobytes that grow to gigabytes are no saving.
            b"Accept-Encoding": b"identity",
        },
        follow_redirects=False,
        verify=tls,
        # The settings read the variables of proxies, and tell what is wrong with them.
        trust_env=False,
        proxy=None if proxy is None else httpx.Proxy(proxy, ssl_context=tls if over_tls else None),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=keep_alive, keepalive_expiry=15),
    )


class VendorClient:
    """Connections to the vendor; ``close()`` them at the end. ``tls``: whom to trust. ``proxy``: the URL of one.
    ``redactor``: knows what else, beside the key, must not come back. ``on_drift`` is called with what is unknown in an
    answer."""

    def __init__(
        self,
        base_url: str,
        api_key: str,
        tls: ssl.SSLContext,
        proxy: str | None = None,
        redactor: Redactor | None = None,
        on_drift: Callable[[list[Finding]], None] = lambda _found: None,
    ) -> None:
        self._on_drift = on_drift
        self._redactor = redactor or Redactor(api_key)
        self._reading_large = asyncio.Lock()
        # A kept connection that the vendor closes just as we write leaves the outcome unknown. A question can
        # be asked again, a submission cannot: each one gets a connection of its own.
        self._submissions = _http_client(base_url, api_key, keep_alive=0, tls=tls, proxy=proxy)
        self._questions = _http_client(base_url, api_key, keep_alive=10, tls=tls, proxy=proxy)

    async def close(self) -> None:
        await self._submissions.aclose()
        await self._questions.aclose()

    async def submit(self, kind: Kind, params: dict[str, Any], callback_url: str, timeout_s: float) -> SubmitAnswer:
        """Submit one task. Never raises for what the vendor or the network does."""
        body = params | {"callback_url": callback_url}
        call = exchange(self._submissions, kind.path, body, timeout_s, MOST_SUBMIT_ANSWER_BYTES)
        find_drift = partial(of_answer, kind.family.name, "submit", ("data", "item_ids"))
        return await self._answer_to("submit", call, read_submit_answer, find_drift)

    async def query(self, family: Family, item_ids: list[str]) -> QueryAnswer:
        """Ask about at most ten items of one family. Never raises for what the vendor or the network does."""
        body = {"item_ids": item_ids}
        call = exchange(self._questions, family.query_path, body, QUERY_TIMEOUT_S, MOST_ANSWER_BYTES)
        find_drift = partial(of_answer, family.name, "query", ("data", family.list_key))
        return await self._answer_to("query", call, partial(read_query_answer, family=family), find_drift)

    async def account(self) -> dict[str, Any] | Unanswered:
        """Read the vendor's account data (``balance``: points)."""
        call = exchange(self._questions, ACCOUNT_PATH, {}, QUERY_TIMEOUT_S, MOST_SUBMIT_ANSWER_BYTES)
        return await self._answer_to("account", call, read_account, partial(of_answer, "", "account", ()))

    async def _answer_to(
        self,
        operation: str,
        call: Awaitable[Response | NoAnswer],
        read: Callable[[Response | NoAnswer], T],
        find_drift: FindDrift,
    ) -> T:
        """Make a call, read its answer, and count both. A large answer is read in a thread, and one at a time: a
        hundred kilobytes of brackets take as long as thousands of items, and as much memory."""
        started = time.perf_counter()
        response = await call
        if isinstance(response, NoAnswer):
            answer = read(response)
        else:
            if len(response.content) <= READ_AT_ONCE_BYTES:
                answer, findings = self._read(response, read, find_drift)
            else:
                async with self._reading_large:
                    answer, findings = await asyncio.to_thread(self._read, response, read, find_drift)
            self._on_drift(findings)
        metrics.note_vendor_call(operation, result_of(answer), time.perf_counter() - started)
        return answer

    def _read(
        self, response: Response, read: Callable[[Response], T], find_drift: FindDrift
    ) -> tuple[T, list[Finding]]:
        """Read an answer without our secrets, which the vendor may repeat."""
        redacted = replace(response, content=self._redactor.body(response.content))
        return read(redacted), find_drift(redacted.document)
