"""What long-running commands share: how they say why they end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from cli.service import logged_errors
from dataflow.errors import BrokerError
from tests.topics.declarations import declaration_text

SERVICES = [
    (["worker", "nobody"], "no function 'nobody' is declared"),
    (["controller"], "roomie"),
    (["node", "--models", "absent"], "--models"),
]
"""Commands that cannot start, cluster or not, and what they say."""


def videojam(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "topics.yaml").write_text(declaration_text())
    return subprocess.run(
        [sys.executable, "-m", "cli", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        timeout=100,
    )


@pytest.mark.parametrize(("command", "said"), SERVICES, ids=lambda value: str(value[0]))
def test_a_service_whose_log_is_json_says_there_why_it_ends(
    tmp_path: Path, command: list[str], said: str
) -> None:
    done = videojam(tmp_path, *command, "--log-format", "json")
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert lines[-1]["level"] == "CRITICAL"
    assert said in lines[-1]["message"]
    assert "remedy" in lines[-1]["message"]


@pytest.mark.parametrize(("command", "said"), SERVICES, ids=lambda value: str(value[0]))
def test_for_people_it_says_so_as_every_command(
    tmp_path: Path, command: list[str], said: str
) -> None:
    done = videojam(tmp_path, *command)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert said in done.stderr


def command(error: Exception) -> Any:
    @logged_errors("videojam.test")
    def run(**_: object) -> None:
        raise error

    return run


def test_a_fault_of_ours_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(typer.Exit) as ended:
        command(ZeroDivisionError("by zero"))(log_format="json")
    assert ended.value.exit_code == 1
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("videojam.test", "CRITICAL")
    assert "internal error: ZeroDivisionError" in record.getMessage()
    assert record.exc_info is not None


def test_a_chosen_exit_code_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(typer.Exit) as ended:
        command(typer.Exit(75))(log_format="json")
    assert ended.value.exit_code == 75
    assert caplog.records == []


def test_text_leaves_errors_to_the_command_line(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(BrokerError):
        command(BrokerError("away"))()
    assert caplog.records == []
