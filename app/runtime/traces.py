"""Traces, one for each task from its submission on. Off, and free, unless the environment asks for them.

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
    """A span that is open; this one is nobody's."""

    def rename(self, name: str) -> None:
        """Give it the name that is only known by now."""

    def note(self, **attributes: str | int | float | bool) -> None:
        """Add attributes. No secret, no URL, no body."""

    def fail(self, reason: str) -> None:
        """Mark it as failed, with a short word."""


class Tracing(Protocol):
    """What ``otel`` does. ``parent`` and what is returned are W3C ``traceparent`` texts."""

    def span(
        self, name: str, parent: str | None, kind: Kind, attributes: Attributes
    ) -> AbstractContextManager[Span]: ...

    def past(self, name: str, parent: str, start_ns: int, end_ns: int, attributes: Attributes) -> str: ...

    def current(self) -> str | None: ...

    def shut_down(self) -> None: ...


_NOBODYS: Final[AbstractContextManager[Span]] = nullcontext(Span())
_tracing: Tracing | None = None


def set_up() -> None:
    """Begin tracing if the environment asks for it. Once for each process, before anything is traced."""
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
    """Whether anything is traced; for what would cost something to prepare."""
    return _tracing is not None


def span(name: str, *, parent: str | None = None, kind: Kind = "internal", **attributes: Any) -> Any:
    """A span around a block, whose value is a ``Span``. Under ``parent``, or under the one that is open."""
    return _NOBODYS if _tracing is None else _tracing.span(name, parent, kind, attributes)


def past(name: str, parent: str, start_ns: int, end_ns: int, **attributes: Any) -> str:
    """A span that is over already, under ``parent``; times in nanoseconds since the epoch. Returns its
    ``traceparent``, for those under it."""
    return parent if _tracing is None else _tracing.past(name, parent, start_ns, end_ns, attributes)


def traceparent() -> str | None:
    """The open span, to be carried on; None without one."""
    return None if _tracing is None else _tracing.current()


def headers() -> dict[str, str]:
    """What an outgoing call carries of the open span."""
    carried = traceparent()
    return {} if carried is None else {"traceparent": carried}


def shut_down() -> None:
    """Send what is still kept. Blocks, at most as long as the exporter's time-out."""
    if _tracing is not None:
        _tracing.shut_down()
