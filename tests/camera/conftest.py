"""Small videos, a clock that only sleeping moves, and a declaration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dataflow import CameraProducer
from dataflow.camera import CameraStats
from dataflow.config import Config, parse_config
from dataflow.messages import WorkItem
from dataflow.transport.base import Record
from tests.camera.fake import FakeTransport

Pixels = NDArray[np.uint8]
Make = Callable[..., CameraProducer]
"""Makes a camera, by default of a pace that never waits."""

DECLARATION = """
version: 1
deployment: test
functions:
  look: {partitions: 3}
  read: {partitions: 5, partitioning: spread}
pipelines:
  one: {cameras: [fixed, both], steps: [{function: look, id: first}]}
  two: {cameras: [both], steps: [{function: look}]}
  dealt: {cameras: [mobile], steps: [{function: read}]}
"""


class Clock:
    """Seconds that pass only while somebody sleeps. Keeps the sleeps."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def config() -> Config:
    return parse_config(DECLARATION)


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport()


@pytest.fixture
def make(config: Config, transport: FakeTransport) -> Make:
    def make(name: str = "gate-1", kind: str = "fixed", **options: Any) -> CameraProducer:
        options.setdefault("pace", "fast")
        options.setdefault("rng", np.random.default_rng(7))
        return CameraProducer(name, kind, config=config, transport=transport, **options)

    return make


def picture(number: int = 0, *, width: int = 64, height: int = 48) -> Pixels:
    """A picture whose brightness tells its number (0 to 24)."""
    return np.full((height, width, 3), 10 * number, np.uint8)


def number_of(image: Pixels | bytes) -> int:
    """Which `picture` this is, also after compression."""
    if isinstance(image, bytes):
        decoded = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
        assert decoded is not None
        return round(float(np.mean(decoded)) / 10)
    return round(float(np.mean(image)) / 10)


def jpeg(number: int = 0, *, width: int = 64) -> bytes:
    done, data = cv2.imencode(".jpg", picture(number, width=width))
    assert done
    return data.tobytes()


MakeVideo = Callable[..., Path]


@pytest.fixture
def make_video(tmp_path: Path) -> MakeVideo:
    """Writes a video of `frames` numbered pictures at `fps`."""

    def make(name: str = "street.avi", *, frames: int = 10, fps: float = 12.5) -> Path:
        path = tmp_path / name
        fourcc = "MJPG" if path.suffix == ".avi" else "mp4v"
        writer = cv2.VideoWriter(
            str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*fourcc), fps, (64, 48)
        )
        assert writer.isOpened()
        for number in range(frames):
            writer.write(picture(number))
        writer.release()
        return path

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures 1, 2, 3 and 10, of which 3 is PNG, and a text file."""
    path = tmp_path / "pictures"
    path.mkdir()
    for number in (10, 2, 1):
        (path / f"frame{number}.jpg").write_bytes(jpeg(number))
    assert cv2.imwrite(str(path / "frame3.png"), picture(3))
    (path / "notes.txt").write_text("not a picture")
    return path


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
