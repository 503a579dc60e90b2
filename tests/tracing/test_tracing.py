"""When there are traces, and what their spans say."""

from __future__ import annotations

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.sdk.trace import TracerProvider

from dataflow.errors import BrokerError, ConfigError, RecordError
from dataflow.messages import FrameId, Part, Stage, WorkItem
from dataflow.tracing import Tracing, chosen_exporter, tracing_from_environment
from tests.tracing.spans import Spans, identity, parent

OUTSIDE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def item(traceparent: str | None = OUTSIDE) -> WorkItem:
    return WorkItem(
        frame=FrameId(camera="gate", stream="s", sequence=7),
        pipeline="p",
        step="first",
        captured_at=100.0,
        data=b"12345",
        part=Part(((1, 3),)),
        hops=2,
        traceparent=traceparent,
    )


STAGE = Stage(function="find", replica="find-0", received=101.0, started=101.5, finished=102.0)


@pytest.mark.parametrize(
    ("environment", "exporter"),
    [
        ({}, None),
        ({"OTEL_SERVICE_NAME": "x"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_TRACES_EXPORTER": "OTLP"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, None),
        ({"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "true"}, None),
    ],
)
def test_the_environment_says_whether_there_are_traces(
    environment: dict[str, str], exporter: str | None
) -> None:
    assert chosen_exporter(environment) == exporter
    if exporter is None:
        assert tracing_from_environment("s", environment) is None


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"OTEL_TRACES_EXPORTER": "jaeger"}, r"OTEL_TRACES_EXPORTER.*'jaeger'.*\n.*otlp, console"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            r"OTEL_EXPORTER_OTLP_PROTOCOL.*'grpc'.*\n.*4318",
        ),
    ],
)
def test_a_variable_that_means_nothing_here_is_refused_with_a_remedy(
    environment: dict[str, str], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        tracing_from_environment("s", environment)


def run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout + done.stderr


def test_without_configuration_nothing_is_imported() -> None:
    said = run(
        "import sys, agents.worker, dataflow.camera\n"
        "from dataflow.tracing import process_tracing\n"
        "assert process_tracing('s') is None\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    assert said == "[]\n"


TRACED = (
    "from dataflow.tracing import process_tracing\n"
    "from dataflow.messages import FrameId\n"
    "tracing = process_tracing('videojam.camera')\n"
    "frame = FrameId(camera='gate', stream='s', sequence=1)\n"
    "print(tracing and tracing.frame(frame, kind='fixed', captured_at=1.0, sent_at=2.0, size=3,"
    " parent=None))\n"
    "tracing and tracing.close()"
)


def test_spans_are_written_to_the_console_where_the_environment_says_so() -> None:
    first, span = run(TRACED, OTEL_TRACES_EXPORTER="console").splitlines()
    assert '"name": "camera gate"' in span
    assert '"service.name": "videojam.camera"' in span
    assert f'"trace_id": "0x{first.split("-")[1]}"' in span


def test_the_service_can_be_named() -> None:
    said = run(TRACED, OTEL_TRACES_EXPORTER="console", OTEL_SERVICE_NAME="yard")
    assert '"service.name": "yard"' in said


def test_spans_reach_a_collector_over_http() -> None:
    heard: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - its name
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        given = run(TRACED, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint).strip()
        server.shutdown()
    ((path, body),) = heard
    assert path == "/v1/traces"
    assert b"camera gate" in body
    assert bytes.fromhex(given.split("-")[1]) in body


def test_a_collector_that_is_stuck_does_not_keep_a_process_alive() -> None:
    class Stuck(TracerProvider):
        def force_flush(self, timeout_millis: int = 30000) -> bool:
            del timeout_millis
            return held.wait(60)

        def shutdown(self) -> None:
            held.wait(60)

    held = threading.Event()
    tracing = Tracing(Stuck(shutdown_on_exit=False))
    tracing.flush(0.01)
    tracing.close(0.01)
    assert not held.is_set(), "both came back before what they wait for"
    held.set()


def test_an_absent_extra_is_a_warning_with_the_remedy() -> None:
    absent = "import sys; sys.modules['opentelemetry'] = None\n"
    said = run(absent + TRACED, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    assert "pip install 'videojam[tracing]'" in said
    assert said.startswith("None\n")


def test_a_frame_begins_a_trace() -> None:
    spans = Spans()
    given = spans.tracing.frame(
        FrameId(camera="gate", stream="s", sequence=7),
        kind="fixed",
        captured_at=100.0,
        sent_at=100.25,
        size=5,
        parent=None,
    )
    (span,) = spans.named("camera gate")
    assert (given, parent(span)) == (identity(span), None)
    assert (span.start_time, span.end_time) == (100_000_000_000, 100_250_000_000)
    assert span.attributes == {
        "videojam.camera": "gate",
        "videojam.stream": "s",
        "videojam.sequence": 7,
        "videojam.camera.kind": "fixed",
        "videojam.bytes": 5,
    }


def test_a_frame_goes_on_with_the_trace_of_its_application() -> None:
    spans = Spans()
    frame = FrameId(camera="gate", stream="s", sequence=7)
    common = {"kind": "fixed", "captured_at": 1.0, "sent_at": 2.0, "size": 5}
    given = spans.tracing.frame(frame, parent=OUTSIDE, **common)  # type: ignore[arg-type] # by name
    (span,) = spans.named("camera gate")
    assert parent(span) == OUTSIDE
    assert given == identity(span)


def test_a_stage_is_a_span_that_the_next_step_comes_from() -> None:
    spans = Spans()
    passed = item().passed(STAGE)
    onward = spans.tracing.stage(item(), passed, STAGE, batch=4, outcome=(1, 2))
    (span,) = spans.named("find")
    assert parent(span) == OUTSIDE
    assert onward.traceparent == identity(span)
    assert (onward.stages, onward.hops) == (passed.stages, 0)
    assert (span.start_time, span.end_time) == (101_000_000_000, 102_000_000_000)
    assert [(e.name, e.timestamp) for e in span.events] == [("batch started", 101_500_000_000)]
    assert span.status.is_unset
    assert span.attributes == {
        "videojam.camera": "gate",
        "videojam.stream": "s",
        "videojam.sequence": 7,
        "videojam.part": "1/3",
        "videojam.pipeline": "p",
        "videojam.step": "first",
        "videojam.function": "find",
        "videojam.replica": "find-0",
        "videojam.hops": 2,
        "videojam.batch.size": 4,
        "videojam.wait.seconds": 0.5,
        "videojam.function.seconds": 0.5,
        "videojam.found": 2,
    }


def test_a_failed_stage_says_why() -> None:
    spans = Spans()
    fault = RecordError("image-corrupt", "no JPEG")
    spans.tracing.stage(item(), item(), STAGE, batch=1, outcome=fault)
    (span,) = spans.named("find")
    assert span.status.description == "image-corrupt: no JPEG"
    assert span.attributes is not None
    assert span.attributes["error.type"] == "image-corrupt"


@pytest.mark.parametrize("rubbish", [None, "", "00-00-00-00", "x" * 10_000, "\x00"])
def test_a_stage_without_a_trace_begins_one(rubbish: str | None) -> None:
    spans = Spans()
    onward = spans.tracing.stage(item(rubbish), item(rubbish), STAGE, batch=1, outcome=())
    (span,) = spans.named("find")
    assert parent(span) is None
    assert onward.traceparent == identity(span)


def test_an_offload_is_a_span_between_the_two_replicas() -> None:
    spans = Spans()
    leaving = spans.tracing.offload(item(), "find", "find-0", "find-1", 101.0)
    assert spans.names == []
    leaving.ended(101.5, None)
    (span,) = spans.named("find offload")
    assert parent(span) == OUTSIDE
    assert leaving.item.traceparent == identity(span)
    assert (span.start_time, span.end_time) == (101_000_000_000, 101_500_000_000)
    assert span.attributes is not None
    assert (span.attributes["videojam.peer"], span.attributes["videojam.hops"]) == ("find-1", 3)


def test_an_offload_that_comes_back_says_why() -> None:
    spans = Spans()
    spans.tracing.offload(item(), "find", "a", "b", 1.0).ended(2.0, BrokerError("no room"))
    (span,) = spans.named("find offload")
    assert span.status.description == "BrokerError: no room"


def test_a_drop_ends_its_trace_with_the_reason() -> None:
    spans = Spans()
    spans.tracing.dropped(item(), "find", "find-0", "queue-full", received=1.0, at=2.0)
    (span,) = spans.named("find drop")
    assert parent(span) == OUTSIDE
    assert span.status.description == "queue-full: dropped"


def test_times_that_no_span_can_have_are_bent() -> None:
    """A camera's clock may say anything; 64 bits of nanoseconds end in the year 2554."""
    spans = Spans()
    frame = FrameId(camera="gate", stream="s", sequence=7)
    for captured, sent in ((-5.0, 1.0), (9e11, 2.0), (9e11, 9e11)):
        spans.tracing.frame(
            frame, kind="k", captured_at=captured, sent_at=sent, size=1, parent=None
        )
    for span in spans.named("camera gate"):
        assert span.start_time is not None
        assert span.end_time is not None
        assert 0 <= span.start_time <= span.end_time < 2**63
