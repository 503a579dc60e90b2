"""Commands, those of ROOMIE's control plane above all, as far as they go without a cluster."""

from __future__ import annotations

import signal
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from cli.controller import declared_forecast
from cli.models import models_table, notes
from cli.node import _gpus, used_bytes
from cli.results import Form, _draw
from dataflow.config.roomie import RoomieConfig
from dataflow.errors import ConfigError
from dataflow.transport import Received
from roomie.control.hardware import LocalGpu
from roomie.devices import load_devices
from tests.cli.conftest import Videojam
from tests.roomie.control.world import World
from tests.topics.declarations import declaration_text

COMMANDS = ("controller", "deploy", "scale", "undeploy", "models")


def declared(forecaster: str | None) -> RoomieConfig:
    return RoomieConfig.model_validate({"autoscaling": {"forecaster": forecaster}})


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(videojam: Videojam, command: str) -> None:
    shown = videojam(command, "--help")
    assert shown.exit_code == 0
    assert f"videojam {command}" in shown.output


def test_help_of_the_log_has_examples(videojam: Videojam) -> None:
    assert "videojam roomie log --follow" in videojam("roomie", "log", "--help").output


def test_a_name_that_is_none_is_said_with_the_characters_it_may_have(videojam: Videojam) -> None:
    for wrong in ("two words", "-c", "x" * 129, "é"):
        shown = videojam("controller", f"--name={wrong}")
        assert shown.exit_code == 1
        assert "--name: not a name: it may have letters, digits" in shown.output
        assert "internal error" not in shown.output


def test_a_declared_forecaster_tells_what_comes_next() -> None:
    expected = declared_forecast(declared("last-window"))
    assert expected is not None
    assert expected("m", [0.0] * 50) is None  # nothing has come yet
    assert expected("m", [1.0] * 40 + [5.0] * 10) == pytest.approx(5.0)
    assert expected("m", [5.0] * 10) == pytest.approx(5.0)  # what it wants to see is longer
    assert declared_forecast(declared(None)) is None
    with pytest.raises(ConfigError, match="no forecaster is called"):
        declared_forecast(declared("crystal-ball"))


def test_what_the_controller_is_to_use_is_told_with_its_line(
    videojam: Videojam, tmp_path: Path
) -> None:
    text = declaration_text()
    (tmp_path / "topics.yaml").write_text(text + "roomie:\n  placer: rommie\n")
    shown = videojam("controller", "--wait-for-broker", "0")
    assert shown.exit_code == 1
    line = len(text.splitlines()) + 2
    assert f"topics.yaml:{line}: roomie.placer: no placer is called 'rommie'" in shown.stderr


def test_the_table_of_models_tells_where_and_how_fast() -> None:
    world = World(2)
    world.run(1)
    world.deploy("small", instances=2)
    world.deploy("mine", memory_bytes=1 << 30)
    world.settle()
    world.update("small", instances=2, version=2)
    world.deploy("large", instances=3)
    world.run(2)
    console = Console(width=200)
    with console.capture() as capture:
        console.print(models_table(world.table.values()))
    shown = capture.get()
    assert shown.count("small.v1-") == shown.count("small.v2-") == 2
    assert shown.count("reserved, new") >= 2
    assert "w0/0" in shown
    (mine,) = [line for line in shown.splitlines() if "mine.v1" in line]
    assert mine.split()[-3:-1] == ["-", "-"]  # neither predicted nor measured
    assert any("version 2 is coming in beside version 1" in n for n in notes(world.table["small"]))
    assert any("of 3 serve: " in note for note in notes(world.table["large"]))
    world.order("undeploy", "small")
    assert notes(world.table["small"]) == ["small: on its way out"]


class Endless:
    """A reader of a topic that has not come to its end when somebody loses patience."""

    def caught_up(self) -> bool:
        return False

    def poll(self, *_: object) -> list[Received]:
        signal.raise_signal(signal.SIGTERM)
        return []

    def close(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize("options", [(), ("--follow",)])
def test_a_log_that_is_stopped_before_all_was_read_is_interrupted(
    videojam: Videojam,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
) -> None:
    (tmp_path / "topics.yaml").write_text(declaration_text() + "roomie: {}\n")
    transport = SimpleNamespace(check=lambda: None, reader=lambda _: Endless())
    monkeypatch.setattr("cli.models.open_transport", lambda _: nullcontext(transport))
    shown = videojam("roomie", "log", *options)
    assert (shown.exit_code, shown.stdout) == (130, "")


class Empty(Endless):
    """A reader of a topic that holds nothing."""

    def caught_up(self) -> bool:
        return True

    def poll(self, *_: object) -> list[Received]:
        return []


@pytest.mark.parametrize(
    ("words", "said"),
    [((), "nothing has been decided\n"), (("m",), "nothing has been decided on m\n")],
)
def test_a_log_without_a_line_says_so(
    videojam: Videojam,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    said: str,
) -> None:
    (tmp_path / "topics.yaml").write_text(declaration_text() + "roomie: {}\n")
    transport = SimpleNamespace(check=lambda: None, reader=lambda _: Empty())
    monkeypatch.setattr("cli.models.open_transport", lambda _: nullcontext(transport))
    shown = videojam("roomie", "log", *words)
    assert (shown.exit_code, shown.stdout, shown.stderr) == (0, "", said)


@pytest.mark.parametrize(
    "words",
    [
        ("up", "--duration", "-5"),
        ("results", "--limit", "-1"),
        ("results", "--fps", "0"),
        ("account", "--open", "-1"),
        ("worker", "ocr", "--wait-for-broker", "-1"),
        ("demo", "--fps", "-1"),
    ],
)
def test_numbers_that_mean_nothing_are_wrong_usage(
    videojam: Videojam, words: tuple[str, ...]
) -> None:
    shown = videojam(*words)
    assert shown.exit_code == 2
    assert words[-2] in shown.stderr


def test_memory_is_told_of_the_gpu_that_has_it_whatever_the_order() -> None:
    def gpu(uuid: str | None, used: int | None) -> LocalGpu:
        return LocalGpu(device="T4", uuid=uuid, used_bytes=used)

    offered = [gpu("GPU-a", 1), gpu("GPU-b", 2), gpu(None, None)]
    assert used_bytes("w", offered, [gpu("GPU-b", 7), gpu("GPU-a", 5)]) == {"w/1": 7, "w/0": 5}
    # One has fallen off the bus, another one is new.
    assert used_bytes("w", offered, [gpu("GPU-b", 7), gpu("GPU-c", 9)]) == {"w/1": 7}
    assert used_bytes("w", offered, [gpu("GPU-a", None), gpu(None, 3)]) == {}


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("worker", "motin"), "topics.yaml: functions: no function 'motin' is declared"),
        (("worker", "motin"), "remedy: did you mean 'motion'? declared: motion, ocr"),
        (("up", "ocr=2", "otion"), "did you mean 'motion'?"),
        (("top", "orc"), "did you mean 'ocr'?"),
        (("results", "fixd"), "no pipeline 'fixd' is declared\n  remedy: did you mean 'fixed'?"),
        (("up", "ocr=²"), "must be a whole number (got 'ocr=²')\n  remedy: for example ocr=2"),
        (("up", "ocr=-1"), "must be a whole number"),
    ],
)  # fmt: skip
def test_functions_and_pipelines_that_are_not_declared(
    videojam: Videojam, tmp_path: Path, command: tuple[str, ...], words: str
) -> None:
    (tmp_path / "topics.yaml").write_text(declaration_text())
    shown = videojam(*command)
    assert shown.exit_code == 1
    assert words in shown.stderr


def test_a_gpu_that_is_gone_keeps_nobody_from_telling_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = [LocalGpu(device="T4", uuid=f"GPU-{name}", used_bytes=7) for name in "ab"]
    driver = SimpleNamespace(gpus=lambda _: tuple(there), fault=None)
    monkeypatch.setattr("roomie.control.hardware.Driver", lambda: driver)
    offered, tell = _gpus([], ["GPU-a", "GPU-b"], load_devices())
    assert used_bytes("w", offered, tell()) == {"w/0": 7, "w/1": 7}
    del there[0]
    assert used_bytes("w", offered, tell()) == {"w/1": 7}


def test_logs_that_cannot_be_written_are_told_before_anything_is_started(
    videojam: Videojam, tmp_path: Path
) -> None:
    (tmp_path / "topics.yaml").write_text(declaration_text())
    shown = videojam("up", "--log-dir", "topics.yaml/logs")
    assert shown.exit_code == 1
    assert "topics.yaml/logs: --log-dir: cannot be written: Not a directory" in shown.stderr


@pytest.mark.parametrize("form", [Form.PICTURES, Form.VIDEO])
def test_pictures_that_cannot_be_written_are_told(tmp_path: Path, form: Form) -> None:
    file = tmp_path / "out"
    file.touch()
    with pytest.raises(ConfigError, match="cannot be written: File exists") as caught:
        _draw(iter(()), form, file, None, 10.0)
    assert (caught.value.file, caught.value.key) == (file, "--out")
