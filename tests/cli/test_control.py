"""The commands of ROOMIE's control plane, as far as they go without a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from cli.controller import declared_forecast
from cli.models import models_table, notes
from dataflow.config.roomie import RoomieConfig
from dataflow.errors import ConfigError
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
