"""Spans kept in memory."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext

from dataflow.tracing import Tracing


class Spans:
    """What was traced."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = Tracing(provider)

    def named(self, name: str) -> list[ReadableSpan]:
        """Those of a name, by their start."""
        found = [span for span in self._exporter.get_finished_spans() if span.name == name]
        return sorted(found, key=lambda span: span.start_time or 0)

    @property
    def names(self) -> Sequence[str]:
        """All names."""
        return [span.name for span in self._exporter.get_finished_spans()]


def identity(span: ReadableSpan) -> str:
    """The trace context that names a span as where something came from."""
    context = span.get_span_context()
    assert context is not None
    return _header(context)


def parent(span: ReadableSpan) -> str | None:
    """The trace context of a span's parent."""
    return None if span.parent is None else _header(span.parent)


def _header(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
