"""Send callbacks when they are due, those of an item in order, by a bounded number of senders."""

import asyncio
import functools
import hashlib
import ssl
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import httpx

from app.sandbox.calls import Now
from app.sandbox.config import Delivery

ACKNOWLEDGEMENT: Final = b"success"

_REUSE_S: Final = 2.0
"""Real seconds that an idle connection is kept; receivers often close theirs after 5, and would cut a callback."""


class ItemQueue:
    """The callbacks of one item, which are sent one after the other, so that nothing but faults changes their order."""

    __slots__ = ("busy", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Callback] = deque()
        self.busy = False


@dataclass(slots=True, eq=False)
class Callback:
    """One callback to make. Its body is made when it is sent, and is the same each time."""

    n: int | None
    item_id: str | None
    event: str | None
    url: str
    make_body: Callable[[], bytes]
    headers: dict[str, str] = field(default_factory=dict)
    queue: ItemQueue = field(default_factory=ItemQueue)
    tries: int = 0
    done: asyncio.Future[None] | None = None


class Attempt(NamedTuple):
    """One delivery that was tried. Times are epoch seconds; ``digest`` is the SHA-256 of the body."""

    number: int
    at: float
    ended_at: float
    n: int | None
    item_id: str | None
    event: str | None
    url: str
    digest: str
    http_status: int | None
    error: str | None
    acknowledged: bool
    callback: Callback


class AttemptLog:
    """The newest attempts, and counters that forget nothing."""

    def __init__(self, log_limit: int, now: Now = time.time) -> None:
        self._now = now
        self.entries: deque[Attempt] = deque(maxlen=log_limit)
        self.total = 0
        self.acknowledged = 0
        self.by_answer: Counter[str] = Counter()

    def add(self, callback: Callback, at: float, body: bytes, answer: tuple[int | None, str | None, bool]) -> Attempt:
        """Note a delivery that was tried; ``answer`` is HTTP status, error, acknowledged."""
        http_status, error, acknowledged = answer
        self.total += 1
        self.acknowledged += acknowledged
        self.by_answer["error" if http_status is None else str(http_status)] += 1
        attempt = Attempt(
            number=self.total,
            at=at,
            ended_at=self._now(),
            n=callback.n,
            item_id=callback.item_id,
            event=callback.event,
            url=callback.url,
            digest=hashlib.sha256(body).hexdigest(),
            http_status=http_status,
            error=error,
            acknowledged=acknowledged,
            callback=callback,
        )
        self.entries.append(attempt)
        return attempt


class Deliveries:
    """Schedules callbacks, sends them, and logs each attempt in ``log``."""

    def __init__(self, settings: Delivery, scale: float, log_limit: int, now: Now = time.time) -> None:
        self.log = AttemptLog(log_limit, now)
        self._now = now
        self._settings = settings
        self._scale = scale
        self._idle: list[httpx.AsyncClient] = []
        self._due: dict[Callback, asyncio.TimerHandle] = {}
        self._ready: deque[ItemQueue] = deque()
        self._sending: set[ItemQueue] = set()
        self._senders: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[Attempt]:
        return iter(self.log.entries)

    def __len__(self) -> int:
        return len(self.log.entries)

    @property
    def pending(self) -> int:
        """Callbacks that are not due yet, plus queues that wait for a sender, plus senders at work."""
        return len(self._due) + len(self._ready) + len(self._senders)

    def configure(self, settings: Delivery, scale: float) -> None:
        """Take new settings for what is sent from now on."""
        self._settings, self._scale = settings, scale

    def schedule(self, callback: Callback, at: float) -> None:
        """Send a callback at an instant (epoch seconds), or now if that has passed."""
        wait_s = at - self._now()
        if wait_s <= 0:
            self._send(callback)
        else:
            self._due[callback] = asyncio.get_running_loop().call_later(wait_s, self._send, callback)

    def hasten(self) -> None:
        """Send everything that waits now, in the order in which it was due."""
        for callback, handle in sorted(self._due.items(), key=lambda due: due[1].when()):
            handle.cancel()
            self._send(callback)

    def drop(self) -> None:
        """Forget what is not being sent yet."""
        for handle in self._due.values():
            handle.cancel()
        self._due.clear()
        for queue in (*self._ready, *self._sending):
            for callback in queue.waiting:
                _resolve(callback)
            queue.waiting.clear()

    def reset(self, log_limit: int) -> None:
        """Forget what is not being sent yet, and begin the log anew."""
        self.drop()
        self.log = AttemptLog(log_limit, self._now)

    async def stop(self) -> None:
        """Forget what is not sent, and break off what is being sent."""
        self.drop()
        for sender in self._senders:
            sender.cancel()
        await asyncio.gather(*self._senders, return_exceptions=True)
        for client in self._idle:
            await client.aclose()

    async def redeliver(self, number: int) -> Attempt | None:
        """Send the callback of an attempt again, byte for byte; None if the log does not hold it."""
        logged = next((attempt for attempt in self if attempt.number == number), None)
        if logged is None:
            return None
        return await self._try(replace(logged.callback, queue=ItemQueue(), tries=0, done=None))

    async def send_raw(self, url: str, body: bytes, headers: dict[str, str]) -> Attempt:
        """Send a body of the caller's own making at once."""
        return await self._try(Callback(None, None, None, url, lambda: body, headers))

    def _send(self, callback: Callback) -> None:
        self._due.pop(callback, None)
        queue = callback.queue
        queue.waiting.append(callback)
        if queue.busy:
            return
        queue.busy = True
        if len(self._senders) < self._settings.concurrency:
            self._start_sender(queue)
        else:
            self._ready.append(queue)

    def _start_sender(self, queue: ItemQueue) -> None:
        sender = asyncio.get_running_loop().create_task(self._empty(queue))
        self._senders.add(sender)
        sender.add_done_callback(self._senders.discard)

    async def _empty(self, queue: ItemQueue) -> None:
        """Send the callbacks of a queue, then those of queues that wait for a sender."""
        while True:
            self._sending.add(queue)
            while queue.waiting:
                await self._try_and_repeat(queue.waiting.popleft())
            self._sending.discard(queue)
            queue.busy = False
            if not self._ready:
                return
            queue = self._ready.popleft()

    async def _try_and_repeat(self, callback: Callback) -> None:
        log = self.log
        try:
            attempt = await self._try(callback)
        finally:
            _resolve(callback)
        if not attempt.acknowledged and callback.tries < self._settings.retries and self.log is log:
            again = replace(callback, tries=callback.tries + 1, done=None)
            self.schedule(again, self._now() + self._settings.retry_after_s / self._scale)

    async def _try(self, callback: Callback) -> Attempt:
        log = self.log
        body = callback.make_body()
        at = self._now()
        http_status: int | None = None
        error: str | None = None
        acknowledged = False
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                answer = await self._post(callback, body)
            http_status = answer.status_code
            acknowledged = http_status == 200 and answer.content == ACKNOWLEDGEMENT
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError) as failure:
            error = f"{type(failure).__name__}: {failure}".rstrip(": ")
        return log.add(callback, at, body, (http_status, error, acknowledged))

    async def _post(self, callback: Callback, body: bytes) -> httpx.Response:
        # One client per sender: a pool searches all its connections for each request, which at 64 senders takes
        # more time than everything else about a callback.
        client = self._idle.pop() if self._idle else make_client()
        try:
            headers = {"Content-Type": "application/json", **callback.headers}
            return await client.post(callback.url, content=body, headers=headers)
        finally:
            self._idle.append(client)


def _resolve(callback: Callback) -> None:
    if callback.done is not None and not callback.done.done():
        callback.done.set_result(None)


@functools.cache
def _trust() -> ssl.SSLContext:
    """Loading the certificates takes longer than starting a sandbox, so it is done once."""
    return ssl.create_default_context()


def make_client() -> httpx.AsyncClient:
    """A client of those whom the vendor calls: their time-out stands around the call."""
    limits = httpx.Limits(max_connections=2, max_keepalive_connections=1, keepalive_expiry=_REUSE_S)
    return httpx.AsyncClient(
        verify=_trust(),
        timeout=None,  # noqa: S113
        limits=limits,
        trust_env=False,
        follow_redirects=False,
    )
