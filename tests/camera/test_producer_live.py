"""Sources that give the pace, get lost, fail or hang."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from dataflow.camera import BackoffConfig, Frame, SourceSpec
from dataflow.errors import (
    SourceEnded,
    SourceError,
)
from tests.camera.conftest import (
    Clock,
    Make,
    Pixels,
    check_account,
    items,
    jpeg,
    picture,
)
from tests.camera.fake import FakeTransport


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


@pytest.mark.parametrize(("fps", "captured"), [(5.0, 10), (10.0, 20), (60.0, 20), (None, 20)])
def test_a_live_source_gives_the_pace_and_is_thinned_by_time(
    make: Make, clock: Clock, fps: float | None, captured: int
) -> None:
    class Live(Flaky):
        def read(self) -> Frame:
            clock.now += 0.1
            if not self.left:
                raise SourceEnded("over")
            return super().read()

    with make(source=Live(20), fps=fps, pace="realtime", monotonic=clock, sleep=clock.sleep) as c:
        report = c.run()
    assert (report.captured, report.skipped) == (captured, 20 - captured)
    assert clock.slept == []


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
