"""`videojam camera`, from its options to its exit code."""

from __future__ import annotations

import json
import logging
import os
import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from dataflow.transport.kafka import KafkaTransport
from tests.camera.conftest import DECLARATION, MakeVideo
from tests.camera.fake import FakeTransport


class Command:
    """Runs the command with a declaration in place and a fake cluster."""

    def __init__(self, config: Path) -> None:
        self._config = config

    def __call__(self, *options: str) -> Result:
        return CliRunner().invoke(app, ["camera", "--config", str(self._config), *options])


@pytest.fixture
def run(tmp_path: Path, transport: FakeTransport, monkeypatch: pytest.MonkeyPatch) -> Command:
    path = tmp_path / "topics.yaml"
    path.write_text(DECLARATION)
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setattr(KafkaTransport, "from_config", lambda *_, **__: transport)
    return Command(path)


def test_a_video_is_published_and_summed_up(
    run: Command, transport: FakeTransport, make_video: MakeVideo
) -> None:
    result = run("--name", "gate-1", "--source", str(make_video()), "--pace", "fast")
    assert result.exit_code == 0
    assert len(transport.work()) == 10
    assert "captured  10 frames" in result.stderr
    assert "dropped   0 records" in result.stderr
    assert result.stdout == ""


def test_json_for_scripts(run: Command, make_video: MakeVideo) -> None:
    options = ["--name", "x", "--source", str(make_video()), "--loop", "--max-frames", "23"]
    result = run(*options, "--pace", "fast", "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert (report["captured"], report["acked"], report["closed"]) == (23, 23, True)
    assert result.stderr == ""


def test_quiet(run: Command, make_video: MakeVideo) -> None:
    result = run("--name", "x", "--source", str(make_video()), "--pace", "fast", "--quiet")
    assert (result.exit_code, result.output) == (0, "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--name", "x", "--source", "missing.mp4"], "error: missing.mp4: no such file"),
        (["--name", "a/b", "--source", "x"], "error: name: a camera's name has"),
        (["--name", "x", "--source", "x", "--kind", "drone"], "remedy: kinds that the pipelines"),
        (["--name", "x", "--source", "x", "--config", "none.yaml"], "none.yaml: no such file"),
        (["--name", "x", "--source", "x", "--quality", "0"], "jpeg_quality: must be 1 to 100"),
        (["--name", "x", "--source", "x", "--buffer-frames", "0"], "buffer.frames: must be at"),
    ],
)
def test_errors_end_with_one_and_a_remedy(run: Command, options: list[str], message: str) -> None:
    result = run(*options)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_a_missing_topic(run: Command, transport: FakeTransport, make_video: MakeVideo) -> None:
    transport.topics = {}
    options = ["--name", "x", "--source", str(make_video()), "--wait-for-broker", "0"]
    result = run(*options)
    assert result.exit_code == 1
    assert "cannot publish: topic test.accounting: unknown" in result.stderr


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)], ids=["ctrl-c", "sigterm"]
)
def test_a_signal_ends_it_after_a_flush(
    run: Command,
    transport: FakeTransport,
    make_video: MakeVideo,
    number: signal.Signals,
    code: int,
) -> None:
    def verdict(_: object) -> None:
        if len(transport.work()) == 5:
            os.kill(os.getpid(), number)

    transport.verdict = verdict
    before = signal.getsignal(number)
    options = ["--name", "x", "--source", str(make_video()), "--loop", "--pace", "fast", "--json"]
    result = run(*options)
    assert result.exit_code == code
    report = json.loads(result.stdout)
    assert report["captured"] == report["acked"] == len(transport.work())
    assert transport.reports()[-1].closed
    assert signal.getsignal(number) == before


def test_help_shows_examples(run: Command) -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert "rtsp://" in result.output
    assert "130 after" in result.output.replace("\n", " ")
