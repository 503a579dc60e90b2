"""`videojam triton`, `videojam node` and `videojam gpus` as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from cli.main import app
from dataflow.broker import EmbeddedBroker
from dataflow.broker.paths import cache_home
from dataflow.functions.yolo.networks import BUILTIN
from dataflow.transport.kafka import KafkaTransport
from roomie.control.records import GpuReport, InstanceReport, WorkerReport
from tests.roomie.control.kit import Plant, placed
from tests.roomie.waiting import wait_until

runner = CliRunner()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VIDEOJAM_CACHE", str(cache_home()))
    monkeypatch.setenv("VIDEOJAM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.triton
def test_a_server_is_started_seen_and_stopped(home: Path) -> None:
    ports = ["--grpc-port", "0", "--http-port", "0", "--metrics-port", "0"]
    started = runner.invoke(app, ["triton", "start", "--name", "t", *ports])
    try:
        assert started.exit_code == 0, started.output
        assert "Triton 't' runs at 127.0.0.1:" in started.output
        again = runner.invoke(app, ["triton", "start", "--name", "t", *ports])
        assert again.exit_code == 1
        assert "already runs" in again.output
        seen = runner.invoke(app, ["triton", "status", "--json"])
        assert seen.exit_code == 0
        (server,) = json.loads(seen.output)
        assert (server["name"], server["running"], server["answers"]) == ("t", True, True)
        assert "0 of 0" in runner.invoke(app, ["triton", "status"]).output
        logged = runner.invoke(app, ["triton", "logs", "--name", "t"])
        assert "Started GRPCInferenceService" in logged.output
    finally:
        stopped = runner.invoke(app, ["triton", "stop", "--name", "t"])
    assert "stopped Triton 't'" in stopped.output
    after = runner.invoke(app, ["triton", "status"])
    assert after.exit_code == 3
    assert "no Triton runs" in after.output
    assert (home / "triton" / "t" / "models").is_dir(), "its repository stays"


def test_a_network_is_added_to_a_repository(tmp_path: Path) -> None:
    command = ["triton", "add", str(BUILTIN), "--models", str(tmp_path), "--name", "d"]
    done = runner.invoke(app, [*command, "--version", "2"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "d" / "2" / "model.onnx").is_file()
    wrong = runner.invoke(app, ["triton", "add", str(tmp_path / "x"), "--models", str(tmp_path)])
    assert wrong.exit_code == 1
    assert "remedy" in wrong.output


def test_logs_of_a_server_that_never_was_say_so(home: Path) -> None:
    done = runner.invoke(app, ["triton", "logs", "--name", "none"])
    assert done.exit_code == 1
    assert str(home) in done.output.replace("\n", "")


def declaration(folder: Path, servers: str, deployment: str) -> str:
    file = folder / "topics.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "version": 1,
                "deployment": deployment,
                "cluster": {"bootstrap_servers": servers},
                "functions": {
                    "find": {
                        "plugin": "emulated",
                        "parameters": {"service": {"distribution": "constant", "mean": 0.01}},
                    }
                },
                "pipelines": {"p": {"cameras": ["any"], "steps": [{"function": "find"}]}},
            }
        )
    )
    return str(file)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--models", "{models}/none"], "no such folder"),
        (["--models", "{models}"], "pip install 'videojam[triton]'"),
        (
            ["--models", "{models}", "--worker", "edge 1"],
            "--worker: not a name: it may have letters",
        ),
        (["--models", "{models}", "--node", "-edge"], "--node: not a name: it may have letters"),
        (["--models", "{models}", "--gpu", "T44"], "did you mean 'T4'"),
        (["--models", "{models}", "--gpu", "T4", "--triton", "x:1"], "--repository"),
        (
            ["--models", "{models}", "--gpu", "T4", "--repository", "{models}/instances"],
            "lies in the folder of --models",
        ),
    ],
)
@pytest.mark.usefixtures("home")
def test_a_node_that_cannot_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.setattr("roomie.control.hardware._nvml", lambda: None)
    models = tmp_path / "models"
    models.mkdir()
    file = declaration(tmp_path, "127.0.0.1:1", "d")
    filled = [word.format(models=models) for word in words]
    done = runner.invoke(app, ["node", "--config", file, *filled])
    assert done.exit_code == 1
    assert said in done.output.replace("\n", " ")


@pytest.mark.broker
def test_without_roomies_topics_it_is_said_how_to_make_them(
    kafka: EmbeddedBroker, tmp_path: Path
) -> None:
    file = declaration(tmp_path, kafka.bootstrap_servers, "no-topics")
    foreign = ["--triton", "localhost:1", "--repository", str(tmp_path / "r")]
    (tmp_path / "models").mkdir()
    for command in (
        ["gpus", "--once"],
        ["node", "--models", str(tmp_path / "models"), "--gpu", "T4", *foreign],
    ):
        done = runner.invoke(app, [command[0], "--config", file, *command[1:]])
        assert done.exit_code == 1
        assert "videojam topics apply" in done.output.replace("\n", " ")


@pytest.mark.broker
def test_the_map_shows_what_workers_say_and_what_is_placed(
    kafka: EmbeddedBroker, tmp_path: Path
) -> None:
    with KafkaTransport(kafka.bootstrap_servers) as transport:
        plant = Plant(transport)
        file = declaration(tmp_path, kafka.bootstrap_servers, plant.names.deployment)
        report = WorkerReport(
            worker="w",
            node="edge-1",
            incarnation="x",
            url="w:8001",
            gpus=(GpuReport(id="w/0", device="T4"),),
            at=0,
            lease=600,
            server_ready=True,
            instances=(InstanceReport(id="m.1", state="ready"),),
        )
        plant.send(plant.names.workers, "w", report.to_json())
        plant.place("m", [placed("m.1", "w", ready_at="w:8001", speed=50)])
        wait_until(lambda: "w" in plant.workers.rows(), "it is there")
        done = runner.invoke(app, ["gpus", "--config", file, "--once", "--json"])
        assert done.exit_code == 0, done.output
        shown = json.loads(done.output)
        (instance,) = shown["workers"][0]["gpus"][0]["instances"]
        assert (instance["id"], instance["state"], instance["expected"]) == ("m.1", "ready", 50)
        lines = runner.invoke(app, ["gpus", "--config", file, "--once"])
        assert "w  on edge-1  Triton at w:8001" in lines.output
        plant.close()
