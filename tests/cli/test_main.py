"""The command itself: help, lazy commands, and how errors end."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer

from cli import main
from cli.common import error_boundary, print_error
from cli.main import MOUNTS
from dataflow.errors import BrokerError, ConfigError
from tests.cli.conftest import Videojam

PRESENT = [mount.name for mount in MOUNTS if find_spec(mount.target.partition(":")[0])]


def test_version(videojam: Videojam) -> None:
    result = videojam("--version")
    assert result.exit_code == 0
    assert result.stdout == f"videojam {metadata.version('videojam')}\n"


def test_help_lists_every_command_that_is_there(videojam: Videojam) -> None:
    result = videojam("--help")
    assert result.exit_code == 0
    assert "topics" in PRESENT
    for name in PRESENT:
        assert name in result.stdout


@pytest.mark.parametrize("name", PRESENT)
def test_every_command_has_help(videojam: Videojam, name: str) -> None:
    result = videojam(name, "--help")
    assert result.exit_code == 0, result.output
    assert f"videojam {name}" in result.stdout


PATHS = [
    *PRESENT,
    *(f"broker {name}" for name in ("start", "stop", "status", "logs", "prepare")),
    *(f"topics {name}" for name in ("plan", "apply", "delete", "list", "schema")),
    *(f"forecaster {name}" for name in ("train", "evaluate", "record")),
]


@pytest.mark.parametrize("path", PATHS)
def test_help_is_shown_as_it_was_written(videojam: Videojam, path: str) -> None:
    shown = videojam(*path.split(), "--help").stdout
    usage = shown.split("Usage:")[1].splitlines()[0]
    assert "[[" not in usage, "typer puts the brackets of what is optional"
    assert "...]..." not in usage
    assert "--install-completion" not in shown, "that is an option of videojam"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("camera", "[default: drop-oldest; block with --pace fast]"),
        ("top", "[default: 1; 10 for lines without a terminal]"),
        ("forecaster evaluate", "graph [h] -> [k]"),
        ("forecaster evaluate", "may be repeated. [default: all]"),
        ("forecaster train", "[default: 0.003; 0.001 for dense]"),
        ("forecaster train", "[default: every third]"),
    ],
)
def test_brackets_in_help_are_not_taken_for_markup(
    videojam: Videojam, monkeypatch: pytest.MonkeyPatch, path: str, words: str
) -> None:
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 400)  # so that nothing is folded
    assert words in videojam(*path.split(), "--help").stdout


def test_help_imports_no_command_and_nothing_heavy() -> None:
    """What keeps `videojam --help` fast."""
    code = (
        "import sys\n"
        "from cli.main import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "print(*sys.modules, sep='\\n', file=sys.stderr)\n"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stderr.split()
    assert "cli.main" in loaded
    heavy = {"numpy", "cv2", "pydantic", "yaml", "confluent_kafka", "faust", "cli.topics"}
    assert not heavy & set(loaded)


def test_a_mistyped_command_is_wrong_usage_with_a_suggestion(videojam: Videojam) -> None:
    result = videojam("topcs")
    assert result.exit_code == 2
    assert "topics" in result.stderr


def test_a_wrong_option_is_wrong_usage(videojam: Videojam) -> None:
    result = videojam("topics", "plan", "--no-such-option")
    assert result.exit_code == 2
    assert "--no-such-option" in result.stderr


def failing(error: BaseException) -> typer.Typer:
    app = typer.Typer()

    @app.command()
    def fail() -> None:
        raise error

    @app.command()
    def other() -> None: ...

    return app


@pytest.fixture
def fail_with(monkeypatch: pytest.MonkeyPatch, videojam: Videojam) -> Videojam:
    """Run `videojam [--debug] topics fail`, which raises the given error."""

    def run(error: BaseException, *options: str) -> object:
        command = typer.main.get_command(failing(error))
        monkeypatch.setattr(main, "load_command", lambda _mount: command)
        return videojam(*options, "topics", "fail")

    return run  # type: ignore[return-value] # the result is the runner's


def test_a_known_error_is_one_message_and_exit_code_1(fail_with: Videojam) -> None:
    result = fail_with(BrokerError("no broker [here]\n  remedy: start one"))
    assert result.exit_code == 1
    assert result.stderr == "error: no broker [here]\n  remedy: start one\n"
    assert result.stdout == ""


def test_debug_adds_the_traceback(fail_with: Videojam) -> None:
    result = fail_with(BrokerError("no broker"), "--debug")
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert result.stderr.endswith("error: no broker\n")


def test_a_config_error_names_place_key_value_and_remedy(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = ConfigError(
        "not a number", file=Path("topics.yaml"), line=7, key="a.b", value="x", remedy="write 1"
    )
    print_error(error)
    assert capsys.readouterr().err == (
        "error: topics.yaml:7: a.b: not a number (got 'x')\n  remedy: write 1\n"
    )


def test_ctrl_c_is_130(fail_with: Videojam) -> None:
    assert fail_with(KeyboardInterrupt()).exit_code == 130


def test_an_exit_code_that_a_command_chose_is_kept(fail_with: Videojam) -> None:
    assert fail_with(typer.Exit(7)).exit_code == 7


def test_a_fault_of_ours_is_short_with_the_traceback_in_a_file(
    fail_with: Videojam, tmp_path: Path
) -> None:
    result = fail_with(ZeroDivisionError("by nought"))
    assert result.exit_code == 1
    assert "internal error: ZeroDivisionError: by nought" in result.stderr
    assert "Traceback" not in result.stderr
    (file,) = tmp_path.rglob("crash-*.log")
    assert str(file) in result.stderr
    assert "ZeroDivisionError" in file.read_text()


def test_a_fault_of_ours_with_debug_prints_the_traceback(fail_with: Videojam) -> None:
    assert "Traceback" in fail_with(ZeroDivisionError(), "--debug").stderr


def test_a_reader_that_leaves_is_not_a_crash() -> None:
    with pytest.raises(BrokenPipeError), error_boundary():
        raise BrokenPipeError
