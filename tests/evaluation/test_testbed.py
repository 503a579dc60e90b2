"""The testbed ends what it has started, also where it cannot begin."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataflow.broker import EmbeddedBroker
from evaluation.errors import MeasurementError
from evaluation.testbed import ReplicaPlan, Testbed
from evaluation.thesis_case import declare


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
        MeasurementError, match=r"yolo-1 ended with [12]; the end of its log:\n.*speed"
    ):
        bed.__enter__()
    assert len(bed.processes) == 2
    assert all(process.returncode is not None for process in bed.processes.values())


@pytest.mark.broker
def test_ctrl_c_while_workers_start_ends_them(
    kafka: EmbeddedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Testbed) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Testbed, "wait_until_ready", interrupted)
    replicas = [ReplicaPlan(function="yolo", name="yolo-0")]
    bed = Testbed(declare(kafka.bootstrap_servers, policy="none"), replicas, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        bed.__enter__()
    assert bed.processes["yolo-0"].returncode is not None
