"""CameraProducer on a transport that keeps, or loses, what it is given."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataflow import CameraProducer
from dataflow.camera import BufferConfig, CameraStats
from dataflow.config import Config
from dataflow.errors import (
    ConfigError,
    ImageError,
    SourceError,
)
from dataflow.messages import WorkItem
from dataflow.topics import create_declared_topics
from dataflow.transport.memory import MemoryTransport
from tests.camera.conftest import (
    DECLARATION,
    Clock,
    Make,
    MakeVideo,
    balanced,
    check_account,
    items,
    jpeg,
    number_of,
    picture,
)
from tests.camera.fake import FakeTransport


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


def test_a_missing_source_is_told_before_the_broker_is_asked(
    make: Make, transport: FakeTransport
) -> None:
    transport.away = 1000
    with pytest.raises(SourceError, match="no such file"):
        make(source="missing.mp4").run()


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


def test_it_runs_on_the_in_memory_transport(config: Config) -> None:
    with MemoryTransport() as transport:
        create_declared_topics(config, transport)
        with CameraProducer(
            "c", config=config, transport=transport, source=[jpeg(i) for i in range(5)]
        ) as camera:
            assert camera.run().acked == 5
        reader = transport.reader(["test.look.work"])
        received = reader.poll(100, 0.0)
        reader.close()
    sequences = [WorkItem.from_record(r.headers, r.value).frame.sequence for r in received]
    assert sequences == list(range(5))


def test_the_declaration_may_be_a_path(tmp_path: Path, transport: FakeTransport) -> None:
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
