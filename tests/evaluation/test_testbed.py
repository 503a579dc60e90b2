"""The testbed ends what it has started, where it cannot begin too, and no wait is endless."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Self, cast

import psutil
import pytest

from dataflow.broker import EmbeddedBroker
from dataflow.camera import CameraProducer
from dataflow.errors import BrokerError
from evaluation.errors import MeasurementError
from evaluation.testbed import Camera, ReplicaPlan, Testbed
from evaluation.thesis_case import declare


def running(folder: Path) -> list[list[str]]:
    """Commands of the processes that were told to work in a folder."""
    commands = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [words for words in commands if any(str(folder) in word for word in words)]


@pytest.mark.broker
def test_where_one_worker_cannot_start_the_others_are_ended(
    kafka: EmbeddedBroker, tmp_path: Path
) -> None:
    replicas = [
        ReplicaPlan(function="yolo", name="yolo-0"),
        ReplicaPlan(function="yolo", name="yolo-1", speed=-1.0),
    ]
    bed = Testbed(declare(kafka.bootstrap_servers, policy="videojam"), replicas, tmp_path)
    with pytest.raises(
        MeasurementError, match=r"yolo-1 ended by itself with exit code [12]: (?s:.*)speed"
    ):
        bed.__enter__()
    assert not running(tmp_path)


@pytest.mark.broker
def test_ctrl_c_while_workers_start_ends_them(
    kafka: EmbeddedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def interrupted(_: Testbed) -> None:
        seen.extend(running(tmp_path))
        raise KeyboardInterrupt

    monkeypatch.setattr(Testbed, "wait_until_ready", interrupted)
    replicas = [ReplicaPlan(function="yolo", name="yolo-0")]
    bed = Testbed(declare(kafka.bootstrap_servers, policy="none"), replicas, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        bed.__enter__()
    assert seen
    assert not running(tmp_path)


class Producer:
    """Sends, fails, or waits until it may go on."""

    name = "cam"

    def __init__(self, fault: Exception | None = None, gate: threading.Event | None = None) -> None:
        self.sent = 0
        self._fault = fault
        self._gate = gate

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def send(self, _: bytes) -> None:
        if self._gate is not None:
            self._gate.wait()
        if self._fault is not None:
            raise self._fault
        self.sent += 1


def camera(producer: Producer) -> Camera:
    return Camera(cast("CameraProducer", cast("Any", producer)), [0.0, 0.1], b"", now=lambda: 1.0)


def test_a_camera_ends_after_its_last_frame() -> None:
    producer = Producer()
    sending = camera(producer)
    sending.start()
    sending.finish()
    assert producer.sent == 2


def test_what_made_a_camera_fail_is_told_at_its_end() -> None:
    sending = camera(Producer(BrokerError("it is gone")))
    sending.start()
    with pytest.raises(BrokerError, match="it is gone"):
        sending.finish()


def test_a_camera_that_stands_still_is_not_waited_for_forever() -> None:
    gate = threading.Event()
    sending = camera(Producer(gate=gate))
    sending.start()
    try:
        with pytest.raises(MeasurementError, match="the camera cam does not end"):
            sending.finish(late=0.05)
    finally:
        gate.set()
        sending.stop()
