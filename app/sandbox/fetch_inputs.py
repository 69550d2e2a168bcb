"""Fetch the inputs of works, as the vendor does some time after a submission: HEAD, then GET."""

import asyncio
import hashlib
import time
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import httpx

from app.sandbox.callbacks import make_client
from app.sandbox.calls import Now

FIELDS: Final = ("url", "upload_audio_url")
MOST_BYTES: Final = 50 * 1024 * 1024
_WITHIN_S: Final = 30.0


class Fetch(NamedTuple):
    """An input that was fetched, or was to be. ``head`` and ``status``: the HTTP statuses of HEAD and GET; ``error``:
    why it could not be used."""

    n: int
    at: float
    url: str
    head: int | None
    status: int | None
    bytes: int
    sha256: str | None
    error: str | None


class Inputs:
    """Fetches that are to come, and those that were made."""

    def __init__(self, now: Now = time.time) -> None:
        self._now = now
        self._made: list[Fetch] = []
        self._fetching: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[Fetch]:
        return iter(self._made)

    def schedule(self, n: int, params: dict[str, Any], after_s: float) -> None:
        """Fetch what the params of a submission name, so many real seconds from now."""
        for field in FIELDS:
            if isinstance(url := params.get(field), str):
                task = asyncio.create_task(self._fetch_later(n, url, after_s))
                self._fetching.add(task)
                task.add_done_callback(self._fetching.discard)

    async def stop(self) -> None:
        """End all fetches."""
        fetching = list(self._fetching)
        for task in fetching:
            task.cancel()
        await asyncio.gather(*fetching, return_exceptions=True)

    async def _fetch_later(self, n: int, url: str, after_s: float) -> None:
        await asyncio.sleep(after_s)
        at, head, status, size, digest, error = self._now(), None, None, 0, hashlib.sha256(), None
        try:
            async with asyncio.timeout(_WITHIN_S), make_client() as client:
                head = (await client.head(url)).status_code
                async with client.stream("GET", url) as answer:
                    status = answer.status_code
                    async for piece in answer.aiter_raw():
                        size += len(piece)
                        digest.update(piece)
                        if size > MOST_BYTES:
                            raise ValueError("over 50 MB")
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError) as failure:
            error = f"{type(failure).__name__}: {failure}"
        if error is None and (head, status) != (200, 200):
            error = "not there"
        self._made.append(Fetch(n, at, url, head, status, size, digest.hexdigest() if error is None else None, error))
