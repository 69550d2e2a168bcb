"""Set up structured logs to standard error: JSON lines, or colours on a console."""

import io
import logging
import reprlib
import sys
from collections.abc import Callable, Mapping, MutableMapping
from itertools import islice
from typing import Any, Final, TextIO

import structlog

_QUIET = {
    # It logs whole request lines, and so callback tokens.
    "uvicorn.access": logging.CRITICAL,
    # It logs each event that it sends, and so signed URLs.
    "sse_starlette": logging.WARNING,
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "alembic": logging.WARNING,
    "asyncio": logging.WARNING,
    # Statements with their parameters, and rows: bodies, keys, signed URLs.
    "sqlalchemy": logging.WARNING,
    "asyncpg": logging.WARNING,
    # The exporter of traces logs where it sends them.
    "urllib3": logging.WARNING,
    "requests": logging.WARNING,
}


MOST_TEXT_CHARS: Final = 2000
"""Of a value; one within a list or an object has a quarter of it, for each level."""
MOST_ELEMENTS: Final = 20
MOST_TRACE_CHARS: Final = 20_000
"""Of a traceback, from its end: what went wrong stands there."""


_BRIEF: Final = reprlib.Repr()
_BRIEF.maxother = MOST_TEXT_CHARS


def bound(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Truncate long values of a log line: they come from outside, and one of them could fill a disk."""
    for name, value in event.items():
        if name == "exception":
            event[name] = str(value)[-MOST_TRACE_CHARS:]
        elif name != "exc_info":
            event[name] = _bounded(value)
    return event


def _bounded(value: Any, depth: int = 0) -> Any:
    if value is None or isinstance(value, (int, float)):
        return value
    if isinstance(value, (list, tuple, set, frozenset)) and depth < 2:
        kept = [_bounded(element, depth + 1) for element in islice(value, MOST_ELEMENTS)]
        return kept if len(kept) == len(value) else [*kept, f"… {len(value) - len(kept)} more"]
    most = MOST_TEXT_CHARS >> 2 * depth
    if isinstance(value, Mapping) and depth < 2:
        members = islice(value.items(), MOST_ELEMENTS)
        return {str(name)[:most]: _bounded(member, depth + 1) for name, member in members}
    text = value if isinstance(value, str) else _BRIEF.repr(value)
    return text if len(text) <= most else f"{text[:most]}… {len(text) - most} more"


def write_trace(to: TextIO, exc_info: Any) -> None:
    """Write a traceback to a console, truncated as in a JSON line."""
    whole = io.StringIO()
    structlog.dev.plain_traceback(whole, exc_info)
    to.write("\n" + whole.getvalue().lstrip("\n")[-MOST_TRACE_CHARS:])


class _LineRedactor:
    """Redacts secrets in each line as it is written, the last processor: for a secret that came in by an unforeseen
    way, in the text of an error say. Before the secrets of the process are known nothing has come from outside."""

    def __init__(self) -> None:
        self.redact: Callable[[str], str] = str

    def __call__(self, _logger: Any, _method: str, line: Any) -> Any:
        return self.redact(line)


_line_redactor: Final = _LineRedactor()


def redact_with(redact: Callable[[str], str]) -> None:
    """Redact each line with this function before it is written."""
    _line_redactor.redact = redact


def set_up(log_format: str, level: str) -> None:
    """Send structlog's and the standard library's records through one pipeline. ``log_format``: json or console."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = [
        bound,
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=write_trace),
    ]
    if log_format == "json":
        last = [structlog.processors.format_exc_info, bound, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last, _line_redactor],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(least, root.level))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = name != "uvicorn.access"
