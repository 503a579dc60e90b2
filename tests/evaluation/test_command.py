"""What all commands of the evaluation share: help, options, errors, and how signals end them."""

from __future__ import annotations

import builtins
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

from dataflow.errors import BrokerError, ConfigError
from evaluation.command import (
    drawable,
    help_text,
    known_names,
    plot_option,
    positive_numbers,
    whole_numbers,
    writable,
)
from forecasting.errors import ForecasterSettingsError, MissingExtraError
from tests.evaluation.commands import end_of


def test_examples_and_lists_keep_their_lines_in_the_help() -> None:
    text = help_text(
        """What it does.

            python -m it --fast
            python -m it --slow

        - one thing,
        - another.

        The rest is
        running text.
        """
    )
    assert text == (
        "What it does.\n\n\b\n    python -m it --fast\n    python -m it --slow\n\n"
        "\b\n- one thing,\n- another.\n\nThe rest is\nrunning text."
    )


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (ConfigError("it is wrong", file=Path("a.csv"), line=3, remedy="mend it"), 2, "a.csv:3"),
        (ForecasterSettingsError("it is wrong", remedy="mend it"), 2, "mend it"),
        (MissingExtraError("it is absent", remedy="install it"), 1, "install it"),
        (BrokerError("nobody is there"), 1, "nobody is there"),
        (PermissionError(13, "Permission denied", "out.json"), 1, "out.json"),
    ],
)
def test_errors_that_are_meant_for_people_have_no_traceback(
    error: Exception, code: int, says: str
) -> None:
    def command() -> None:
        raise error

    ended = end_of(command)
    assert ended.code == code
    assert ended.err.startswith("error: ")
    assert says in ended.err
    assert "Traceback" not in ended.err


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    def command() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        end_of(command)


def test_a_command_that_chooses_its_exit_code_has_it() -> None:
    def command() -> None:
        raise typer.Exit(1)

    assert end_of(command).code == 1


def test_files_are_checked_before_the_work(tmp_path: Path) -> None:
    new = tmp_path / "a" / "b" / "out.json"
    assert writable(new) == new
    assert new.parent.is_dir()
    with pytest.raises(typer.BadParameter, match="folder"):
        writable(tmp_path)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(typer.BadParameter, match="cannot be made"):
        writable(file / "out.json")
    with pytest.raises(typer.BadParameter, match="a plot ends in"):
        drawable(tmp_path / "plot.txt")


@contextmanager
def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    real = builtins.__import__

    def absent(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError("not here")
        return real(name, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "__import__", absent)
        yield


def test_a_plot_without_matplotlib_says_what_to_install_before_any_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    worked = []

    def command(plot: Annotated[Path | None, plot_option("Draw.")] = None) -> None:
        worked.append(plot)

    with without_matplotlib(monkeypatch):
        ended = end_of(command, "--plot", str(tmp_path / "p.png"))
    assert (ended.code, worked) == (1, [])
    assert "remedy: pip install 'videojam[plot]'" in ended.err
    assert end_of(command, "--plot", str(tmp_path / "p.png")).code == 0
    assert worked


def test_lists_are_read_and_what_is_none_is_named() -> None:
    assert whole_numbers("4, 2,4", "--cameras") == [4, 2]
    assert positive_numbers("0.5,2", "--loads") == [0.5, 2]
    assert known_names(["wrr", " jsq", "wrr"], ("jsq", "wrr"), "--balancers") == ["wrr", "jsq"]
    for text in ("", "0", "3,-1", "2.5", "x"):
        with pytest.raises(typer.BadParameter, match="whole numbers"):
            whole_numbers(text, "--cameras")
    for text in ("", "0", "1,-1", "nan", "inf", "100", "x"):
        with pytest.raises(typer.BadParameter, match="numbers above 0"):
            positive_numbers(text, "--loads", below=100)
    with pytest.raises(typer.BadParameter, match="'nobody' is none of jsq, wrr"):
        known_names(["nobody"], ("jsq", "wrr"), "--balancers")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_what_was_started_however_often_they_come(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import contextlib, os, signal, time
            from evaluation.command import run

            # Whoever runs the tests in the background has it ignored.
            signal.signal(signal.SIGINT, signal.default_int_handler)

            @contextlib.contextmanager
            def started():
                try:
                    yield
                finally:
                    os.kill(os.getpid(), signal.SIGINT)
                    os.kill(os.getpid(), signal.SIGTERM)
                    print("ended", flush=True)

            def main() -> None:
                with started():
                    print("started", flush=True)
                    time.sleep(60)

            run(main)
            """
        )
    )
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out) == (code, "ended\n"), err
    assert "Traceback" not in err
