"""Log the calls of the vendor's API, count them, and rate-limit queries."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

Now = Callable[[], float]
"""The sandbox's clock: epoch seconds."""


class Call(NamedTuple):
    """One call. Times are epoch seconds; ``http_status`` is 0 where the connection was cut instead of an answer."""

    number: int
    at: float
    ended_at: float
    operation: str
    kind: str
    n: int | None
    item_ids: tuple[str, ...]
    status: int | None
    http_status: int
    fault: str | None
    request_id: str


class OpenCall:
    """A call that has not been answered yet; it is added to the log that was current when it came."""

    __slots__ = ("at", "item_ids", "kind", "log", "n", "operation")

    def __init__(self, log: "Calls", operation: str, kind: str) -> None:
        self.log = log
        self.at = log.now()
        self.operation = operation
        self.kind = kind
        self.n: int | None = None
        self.item_ids: tuple[str, ...] = ()

    def ask(self, item_ids: tuple[str, ...]) -> None:
        """Note the items of a query."""
        self.item_ids = item_ids
        for item_id in item_ids:
            self.log.queried_at_once += self.log.asked[item_id] > 0
            self.log.asked[item_id] += 1

    def end(self, status: int | None, http_status: int, fault: str | None, request_id: str) -> None:
        """Note how the call was answered."""
        log = self.log
        log.open -= 1
        log.total += 1
        if self.operation == "query":
            log.asked.subtract(self.item_ids)
            for item_id in self.item_ids:
                if not log.asked[item_id]:
                    del log.asked[item_id]
        answer = fault or (str(status) if status is not None else f"http_{http_status}")
        log.by_answer[f"{self.operation}:{answer}"] += 1
        log.entries.append(
            Call(
                number=log.total,
                at=self.at,
                ended_at=log.now(),
                operation=self.operation,
                kind=self.kind,
                n=self.n,
                item_ids=self.item_ids,
                status=status,
                http_status=http_status,
                fault=fault,
                request_id=request_id,
            )
        )


class Calls:
    """The log of calls, the newest ``log_limit`` of them, and counters that forget nothing."""

    def __init__(self, log_limit: int, now: Now = time.time) -> None:
        self.now = now
        self.entries: deque[Call] = deque(maxlen=log_limit)
        self.total = 0
        self.by_answer: Counter[str] = Counter()
        self.by_operation: Counter[str] = Counter()
        self.max_queries_per_s = 0
        self.max_open = 0
        self.rate_violations = 0
        self.queried_at_once = 0
        """How often a query named an item that another open query named too."""
        self.open = 0
        self._query_times: deque[float] = deque()
        self.asked: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Call]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def begin(self, operation: str, kind: str) -> OpenCall:
        """Note a call that came in."""
        call = OpenCall(self, operation, kind)
        self.open += 1
        self.max_open = max(self.max_open, self.open)
        self.by_operation[operation] += 1
        if operation == "query":
            self._query_times.append(call.at)
            while self._query_times[0] <= call.at - 1:
                self._query_times.popleft()
            self.max_queries_per_s = max(self.max_queries_per_s, len(self._query_times))
        return call

    def summary(self) -> dict[str, Any]:
        """Counters since the last reset."""
        return {
            "total": self.total,
            "by_operation": dict(self.by_operation),
            "by_answer": dict(self.by_answer),
            "max_open_calls": self.max_open,
            "max_queries_per_s": self.max_queries_per_s,
            "query_rate_violations": self.rate_violations,
            "items_queried_at_once": self.queried_at_once,
        }


class TokenBucket:
    """A token bucket: lets ``rate`` calls a second through, and ``burst`` at once; without a rate, all of them."""

    def __init__(self, rate: float | None, burst: float | None, now: Now = time.time) -> None:
        self._now = now
        self._rate = rate
        self._size = burst if burst is not None else max(1.0, rate or 1.0)
        self._left = self._size
        self._at = now()

    def take(self) -> bool:
        """Whether one more call is within the rate."""
        if self._rate is None:
            return True
        now = self._now()
        self._left = min(self._size, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
