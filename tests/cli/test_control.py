"""The commands of ROOMIE's control plane, as far as they go without a cluster."""

from __future__ import annotations

import pytest
from rich.console import Console

from cli.controller import _forecast
from cli.models import models_table, notes
from dataflow.config import Config
from dataflow.errors import ConfigError
from tests.cli.conftest import Videojam
from tests.roomie.control.world import World

COMMANDS = ("controller", "deploy", "scale", "undeploy", "models")


def declared(forecaster: str | None) -> Config:
    return Config.model_validate(
        {
            "version": 1,
            "functions": {"f": {"plugin": "emulated"}},
            "pipelines": {"p": {"cameras": ["any"], "steps": [{"function": "f"}]}},
            "roomie": {"autoscaling": {"forecaster": forecaster}},
        }
    )


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
    expected = _forecast(declared("last-window"))
    assert expected is not None
    assert expected("m", [0.0] * 50) is None  # nothing has come yet
    assert expected("m", [1.0] * 40 + [5.0] * 10) == pytest.approx(5.0)
    assert _forecast(declared(None)) is None
    with pytest.raises(ConfigError, match="no forecaster is called"):
        _forecast(declared("crystal-ball"))


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
