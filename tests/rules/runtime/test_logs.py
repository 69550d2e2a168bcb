"""A log line is bounded, whatever somebody outside put into one of its values."""

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
import structlog

from app.runtime import logging

LARGE: dict[str, Callable[[], Any]] = {
    "text": lambda: "x" * 8_000_000,
    "list": lambda: [f"t2m_{number}" for number in range(500_000)],
    "tuple": lambda: ("x" * 100_000,) * 100,
    "object": lambda: {f"field {number}": "x" * 100_000 for number in range(1000)},
    "nested": lambda: [[["x" * 100_000] * 100] * 100] * 100,
    "bytes": lambda: b"x" * 1_000_000,
    "set": lambda: set(range(100_000)),
}


@pytest.mark.parametrize("make", LARGE.values(), ids=LARGE)
def test_a_large_value_is_cut(make: Callable[[], Any]) -> None:
    line = json.dumps(logging.bound(None, "info", {"event": "submit.accepted", "value": make()}))
    assert len(line) < 100_000
    assert '"submit.accepted"' in line
    assert "more" in line or "..." in line


def test_what_is_small_stays_as_it_is() -> None:
    event = {"event": "e", "text": "x" * 2000, "list": ["a", 1], "number": 7, "none": None, "nested": {"a": [1.5]}}
    assert logging.bound(None, "info", dict(event)) == event


def test_of_a_long_traceback_the_end_is_kept() -> None:
    event = logging.bound(None, "error", {"event": "e", "exception": "x" * 100_000 + "ValueError: why"})
    assert event["exception"].endswith("ValueError: why")
    assert len(event["exception"]) == logging.MOST_TRACE_CHARS


def test_for_a_person_too() -> None:
    try:
        raise ValueError("x" * 100_000 + "why")
    except ValueError as error:
        exc_info = (type(error), error, error.__traceback__)
    written = io.StringIO()
    logging.write_trace(written, exc_info)
    assert written.getvalue().rstrip().endswith("why")
    assert len(written.getvalue()) <= logging.MOST_TRACE_CHARS + 1
    structlog.dev.ConsoleRenderer(exception_formatter=logging.write_trace)
