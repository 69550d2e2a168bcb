"""Trace with OpenTelemetry, behind ``traces``; imported only where it is installed and configured.

Exporters, sampling, resource and time-outs are set by the standard ``OTEL_*`` variables, which the SDK reads itself.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.runtime.traces import Attributes, Kind, Span

_KINDS: Final = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}
_propagator: Final = TraceContextTextMapPropagator()


class _OtelSpan(Span):
    def __init__(self, inner: trace.Span) -> None:
        self._inner = inner

    def rename(self, name: str) -> None:
        self._inner.update_name(name)

    def note(self, **attributes: str | int | float | bool) -> None:
        self._inner.set_attributes(attributes)

    def fail(self, reason: str) -> None:
        self._inner.set_status(Status(StatusCode.ERROR, reason))


class Otel:
    """Spans of one provider."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("tempolor-gateway")

    @contextmanager
    def span(self, name: str, parent: str | None, kind: Kind, attributes: Attributes) -> Iterator[Span]:
        context = None if parent is None else _context_of(parent)
        # An exception's text may hold a secret: only its type is recorded.
        with self._tracer.start_as_current_span(
            name,
            context,
            _KINDS[kind],
            attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as inner:
            try:
                yield _OtelSpan(inner)
            except BaseException as error:
                inner.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise

    def past(self, name: str, parent: str, start_ns: int, end_ns: int, attributes: Attributes) -> str:
        span = self._tracer.start_span(
            name, _context_of(parent), SpanKind.INTERNAL, attributes, start_time=min(start_ns, end_ns)
        )
        span.end(end_ns)
        return _traceparent_of(span) or parent

    def current(self) -> str | None:
        return _traceparent_of(trace.get_current_span())

    def shut_down(self) -> None:
        self._provider.shutdown()


def make_tracing(environment: Mapping[str, str]) -> Otel:
    """Make tracing with the exporters that ``OTEL_TRACES_EXPORTER`` names: ``otlp`` (over HTTP), ``console``."""
    resource = Resource.create({"service.name": environment.get("OTEL_SERVICE_NAME") or "tempolor-gateway"})
    provider = TracerProvider(resource=resource)
    names = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() or "otlp"
    for name in {part.strip() for part in names.split(",")}:
        exporter: SpanExporter
        if name == "console":
            exporter = ConsoleSpanExporter(out=sys.stderr)
        elif name == "otlp":
            exporter = OTLPSpanExporter()
        else:
            continue
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return Otel(provider)


def _context_of(parent: str) -> Context:
    # An empty context: the span that is open in this task is no parent of one that belongs to another trace.
    return _propagator.extract({"traceparent": parent}, Context())


def _traceparent_of(span: trace.Span) -> str | None:
    context = span.get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
