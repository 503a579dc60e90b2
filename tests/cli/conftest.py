"""The command under test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app

Videojam = Callable[..., Result]
"""Runs `videojam` with these arguments; ``input`` is what stands on stdin."""


@pytest.fixture
def videojam(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Videojam:
    """The command, in an empty folder, with no settings in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("VIDEOJAM_CONFIG", "VIDEOJAM_BOOTSTRAP_SERVERS"):
        monkeypatch.delenv(name, raising=False)
    runner = CliRunner()

    def run(*arguments: str, stdin: str | None = None) -> Result:
        return runner.invoke(app, list(arguments), input=stdin, prog_name="videojam")

    return run
