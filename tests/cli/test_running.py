"""`up`, `camera`, `results` and `account` together on a real Kafka, as a user types them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from dataflow.broker import EmbeddedBroker
from tests.agents.plant import DEADLINE, wait_until
from tests.agents.processes import declare

pytestmark = [pytest.mark.broker, pytest.mark.timeout(240)]


def videojam(*words: str, file: Path, ok: int = 0) -> str:
    """Run a command to its end; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "cli", *words, "--config", str(file)],
        capture_output=True,
        text=True,
        timeout=DEADLINE * 3,
        check=False,
    )
    assert done.returncode == ok, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture
def video(tmp_path: Path) -> Path:
    file = tmp_path / "grey.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 25, (320, 240))
    for shade in range(50):
        writer.write(np.full((240, 320, 3), 80 + shade, np.uint8))
    writer.release()
    return file


def test_a_run_from_camera_to_account(kafka: EmbeddedBroker, tmp_path: Path, video: Path) -> None:
    emulated = {
        "parameters": {
            "service": {"distribution": "constant", "mean": 0.005},
            "objects_per_item": 1,
            "kind": "vehicle",
            "label": "car",
        },
        "replicas": 2,
    }
    file, _ = declare(tmp_path, kafka.bootstrap_servers, find=emulated)
    log = (tmp_path / "up.log").open("wb")
    up = subprocess.Popen(
        [
            *(sys.executable, "-m", "cli", "up", "--config", str(file)),
            *("--log-dir", str(tmp_path / "logs")),
        ],
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        logs = [tmp_path / "logs" / f"find-{n}.log" for n in range(2)]
        wait_until(
            lambda: all(f.exists() and "owns" in f.read_text() for f in logs), "workers work"
        )
        camera = ["camera", "--source", str(video), "--name", "gate", "--kind", "any"]
        told = videojam(*camera, "--pace", "fast", file=file)
        assert "50 frames" in told

        def all_ended() -> bool:
            done = subprocess.run(
                [sys.executable, "-m", "cli", "account", "--json", "--config", str(file)],
                capture_output=True,
                text=True,
                check=False,
            )
            (camera,) = json.loads(done.stdout)["cameras"]
            assert done.returncode == (0 if camera["open"] == 0 else 2)
            assert camera["produced"] == camera["processed"] + camera["open"]
            return bool(camera["closed"] and camera["processed"] == 50)

        wait_until(all_ended, "50 frames are processed", 60)
    finally:
        up.terminate()
        assert up.wait(DEADLINE) == 0, (tmp_path / "up.log").read_text()
        log.close()
    said = (tmp_path / "up.log").read_text()
    assert "What became of every frame" in said
    assert "processed" in said
    as_read = ["results", "--from", "earliest", "--no-follow"]
    lines = videojam(*as_read, "--as", "json", file=file).splitlines()
    assert len([line for line in lines if json.loads(line)["camera"] == "gate"]) == 50
    assert len(videojam(*as_read, "--limit", "7", file=file).splitlines()) == 8
    out = tmp_path / "found"
    videojam(*as_read, "--as", "pictures", "--limit", "5", "--out", str(out), file=file)
    pictures = sorted(out.glob("p-gate-*.jpg"))
    assert len(pictures) == 5
    assert cv2.imread(str(pictures[0])).shape == (240, 320, 3)  # type: ignore[union-attr]  # it is there
    videojam(*as_read, "--as", "video", "--out", str(out), file=file)
    played = cv2.VideoCapture(str(out / "p-gate.mp4"))
    assert int(played.get(cv2.CAP_PROP_FRAME_COUNT)) == 50


def test_frames_that_nobody_works_on_are_open(
    kafka: EmbeddedBroker, tmp_path: Path, video: Path
) -> None:
    file, _ = declare(tmp_path, kafka.bootstrap_servers)
    videojam("topics", "apply", "--yes", file=file)
    camera = ["camera", "--source", str(video), "--name", "gate", "--kind", "any"]
    videojam(*camera, "--pace", "fast", "--max-frames", "10", file=file)
    told = videojam("account", "--open", "2", file=file, ok=2)
    assert told.count("not ended: p gate/") == 2


@pytest.mark.parametrize("command", [["up", "nobody"], ["worker", "nobody"], ["results", "nobody"]])
def test_unknown_names_are_refused_with_those_that_are_known(
    command: list[str], kafka: EmbeddedBroker, tmp_path: Path
) -> None:
    file, _ = declare(tmp_path, kafka.bootstrap_servers)
    told = videojam(*command, file=file, ok=1)
    assert "'nobody'" in told
    assert "declared:" in told


def test_more_replicas_than_partitions_are_refused(kafka: EmbeddedBroker, tmp_path: Path) -> None:
    file, _ = declare(tmp_path, kafka.bootstrap_servers)
    told = videojam("up", "find=9", file=file, ok=1)
    assert "9 replicas cannot share 4 partitions" in told


@pytest.mark.parametrize("command", [["up"], ["account"], ["results"]])
def test_a_broker_that_is_away_is_said_with_the_remedy(command: list[str], tmp_path: Path) -> None:
    file, _ = declare(tmp_path, "127.0.0.1:1")
    told = videojam(*command, file=file, ok=1)
    assert "no Kafka broker answers at 127.0.0.1:1" in told
    assert "videojam broker start" in told
