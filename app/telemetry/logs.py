"""Structured logs to standard error: JSON lines, or colours for a person."""

import logging
import sys
from typing import Any

import structlog

_QUIET = {
    # Its lines hold whole request lines, and so callback tokens.
    "uvicorn.access": logging.CRITICAL,
    # It tells each event that it sends, and so signed URLs.
    "sse_starlette": logging.WARNING,
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "alembic": logging.WARNING,
    "asyncio": logging.WARNING,
    # Statements with their parameters, and rows: bodies, keys, signed URLs.
    "sqlalchemy": logging.WARNING,
    "asyncpg": logging.WARNING,
    # What traces are sent with tells where to.
    "urllib3": logging.WARNING,
    "requests": logging.WARNING,
}


def set_up(log_format: str, level: str) -> None:
    """Send structlog's and the standard library's records through one pipeline. ``log_format``: json or console."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = [
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
    ]
    if log_format == "json":
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
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
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
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
