"""OpenTelemetry traces: a span for each frame at its camera, each stage and each offload.

Only where the environment asks for them with the standard ``OTEL_*`` variables, and the extra
``tracing`` is installed. Otherwise nothing is imported: whoever traces holds a `Tracing` or None.

Spans are made when a stage is over, with the times that it was measured by, so that nothing has to
be kept open. An item's ``traceparent`` names the span that it came from.
"""

from __future__ import annotations

import atexit
import functools
import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dataflow.errors import ConfigError, RecordError
from dataflow.messages import FrameId, Stage, WorkItem

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

_log = logging.getLogger("videojam.tracing")

_REMEDY = "pip install 'videojam[tracing]'"
_EXPORTERS = ("otlp", "console", "none")
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_CLOSE_SECONDS = 5.0
"""How long ending waits for a collector: spans are worth less than a prompt end."""
_MAX_SECONDS = 9_000_000_000.0
"""Latest time of a span: nanoseconds since the epoch have 64 bits."""


def chosen_exporter(environment: Mapping[str, str]) -> str | None:
    """``otlp`` or ``console``; None where the environment asks for no traces.

    Raises:
        ConfigError: ``OTEL_TRACES_EXPORTER`` names another one.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    named = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if not named:
        return "otlp" if any(environment.get(name) for name in _ENDPOINTS) else None
    if named not in _EXPORTERS:
        raise ConfigError(
            "no exporter of traces that is known here",
            key="OTEL_TRACES_EXPORTER",
            value=named,
            remedy=f"one of {', '.join(_EXPORTERS)}",
        )
    return None if named == "none" else named


def tracing_from_environment(
    service: str, environment: Mapping[str, str] | None = None
) -> Tracing | None:
    """Traces as the environment configures them; None where it does not.

    The variables are those of the OpenTelemetry specification: ``OTEL_TRACES_EXPORTER``,
    ``OTEL_EXPORTER_OTLP_*``, ``OTEL_SERVICE_NAME``, ``OTEL_RESOURCE_ATTRIBUTES``,
    ``OTEL_TRACES_SAMPLER``, ``OTEL_BSP_*``. Clusters set them for all their programs, so where the
    extra is absent, a warning is all that comes of it.

    Args:
        service: the service's name, where ``OTEL_SERVICE_NAME`` names none.
        environment: this process's own when None.

    Raises:
        ConfigError: a variable has a value that means nothing here.
    """
    known = os.environ if environment is None else environment
    exporter = chosen_exporter(known)
    if exporter is None:
        return None
    protocol = known.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or known.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL"
    )
    if exporter == "otlp" and protocol not in (None, "", "http/protobuf"):
        raise ConfigError(
            "traces are exported as http/protobuf only",
            key="OTEL_EXPORTER_OTLP_PROTOCOL",
            value=protocol,
            remedy="unset it, and name the collector's HTTP port, usually 4318",
        )
    try:
        return Tracing(_provider(_exporter(exporter), service, known))
    except ImportError as error:
        _log.warning("no traces, though the environment asks for them (%s): %s", error, _REMEDY)
        return None


@functools.cache
def process_tracing(service: str) -> Tracing | None:
    """`tracing_from_environment`, made once: all cameras of a process share one exporter."""
    tracing = tracing_from_environment(service)
    if tracing is not None:
        atexit.register(tracing.close)
    return tracing


def _exporter(name: str) -> SpanExporter:
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter  # noqa: PLC0415 - optional

        return ConsoleSpanExporter(formatter=lambda span: span.to_json(indent=None) + "\n")
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - optional
        OTLPSpanExporter,
    )

    return OTLPSpanExporter()


def _provider(
    exporter: SpanExporter, service: str, environment: Mapping[str, str]
) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - optional
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - an extra

    named = environment.get("OTEL_SERVICE_NAME") or service
    resource = Resource.create({"service.name": named})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)  # see `_bounded`
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


@dataclass(slots=True)
class Leaving:
    """An item on its way to a peer.

    Attributes:
        item: names the offload's span as where it came from.
    """

    item: WorkItem
    _span: Any

    def ended(self, at: float, fault: Exception | None) -> None:
        """The broker has it, or will not have it.

        Args:
            at: seconds since the epoch.
            fault: why not.
        """
        if fault is not None:
            _fail(self._span, type(fault).__name__, str(fault))
        self._span.end(_nanoseconds(at))


class Tracing:
    """Makes spans. Any thread may call.

    Args:
        provider: of OpenTelemetry's SDK; `close` shuts it down.
    """

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry import trace  # noqa: PLC0415 - optional
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415 - an extra
            TraceContextTextMapPropagator,
        )

        self._provider = provider
        self._tracer = provider.get_tracer("videojam")
        self._kinds = trace.SpanKind
        self._in_context = trace.set_span_in_context
        self._propagator = TraceContextTextMapPropagator()

    def frame(
        self,
        frame: FrameId,
        *,
        kind: str,
        captured_at: float,
        sent_at: float,
        size: int,
        parent: str | None,
    ) -> str | None:
        """A camera has encoded a frame and hands it over.

        Args:
            frame: which.
            kind: of camera.
            captured_at: seconds since the epoch.
            sent_at: likewise.
            size: bytes, encoded.
            parent: trace context of the application, if it has one.

        Returns:
            The trace context that goes with the frame; ``parent`` where the SDK is switched off.
        """
        span = self._start(
            f"camera {frame.camera}",
            self._kinds.PRODUCER,
            parent,
            min(captured_at, sent_at),
            {**_frame(frame), "videojam.camera.kind": kind, "videojam.bytes": size},
        )
        span.end(_nanoseconds(sent_at))
        return self._context_of(span, parent)

    def stage(
        self, item: WorkItem, passed: WorkItem, stage: Stage, *, batch: int, outcome: object
    ) -> WorkItem:
        """A function has processed an item.

        Args:
            item: as it was received.
            passed: with the stage appended.
            stage: the stage.
            batch: items of the call.
            outcome: what was found, or the `RecordError` that it failed with.

        Returns:
            ``passed``, naming the span as where it came from.
        """
        attributes = {
            **_item(item, stage.function, stage.replica),
            "videojam.hops": item.hops,
            "videojam.batch.size": batch,
            "videojam.wait.seconds": stage.started - stage.received,
            "videojam.function.seconds": stage.finished - stage.started,
        }
        if isinstance(outcome, tuple):
            attributes["videojam.found"] = len(outcome)
        span = self._start(
            stage.function, self._kinds.CONSUMER, item.traceparent, stage.received, attributes
        )
        span.add_event("batch started", timestamp=_nanoseconds(stage.started))
        if isinstance(outcome, RecordError):
            _fail(span, outcome.reason, outcome.detail)
        span.end(_nanoseconds(stage.finished))
        return replace(passed, traceparent=self._context_of(span, item.traceparent))

    def offload(
        self, item: WorkItem, function: str, replica: str, peer: str, received: float
    ) -> Leaving:
        """An item is handed to a peer; tell the answer when it is delivered.

        Args:
            item: as it was received.
            function: whose replicas.
            replica: who hands it on.
            peer: to whom.
            received: when this replica had fetched it, seconds since the epoch.
        """
        span = self._start(
            f"{function} offload",
            self._kinds.PRODUCER,
            item.traceparent,
            received,
            {
                **_item(item, function, replica),
                "videojam.peer": peer,
                "videojam.hops": item.hops + 1,
                "videojam.bytes": len(item.data),
            },
        )
        return Leaving(replace(item, traceparent=self._context_of(span, item.traceparent)), span)

    def dropped(
        self,
        item: WorkItem,
        function: str,
        replica: str,
        reason: str,
        *,
        received: float,
        at: float,
    ) -> None:
        """An item ends here, without having been processed.

        Args:
            item: as it was received.
            function: whose replica.
            replica: who drops it.
            reason: why.
            received: when this replica had fetched it, seconds since the epoch.
            at: now.
        """
        span = self._start(
            f"{function} drop",
            self._kinds.CONSUMER,
            item.traceparent,
            received,
            {**_item(item, function, replica), "videojam.hops": item.hops},
        )
        _fail(span, reason, "dropped")
        span.end(_nanoseconds(at))

    def flush(self, seconds: float) -> None:
        """Export what is waiting, for at most so long."""
        _bounded(self._provider.force_flush, seconds)

    def close(self, seconds: float = _CLOSE_SECONDS) -> None:
        """Export what is waiting, for at most so long, and end."""
        _bounded(self._provider.shutdown, seconds)

    def _start(
        self, name: str, kind: Any, parent: str | None, at: float, attributes: Mapping[str, Any]
    ) -> Any:
        # A header that is no trace context counts as none.
        context = None if parent is None else self._propagator.extract({"traceparent": parent})
        return self._tracer.start_span(
            name, context=context, kind=kind, attributes=attributes, start_time=_nanoseconds(at)
        )

    def _context_of(self, span: Any, parent: str | None) -> str | None:
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, self._in_context(span))
        return carrier.get("traceparent", parent)


def _bounded(call: Callable[[], object], seconds: float) -> None:
    # The SDK's own time limits do not hold while an exporter tries again (seen with 1.45).
    thread = threading.Thread(target=call, name="traces", daemon=True)
    thread.start()
    thread.join(seconds)


def _fail(span: Any, reason: str, detail: str) -> None:
    from opentelemetry.trace import StatusCode  # noqa: PLC0415 - optional

    span.set_status(StatusCode.ERROR, f"{reason}: {detail}")
    span.set_attribute("error.type", reason)


def _nanoseconds(seconds: float) -> int:
    return int(min(max(0.0, seconds), _MAX_SECONDS) * 1e9)


def _frame(frame: FrameId) -> dict[str, Any]:
    return {
        "videojam.camera": frame.camera,
        "videojam.stream": frame.stream,
        "videojam.sequence": frame.sequence,
    }


def _item(item: WorkItem, function: str, replica: str) -> dict[str, Any]:
    return {
        **_frame(item.frame),
        "videojam.part": str(item.part),
        "videojam.pipeline": item.pipeline,
        "videojam.step": item.step,
        "videojam.function": function,
        "videojam.replica": replica,
    }
