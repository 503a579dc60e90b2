"""`videojam forecaster`."""

from __future__ import annotations

import builtins
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cli.forecaster as command
from cli import forecaster_record
from cli.forecaster_options import parse_numbers
from dataflow.config import load_config
from dataflow.errors import ConfigError
from dataflow.messages import FrameId, WorkItem
from dataflow.results import build_result
from dataflow.topics import create_declared_topics
from dataflow.transport import Record
from dataflow.transport.memory import MemoryTransport
from forecasting.generators import GENERATORS
from forecasting.tflite import Dense
from tests.cli.conftest import Videojam
from tests.forecasting.loads import KITTI, ORIGINAL, needs

TOPICS = """
version: 1
deployment: test
functions:
  look: {partitions: 1}
pipelines:
  street: {cameras: [fixed], steps: [{function: look}]}
"""


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    file = tmp_path / "vehicles.csv"
    rng = np.random.default_rng(0)
    lines = ["sequence,frame,vehicles"]
    for name in "abcdef":
        load = GENERATORS["drive"](45.0, rng).vehicles
        lines += [f"{name},{frame},{count:.0f}" for frame, count in enumerate(load)]
    file.write_text("\n".join(lines) + "\n")
    return file


def without(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """As if these packages were not installed."""
    real = builtins.__import__

    def pretend(name: str, *rest: Any, **named: Any) -> Any:
        if name.partition(".")[0] in packages:
            raise ImportError(f"No module named {name!r}")
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", pretend)


@pytest.mark.parametrize("name", ["train", "evaluate", "record"])
def test_help_has_examples(videojam: Videojam, name: str) -> None:
    result = videojam("forecaster", name, "--help")
    assert result.exit_code == 0
    assert f"videojam forecaster {name} " in result.stdout


def test_all_installed_forecasters_are_compared(videojam: Videojam, trace: Path) -> None:
    result = videojam("forecaster", "evaluate", "--trace", str(trace), "--json")
    assert result.exit_code == 0
    tables = json.loads(result.stdout)
    assert set(tables) == {"15", "20"}
    assert {"dense", "ewma", "last-window", "linear", "mixture"} <= set(tables["15"])
    found = tables["15"]["last-window"]
    assert found["all"]["windows"] == 2 * 26  # sequences b and e, 45 slots each
    assert "settled" not in found, "no sequence lasts a minute"
    assert found["start-up"]["windows"] == 52
    errors = {name: groups["all"]["sum_error"] for name, groups in tables["15"].items()}
    assert all(0 < error < 2 for error in errors.values()), errors
    assert len(set(errors.values())) == len(errors), "each forecasts in its own way"


def test_the_table_ranks_by_the_error_of_the_windows_sum(videojam: Videojam, trace: Path) -> None:
    arguments = ("--fps", "20", "--forecaster", "last-window", "--forecaster", "mixture")
    result = videojam("forecaster", "evaluate", "--trace", str(trace), "--test", "all", *arguments)
    assert result.exit_code == 0
    assert result.stdout.index("mixture") < result.stdout.index("last-window")
    for word in ("quiet", "rising", "falling", "MASE", "start-up"):
        assert word in result.stdout


def test_another_model_is_compared_beside_the_one_that_ships(
    videojam: Videojam, trace: Path
) -> None:
    result = videojam(
        "forecaster", "evaluate", "--trace", str(trace), "--fps", "20", "--json",
        "--forecaster", "dense", "--model", f"dense={Dense.builtin}",
    )  # fmt: skip
    scores = json.loads(result.stdout)["20"]
    assert scores["dense"] == scores["dense dense.tflite"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no trace is given"),
        (("--trace", "none.csv"), "cannot be read"),
        (("--trace", "TRACE", "--test", "a,z"), "no sequence is called z"),
        (("--trace", "TRACE", "--fps", "fast"), "separated by commas"),
        (("--trace", "TRACE", "--fps", "-3"), "separated by commas"),
        (("--trace", "TRACE", "--forecaster", "mixtur"), "did you mean 'mixture'"),
        (("--trace", "TRACE", "--model", "mixture"), "mixture=mine.tflite"),
        (("--trace", "TRACE", "--model", "mixture=none.tflite"), "cannot be read"),
        (("--trace", "TRACE", "--original", "none.pb"), "no such graph"),
        (("--trace", "TRACE", "--original", "TRACE"), "OpenCV cannot run the graph"),
        (("--trace", "TRACE", "--plot", "plot.doc"), ".png"),
        (("--trace", "TRACE", "--history", "5"), "history holds at least"),
        (("--trace", "TRACE", "--slots", "30"), "a forecast needs 60 s"),
    ],
)
def test_what_is_wrong_is_said_with_a_remedy(
    videojam: Videojam, trace: Path, arguments: tuple[str, ...], message: str
) -> None:
    given = [str(trace) if argument == "TRACE" else argument for argument in arguments]
    result = videojam("forecaster", "evaluate", *given)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "remedy" in result.stderr
    assert "internal error" not in result.stderr


def test_a_plot_without_matplotlib_says_what_to_install(
    videojam: Videojam, trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "matplotlib")
    result = videojam("forecaster", "evaluate", "--trace", str(trace), "--plot", "plot.png")
    assert result.exit_code == 1
    assert "pip install 'videojam[plot]'" in result.stderr


def test_forecasts_are_drawn_over_the_load(videojam: Videojam, trace: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib comes with the extra `plot`")
    result = videojam(
        "forecaster", "evaluate", "--trace", str(trace), "--fps", "20", "--plot", "plot.svg"
    )
    assert result.exit_code == 0
    drawn = Path("plot.svg").read_text()
    assert drawn.startswith("<?xml")
    assert len(drawn) > 10_000
    result = videojam("forecaster", "evaluate", "--trace", str(trace), "--plot", "nowhere/plot.svg")
    assert result.exit_code == 1
    assert "nowhere/plot.svg: --plot: cannot be written: No such file" in result.stderr


def test_training_without_torch_says_what_to_install(
    videojam: Videojam, trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "torch")
    result = videojam("forecaster", "train", "--trace", str(trace), "--out", "m.tflite")
    assert result.exit_code == 1
    assert "pip install 'videojam[train]'" in result.stderr


def test_a_model_is_trained_and_compared(videojam: Videojam, trace: Path) -> None:
    pytest.importorskip("torch", reason="torch comes with the extra `train`")
    result = videojam(
        "forecaster", "train", "--kind", "linear", "--trace", str(trace), "--out", "mine.npz",
        "--recorded", "20", "--generated", "10", "--fps", "20", "--test", "c", "--quiet",
    )  # fmt: skip
    assert result.exit_code == 0
    assert json.loads(Path("mine.json").read_text())["data"]["tested_on"] == ["c"]
    result = videojam(
        "forecaster", "evaluate", "--trace", str(trace), "--test", "c", "--fps", "20", "--json",
        "--forecaster", "ewma", "--model", "linear=mine.npz",
    )  # fmt: skip
    assert set(json.loads(result.stdout)["20"]) == {"ewma", "linear mine.npz"}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryTransport]:
    """topics.yaml, and an in-memory cluster in place of Kafka."""
    (tmp_path / "topics.yaml").write_text(TOPICS)
    transport = MemoryTransport()
    create_declared_topics(load_config(tmp_path / "topics.yaml"), transport)
    monkeypatch.setattr(command, "open_transport", lambda _: transport)
    yield transport
    transport.close()


def publish(transport: MemoryTransport, frames: int) -> None:
    producer = transport.producer()
    for sequence in range(frames):
        item = WorkItem(
            frame=FrameId(camera="gate", stream="run", sequence=sequence),
            pipeline="street",
            step="look",
            captured_at=1.7e9 + sequence / 20,
            data=b"jpeg",
        )
        value = build_result(item, 1.7e9 + 99).to_json()
        producer.send(Record(topic="test.results.street", key=item.id.encode(), value=value))
    assert producer.close() == 0


def test_what_kafka_holds_is_recorded(videojam: Videojam, cluster: MemoryTransport) -> None:
    publish(cluster, frames=45)
    result = videojam(
        "forecaster", "record", "--out", "mine.csv", "--from", "earliest", "--no-follow"
    )
    assert result.exit_code == 0, result.stderr
    assert "45 frames written to mine.csv" in result.stderr
    lines = Path("mine.csv").read_text().splitlines()
    assert lines[0] == "sequence,frame,vehicles,seconds"
    assert lines[-1] == "gate/run/street,44,0,2.2"


def test_recording_nothing_is_an_error(videojam: Videojam, cluster: MemoryTransport) -> None:
    del cluster
    result = videojam(
        "forecaster", "record", "--out", "mine.csv", "--from", "earliest", "--no-follow"
    )
    assert result.exit_code == 1
    assert "no result came" in result.stderr
    assert not Path("mine.csv").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_writes_what_was_recorded(
    videojam: Videojam,
    cluster: MemoryTransport,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    publish(cluster, frames=5)
    real = forecaster_record.LoadWatch.poll
    calls = []

    def poll(self: forecaster_record.LoadWatch, timeout: float = 0.0) -> int:
        calls.append(timeout)
        if len(calls) > 3:
            signal.raise_signal(number)
        return real(self, 0.0)

    monkeypatch.setattr(forecaster_record.LoadWatch, "poll", poll)
    result = videojam("forecaster", "record", "--out", "mine.csv", "--from", "earliest")
    assert result.exit_code == 0, result.stderr
    assert "5 frames written" in result.stderr


def test_an_undeclared_pipeline_is_refused(videojam: Videojam, cluster: MemoryTransport) -> None:
    del cluster
    result = videojam("forecaster", "record", "--out", "m.csv", "--pipeline", "road")
    assert result.exit_code == 1
    assert "no pipeline 'road'" in result.stderr


def test_numbers_are_parsed_strictly() -> None:
    assert parse_numbers("15, 20,7.5", "--fps") == (15.0, 20.0, 7.5)
    for text in ("", "15,,20", "0", "inf", "nan"):
        with pytest.raises(ConfigError):
            parse_numbers(text, "--fps")


@pytest.mark.shared_data
def test_the_forecaster_that_ships_beats_the_others_on_what_it_never_saw(
    videojam: Videojam,
) -> None:
    needs(KITTI)
    needs(ORIGINAL)
    result = videojam(
        "forecaster", "evaluate", "--trace", str(KITTI), "--original", str(ORIGINAL), "--json"
    )
    assert result.exit_code == 0
    for fps in ("15", "20"):
        scores = json.loads(result.stdout)[fps]
        ours = scores.pop("mixture")["all"]
        for name in ("last-window", "linear", "ewma", "original", "dense", "seasonal"):
            assert ours["sum_error"] < scores[name]["all"]["sum_error"], (fps, name)
