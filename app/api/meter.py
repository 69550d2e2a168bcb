"""Wrong keys and tokens, counted per address: guessing is slowed down, a right one never is."""

import time
from collections import OrderedDict
from typing import Final

from app.errors import TooManyFailures

WINDOW_S: Final = 60.0
MOST_FAILURES: Final = 100
MOST_ADDRESSES: Final = 10_000


class FailureMeter:
    """Failures per address in a window of a minute. Bounded: the address that failed longest ago is forgotten."""

    def __init__(self) -> None:
        self._windows: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def fail(self, address: str | None) -> None:
        """Count a failure. Raises ``TooManyFailures`` once there are too many in the window."""
        now = time.monotonic()
        name = address or "unknown"
        started, count = self._windows.pop(name, (now, 0))
        if now - started >= WINDOW_S:
            started, count = now, 0
        self._windows[name] = (started, count + 1)
        if len(self._windows) > MOST_ADDRESSES:
            self._windows.popitem(last=False)
        if count + 1 > MOST_FAILURES:
            raise TooManyFailures("too many wrong keys or tokens from this address", WINDOW_S - (now - started))
