"""CameraProducer on a transport that keeps, or loses, what it is given."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflow import CameraProducer
from dataflow.accounting import CameraReport
from dataflow.camera import BackoffConfig, BufferConfig, CameraStats, Frame, SourceSpec, WhenFull
from dataflow.config import Config
from dataflow.errors import (
    BrokerError,
    ConfigError,
    ImageError,
    RecordTooLargeError,
    SourceEnded,
    SourceError,
)
from dataflow.messages import WorkItem
from dataflow.transport.base import Record
from tests.camera.conftest import Clock, MakeVideo, Pixels, jpeg, number_of, picture
from tests.camera.fake import FakeTransport

Make = Callable[..., CameraProducer]


@pytest.fixture
def make(config: Config, transport: FakeTransport) -> Make:
    def make(name: str = "gate-1", kind: str = "fixed", **options: Any) -> CameraProducer:
        options.setdefault("pace", "fast")
        options.setdefault("rng", np.random.default_rng(7))
        return CameraProducer(name, kind, config=config, transport=transport, **options)

    return make


def items(records: list[Record]) -> list[WorkItem]:
    return [WorkItem.from_record(list(r.headers), r.value) for r in records]


def balanced(stats: CameraStats) -> bool:
    return stats.captured * len(stats.pipelines) == stats.acked + stats.lost + stats.open


def check_account(transport: FakeTransport, stats: CameraStats) -> None:
    """Every sequence number of every pipeline is acknowledged or listed as dropped, once."""
    for pipeline in stats.pipelines:
        reports = [r for r in transport.reports() if r.pipeline == pipeline]
        acked = [i.frame.sequence for i in items(transport.work()) if i.pipeline == pipeline]
        dropped = [d.sequence for r in reports for d in r.dropped]
        assert sorted(acked + dropped) == list(range(stats.captured))
        assert [r.closed for r in reports].count(True) == 1
        last = reports[-1]
        assert last.closed
        assert (last.produced, last.acked) == (stats.captured, len(acked))


def test_a_video_arrives_whole_and_in_order(
    make: Make, transport: FakeTransport, make_video: MakeVideo
) -> None:
    with make(source=make_video()) as camera:
        report = camera.run()
    assert (report.captured, report.acked, report.lost, report.open) == (10, 10, 0, 0)
    assert not report.closed
    assert camera.stats.closed
    assert transport.closed
    work = transport.work()
    assert {r.topic for r in work} == {"test.look.work"}
    assert {(r.key, r.partition) for r in work} == {(b"gate-1", None)}
    sent = items(work)
    assert [item.frame.sequence for item in sent] == list(range(10))
    assert [number_of(item.data) for item in sent] == list(range(10))
    assert {item.frame.stream for item in sent} == {camera.stream}
    assert {(item.pipeline, item.step) for item in sent} == {("one", "first")}
    check_account(transport, camera.stats)


def test_each_pipeline_of_the_kind_gets_every_frame(make: Make, transport: FakeTransport) -> None:
    with make(kind="both", source=[picture(1), picture(2)]) as camera:
        assert camera.pipelines == ("one", "two")
        report = camera.run()
    assert (report.captured, report.sent, report.acked) == (2, 4, 4)
    assert [(i.pipeline, i.frame.sequence) for i in items(transport.work())] == [
        ("one", 0),
        ("two", 0),
        ("one", 1),
        ("two", 1),
    ]
    check_account(transport, camera.stats)


def test_a_spread_function_is_dealt_to_all_partitions(make: Make, transport: FakeTransport) -> None:
    transport.topics = {"test.read.work": 5, "test.accounting": 1}
    with make(kind="mobile", source=[picture()] * 10) as camera:
        camera.run()
    partitions = [r.partition for r in transport.work()]
    assert sorted(p for p in partitions if p is not None) == sorted(list(range(5)) * 2)
    assert len(set(partitions[:5])) == 5


def test_time_stamps_and_reports_use_the_clock(
    make: Make, transport: FakeTransport, clock: Clock
) -> None:
    with make(
        source=[picture()] * 3,
        fps=2.0,
        pace="realtime",
        clock=lambda: clock.now + 1e9,
        monotonic=clock,
        sleep=clock.sleep,
    ) as camera:
        camera.run()
    times = [item.captured_at - 1e9 for item in items(transport.work())]
    assert times == pytest.approx([1000.0, 1000.5, 1001.0])
    assert transport.reports()[-1].at == pytest.approx(1e9 + 1001.0)
    assert camera.stream.startswith("20010909T020320000Z-")


@pytest.mark.parametrize(
    ("fps", "sleeps", "numbers"),
    [
        (None, [0.08] * 9, list(range(10))),
        (50.0, [0.08] * 9, list(range(10))),
        (6.25, [0.16] * 4, [0, 2, 4, 6, 8]),
    ],
)
def test_realtime_plays_a_video_at_its_speed(  # noqa: PLR0917 - fixtures
    make: Make,
    transport: FakeTransport,
    make_video: MakeVideo,
    clock: Clock,
    fps: float | None,
    sleeps: list[float],
    numbers: list[int],
) -> None:
    camera = make(source=make_video(), fps=fps, pace="realtime", monotonic=clock, sleep=clock.sleep)
    with camera:
        report = camera.run()
    assert clock.slept == pytest.approx(sleeps)
    assert [number_of(item.data) for item in items(transport.work())] == numbers
    assert report.skipped == 10 - len(numbers)


def test_fast_never_waits(make: Make, make_video: MakeVideo, clock: Clock) -> None:
    with make(source=make_video(), monotonic=clock, sleep=clock.sleep) as camera:
        assert camera.run().captured == 10
    assert clock.slept == []


def test_the_limits_of_a_run(make: Make, make_video: MakeVideo, clock: Clock) -> None:
    options: dict[str, Any] = {"pace": "realtime", "monotonic": clock, "sleep": clock.sleep}
    with make(source=make_video(), loop=True, **options) as camera:
        assert camera.run(max_frames=25).captured == 25
        assert camera.run(duration=1.0).captured == pytest.approx(25 + 13, abs=1)


def test_stop_ends_an_endless_run(make: Make) -> None:
    camera = make(source=[picture()], loop=True)
    seen: list[CameraStats] = []
    thread = threading.Thread(target=lambda: seen.append(camera.run()))
    thread.start()
    camera.stop()
    thread.join()
    report = camera.close()
    assert seen[0].open == 0
    assert balanced(report)
    assert report.captured == report.acked


def test_frames_of_the_application(make: Make, transport: FakeTransport) -> None:
    image = picture(3)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with make() as camera:
        assert camera.send(image, 1234.5, traceparent=trace) == 0
        image[:] = 0  # the caller's array is the caller's again
        assert camera.send(jpeg(5)) == 1
    first, second = items(transport.work())
    assert (number_of(first.data), first.captured_at, first.traceparent) == (3, 1234.5, trace)
    assert second.data == jpeg(5)
    with pytest.raises(RuntimeError, match="closed"):
        camera.send(image)


def test_an_image_that_is_none_costs_no_number(make: Make) -> None:
    with make() as camera:
        with pytest.raises(ImageError, match="float32"):
            camera.send(np.zeros((4, 4, 3), np.float32))
        assert camera.send(picture()) == 0


def test_wide_frames_are_scaled_down(make: Make, transport: FakeTransport) -> None:
    small = jpeg(2, width=32)
    with make(max_width=32) as camera:
        camera.send(picture(1, width=64))
        camera.send(jpeg(1, width=64))
        camera.send(small)
    first, second, third = items(transport.work())
    for item in (first, second):
        assert item.data != jpeg(1, width=64)
        assert number_of(item.data) == 1
        assert jpeg_size(item.data) == (24, 32)
    assert third.data == small


def jpeg_size(data: bytes) -> tuple[int, int]:
    import cv2  # noqa: PLC0415 - for this check alone

    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return pixels.shape[0], pixels.shape[1]


def test_bytes_that_are_no_image_are_dropped_with_the_reason(
    make: Make, transport: FakeTransport
) -> None:
    with make(source=[jpeg(1), b"not an image", b"", jpeg(2)]) as camera:
        report = camera.run()
    assert dict(report.dropped) == {"image-undecodable": 1, "image-empty": 1}
    assert report.acked == 2
    check_account(transport, camera.stats)


@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    fates=st.lists(
        st.sampled_from(["ok", "ok", "ok", "fails", "too-large", "refused", "full"]),
        min_size=1,
        max_size=40,
    ),
    policy=st.sampled_from(["drop-oldest", "drop-newest", "block"]),
    frames=st.integers(1, 4),
    kind=st.sampled_from(["fixed", "both"]),
)
def test_captured_is_acked_plus_dropped(
    config: Config, fates: list[str], policy: WhenFull, frames: int, kind: str
) -> None:
    transport = FakeTransport()
    transport.capacity = 3

    def fate(record: Record) -> str:
        if not record.topic.endswith(".work"):
            return "ok"
        return fates[items([record])[0].frame.sequence % len(fates)]

    def on_send(record: Record) -> None:
        if fate(record) == "refused":
            raise BrokerError("no such topic")

    def verdict(record: Record) -> BrokerError | None:
        if fate(record) == "fails":
            return BrokerError("timed out")
        return RecordTooLargeError("too large") if fate(record) == "too-large" else None

    transport.on_send, transport.verdict = on_send, verdict
    camera = CameraProducer(
        "c",
        kind,
        source=[jpeg()] * 60,
        config=config,
        transport=transport,
        pace="fast",
        buffer=BufferConfig(frames=frames, in_flight=2, when_full=policy),
        report_every=0.0,
    )
    with camera:
        report = camera.run()
    assert report.captured == 60
    assert report.open == 0
    assert balanced(report)
    if policy == "block":
        assert "buffer-full" not in report.dropped
    check_account(transport, camera.stats)


def test_reasons_of_failed_deliveries(make: Make, transport: FakeTransport) -> None:
    errors = [None, BrokerError("timed out"), RecordTooLargeError("large"), None]

    def verdict(record: Record) -> BrokerError | None:
        return errors[items([record])[0].frame.sequence] if record.topic[-4:] == "work" else None

    def on_send(record: Record) -> None:
        if record.topic[-4:] == "work" and items([record])[0].frame.sequence == 3:
            raise RecordTooLargeError("larger than message.max.bytes")

    transport.verdict, transport.on_send = verdict, on_send
    with make(source=[picture()] * 4) as camera:
        report = camera.run()
    assert dict(report.dropped) == {"delivery-failed": 1, "too-large": 2}
    assert (report.failed, report.acked) == (2, 1)
    reasons = {d.sequence: d.reason for r in transport.reports() for d in r.dropped}
    camera_reasons = {1: "delivery-failed", 2: "too-large", 3: "too-large"}
    assert reasons == camera_reasons


def test_a_full_client_holds_the_sender_until_there_is_room(
    make: Make, transport: FakeTransport
) -> None:
    transport.capacity = 1
    with make(source=[picture()] * 20) as camera:
        report = camera.run()
    assert report.acked == 20
    assert transport.full > 0


def test_a_broker_that_is_away_leaves_the_choice_to_the_policy(
    make: Make, transport: FakeTransport
) -> None:
    limits = BufferConfig(frames=3, in_flight=2, when_full="drop-oldest")
    camera = make(buffer=limits)
    camera.open()
    transport.held.set()
    for _ in range(50):
        camera.send(jpeg())
    stats = camera.stats
    assert stats.sent <= 2
    assert stats.dropped["buffer-full"] >= 50 - 3 - 3
    assert balanced(stats)
    transport.held.clear()  # it is back
    report = camera.close()
    newest = [item.frame.sequence for item in items(transport.work())][-3:]
    assert newest == [47, 48, 49]
    assert balanced(report)
    assert report.open == 0
    check_account(transport, report)


def test_a_broker_that_never_comes_back_ends_in_a_final_account(
    make: Make, transport: FakeTransport
) -> None:
    camera = make(buffer=BufferConfig(frames=5, in_flight=2, when_full="drop-newest"))
    camera.open()
    transport.held.set()
    for _ in range(10):
        camera.send(jpeg())
    report = camera.close(timeout=0.0)
    assert report.open == 0
    assert report.acked == 0
    assert set(report.dropped) <= {"delivery-failed", "unsent", "buffer-full"}
    assert report.lost == 10


def test_reports_that_get_lost_are_told_again(make: Make, transport: FakeTransport) -> None:
    lose = [True]

    def verdict(record: Record) -> BrokerError | None:
        if record.topic.endswith(".accounting"):
            return BrokerError("timed out") if lose[0] else None
        return BrokerError("timed out") if items([record])[0].frame.sequence == 0 else None

    transport.verdict = verdict
    with make(source=[picture()] * 30, report_every=0.0) as camera:
        camera.run()
        assert transport.reports() == []
        lose[0] = False
    assert [d.sequence for r in transport.reports() for d in r.dropped] == [0]
    assert transport.reports()[-1].closed


def test_reports_are_repeated_with_the_key_of_the_account(
    make: Make, transport: FakeTransport
) -> None:
    with make(source=[picture()] * 5, report_every=0.0) as camera:
        camera.run()
    records = [r for r in transport.records if r.topic == "test.accounting"]
    assert {r.key for r in records} == {f"camera/gate-1/{camera.stream}/one".encode()}
    produced = [r.produced for r in transport.reports()]
    assert len(produced) > 1
    assert produced == sorted(produced)
    last = json.loads(records[-1].value or b"")
    assert (last["type"], last["version"], last["kind"]) == ("camera", 1, "fixed")
    assert CameraReport.model_validate(last).closed


class Flaky:
    """A live source that gives some frames and is then lost."""

    fps: float | None = 10.0
    finite = False
    live = True
    name = "flaky"

    def __init__(self, frames: int) -> None:
        self.left = frames

    def read(self) -> Frame:
        if not self.left:
            raise SourceError("flaky: gone")
        self.left -= 1
        return Frame(jpeg())

    def close(self) -> None:
        self.left = 0


def test_a_lost_live_source_is_opened_again_with_growing_waits(
    make: Make, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    # Two frames; then four failed tries; three frames; then one frame.
    script: Iterator[int] = iter([2, 0, 0, 0, 0, 3, 1])

    def open_scripted(spec: SourceSpec, *, loop: bool) -> Flaky:
        del spec, loop
        frames = next(script)
        if not frames:
            raise SourceError("flaky: does not answer")
        return Flaky(frames)

    monkeypatch.setattr("dataflow.camera.producer.open_source", open_scripted)
    backoff = BackoffConfig(first=1.0, most=5.0, jitter=0.0)
    with make(source="rtsp://x", reconnect=backoff, monotonic=clock, sleep=clock.sleep) as camera:
        report = camera.run(max_frames=6)
    assert (report.captured, report.acked, report.reconnects) == (6, 6, 2)
    assert clock.slept == [1.0, 2.0, 4.0, 5.0, 5.0, 1.0]


def test_a_real_network_stream_comes_back(make: Make, transport: FakeTransport) -> None:
    from tests.camera.mjpeg import MjpegServer  # noqa: PLC0415 - for this test alone

    backoff = BackoffConfig(first=0.01, most=0.01)
    with MjpegServer(frames=12) as server, make(source=server.url, reconnect=backoff) as camera:
        report = camera.run(max_frames=20)
        assert server.calls >= 2
    assert report.captured == report.acked == 20
    assert report.reconnects >= 1
    assert len({item.frame.stream for item in items(transport.work())}) == 1


def test_an_iterator_that_fails_ends_the_run_after_a_flush(
    make: Make, transport: FakeTransport
) -> None:
    def frames() -> Iterator[Pixels]:
        yield picture()
        raise OSError("unplugged")

    with make(source=frames()) as camera:
        with pytest.raises(SourceError, match="unplugged"):
            camera.run()
        assert camera.stats.acked == 1
    check_account(transport, camera.stats)


def test_a_source_that_hangs_is_left_behind(
    make: Make, monkeypatch: pytest.MonkeyPatch, transport: FakeTransport
) -> None:
    released = threading.Event()

    class Hanging(Flaky):
        def read(self) -> Frame:
            if not self.left:
                released.wait()
                raise SourceEnded("let go")
            return super().read()

    monkeypatch.setattr("dataflow.camera.capture._GRACE_SECONDS", 0.01)
    monkeypatch.setattr("dataflow.camera.producer.open_source", lambda *_, **__: Hanging(2))
    with make(source="rtsp://x") as camera:
        report = camera.run(duration=0.1)
    released.set()
    assert report.acked == 2
    check_account(transport, camera.stats)


def test_a_missing_source_is_told_before_the_broker_is_asked(
    make: Make, transport: FakeTransport
) -> None:
    transport.away = 1000
    with pytest.raises(SourceError, match="no such file"):
        make(source="missing.mp4").run()


def test_waiting_for_a_broker_that_comes(
    make: Make, transport: FakeTransport, clock: Clock
) -> None:
    transport.away = 3
    with make(source=[picture()], monotonic=clock, sleep=clock.sleep) as camera:
        assert camera.run().acked == 1
    assert len(clock.slept) == 3


def test_waiting_for_a_broker_has_an_end(
    make: Make, transport: FakeTransport, clock: Clock
) -> None:
    transport.away = 10**6
    camera = make(wait_for_broker=20.0, monotonic=clock, sleep=clock.sleep)
    with pytest.raises(BrokerError, match="gate-1 cannot publish: no broker"):
        camera.open()
    assert sum(clock.slept) == pytest.approx(20.0)
    assert transport.closed


def test_a_missing_topic_is_an_error_at_the_start(make: Make, transport: FakeTransport) -> None:
    transport.topics = {"test.look.work": 3}
    with pytest.raises(BrokerError, match=r"topic test\.accounting"):
        make(wait_for_broker=0.0).open()


def test_a_fault_of_the_sender_is_raised(make: Make, transport: FakeTransport) -> None:
    def broken(record: Record) -> None:
        raise ZeroDivisionError(record.topic)

    transport.on_send = broken
    camera = make(source=[picture()], loop=True)
    with pytest.raises(BrokerError, match="the sender failed: test"):
        camera.run()
    assert balanced(camera.close())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "a/b"}, "name: a camera's name has"),
        ({"name": ""}, "name: a camera's name has"),
        ({"kind": "drone"}, "kinds that the pipelines name: both, fixed, mobile"),
        ({"fps": 0.0}, "fps: must be above 0"),
        ({"pace": "slow"}, "one of realtime, fast"),
        ({"jpeg_quality": 0}, "jpeg_quality: must be 1 to 100"),
        ({"max_width": 1}, "max_width: must be at least 16"),
    ],
)
def test_wrong_arguments_name_the_remedy(make: Make, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options)


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ConfigError, match="one of drop-oldest, drop-newest, block"):
        BufferConfig(when_full="drop-all")  # type: ignore[arg-type] # the mistake under test


def test_run_needs_a_source(make: Make) -> None:
    with make() as camera, pytest.raises(ConfigError, match="needs a source"):
        camera.run()


def test_streams_sort_by_time_and_differ(config: Config) -> None:
    ids = [
        CameraProducer("c", config=config, clock=lambda now=now: now, rng=rng).stream  # type: ignore[misc] # a default that mypy cannot see
        for now, rng in [
            (1e9, np.random.default_rng(1)),
            (1e9, np.random.default_rng(2)),
            (1e9 + 0.001, np.random.default_rng(1)),
            (1.5e9, np.random.default_rng(1)),
        ]
    ]
    assert len(set(ids)) == 4
    assert max(ids[:2]) < ids[2] < ids[3]


def test_the_declaration_may_be_a_path(tmp_path: Path, transport: FakeTransport) -> None:
    from tests.camera.conftest import DECLARATION  # noqa: PLC0415 - for this test alone

    path = tmp_path / "topics.yaml"
    path.write_text(DECLARATION)
    with CameraProducer("c", config=path, transport=transport) as camera:
        camera.send(picture())
    assert len(transport.work("test.look")) == 1


def test_the_first_rate_is_not_infinite(make: Make, clock: Clock) -> None:
    camera = make(monotonic=clock)
    assert camera.stats.fps == 0
    with camera:
        for _ in range(20):
            camera.send(jpeg())
            clock.now += 0.1
        assert camera.stats.fps == pytest.approx(10, rel=0.1)
