"""Rate-limit wrong keys and tokens per address: guessing is slowed down, a valid one never is."""

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Final

from starlette.types import Scope

from app.errors import TooManyFailures
from app.runtime.addresses import parse_address

WINDOW_S: Final = 60.0
MOST_FAILURES: Final = 100
MOST_ADDRESSES: Final = 10_000


class FailureMeter:
    """Counts failures per address in a window of a minute. Bounded: the address that failed longest ago is forgotten.
    An IPv6 address counts for its /64, which is what one subscriber gets."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.most_failures = MOST_FAILURES
        self._monotonic = monotonic
        self._windows: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def fail(self, address: str | None) -> None:
        """Count a failure. Raises ``TooManyFailures`` once there are too many in the window."""
        now = self._monotonic()
        name = network_of(address)
        started, count = self._windows.pop(name, (now, 0))
        if now - started >= WINDOW_S:
            started, count = now, 0
        self._windows[name] = (started, count + 1)
        if len(self._windows) > MOST_ADDRESSES:
            self._windows.popitem(last=False)
        if count + 1 > self.most_failures:
            raise TooManyFailures("too many wrong keys or tokens from this address", WINDOW_S - (now - started))


def address_of(scope: Scope) -> str | None:
    """The address that a request came from, behind a trusted proxy the one that it forwards; None where the server
    knows none, on a Unix socket say."""
    client = scope.get("client")
    return client[0] if client else None


def network_of(address: str | None) -> str:
    """The network that shares one count: an IPv4 address, however it is written, or the /64 of an IPv6 address."""
    parsed = parse_address(address or "")
    if parsed is None:
        return "unknown"
    return str(IPv6Address(int(parsed) >> 64 << 64) if isinstance(parsed, IPv6Address) else parsed)
