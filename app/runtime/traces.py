"""Trace tasks, one trace for each from its submission on. Off, and free, unless the environment asks for traces.

The extra ``otel`` brings OpenTelemetry; without it, or without ``OTEL_TRACES_EXPORTER`` or an
``OTEL_EXPORTER_OTLP_*ENDPOINT``, nothing of it is imported, and every function here returns at once.
"""

import importlib
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Literal, Protocol

import structlog

log = structlog.get_logger(__name__)

Kind = Literal["server", "client", "internal"]
Attributes = Mapping[str, str | int | float | bool]
_ASKED_BY: Final = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Span:
    """An open span; this one does nothing, for when tracing is off."""

    def rename(self, name: str) -> None:
        """Set the span's name."""

    def note(self, **attributes: str | int | float | bool) -> None:
        """Add attributes. No secret, no URL, no body."""

    def fail(self, reason: str) -> None:
        """Mark the span as failed, with a short word."""


class Tracing(Protocol):
    """What ``otel`` implements. ``parent`` and what is returned are W3C ``traceparent`` texts."""

    def span(
        self, name: str, parent: str | None, kind: Kind, attributes: Attributes
    ) -> AbstractContextManager[Span]: ...

    def past(self, name: str, parent: str, start_ns: int, end_ns: int, attributes: Attributes) -> str: ...

    def current(self) -> str | None: ...

    def shut_down(self) -> None: ...


_NO_SPAN: Final[AbstractContextManager[Span]] = nullcontext(Span())
_tracing: Tracing | None = None


def set_up() -> None:
    """Start tracing if the environment asks for it. Once for each process, before anything is traced."""
    global _tracing  # noqa: PLW0603 - one for the process, as the registry of metrics is
    if _tracing is not None or not is_wanted(os.environ):
        return
    try:
        otel: Any = importlib.import_module("app.runtime.otel")
    except ImportError as error:
        log.warning("traces.not_installed", missing=error.name, remedy="pip install 'tempolor-gateway[otel]'")
        return
    _tracing = otel.make_tracing(os.environ)
    log.info("traces.on")


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Whether the standard variables ask for traces."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none":
        return False
    return any(environment.get(name, "").strip() for name in _ASKED_BY)


def is_on() -> bool:
    """Whether anything is traced; for attributes that cost something to prepare."""
    return _tracing is not None


def span(name: str, *, parent: str | None = None, kind: Kind = "internal", **attributes: Any) -> Any:
    """Open a span around a block, whose value is a ``Span``. Under ``parent``, or under the open span."""
    return _NO_SPAN if _tracing is None else _tracing.span(name, parent, kind, attributes)


def past(name: str, parent: str, start_ns: int, end_ns: int, **attributes: Any) -> str:
    """Record a span that is over already, under ``parent``; times in nanoseconds since the epoch. Returns its
    ``traceparent``, for its children."""
    return parent if _tracing is None else _tracing.past(name, parent, start_ns, end_ns, attributes)


def traceparent() -> str | None:
    """The ``traceparent`` of the open span; None without one."""
    return None if _tracing is None else _tracing.current()


def headers() -> dict[str, str]:
    """Headers of an outgoing call, with the ``traceparent`` of the open span."""
    carried = traceparent()
    return {} if carried is None else {"traceparent": carried}


def shut_down() -> None:
    """Flush the exporters. Blocks, at most as long as their time-out."""
    if _tracing is not None:
        _tracing.shut_down()
