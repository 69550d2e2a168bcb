"""What is logged while a test looks."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_ADDED = ("level", "logger", "timestamp")


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.msg, dict):
            kept = {name: value for name, value in record.msg.items() if name not in _ADDED}
            self.lines.append({**kept, "log_level": record.levelname.lower()})


@contextmanager
def capture_logs() -> Iterator[list[dict[str, Any]]]:
    """The events as they are logged, each with its ``log_level``.

    Not structlog's own: that one misses loggers which were first used under an earlier set-up, and each command that
    is called in process sets logging up.
    """
    handler, root = _Lines(), logging.getLogger()
    root.addHandler(handler)
    try:
        yield handler.lines
    finally:
        root.removeHandler(handler)
