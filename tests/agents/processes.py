"""Worker processes on a real broker."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import yaml

from dataflow.config import Config, load_config
from tests.agents.plant import DEADLINE, wait_until


def declare(
    folder: Path, servers: str, *, session_timeout: float = 6.0, **functions: dict[str, Any]
) -> tuple[Path, Config]:
    """A topics.yaml in which ``find`` stands alone and emulates a function."""
    find = {
        "plugin": "emulated",
        "parameters": {"service": {"distribution": "constant", "mean": 0.02}},
        "partitions": 4,
        "queue": {"when_full": "block"},
        **functions.get("find", {}),
    }
    file = folder / "topics.yaml"
    declaration = {
        "version": 1,
        "deployment": f"proc-{time.time_ns() % 10**10}",
        "cluster": {"bootstrap_servers": servers, "session_timeout": session_timeout},
        "functions": {"find": find},
        "pipelines": {"p": {"cameras": ["any"], "steps": [{"function": "find"}]}},
    }
    file.write_text(yaml.safe_dump(declaration), encoding="utf-8")
    return file, load_config(file)


class WorkerProcess:
    """`videojam worker find` as a process, with its log."""

    def __init__(self, file: Path, replica: str, *options: str, path: str | None = None) -> None:
        self.log = file.parent / f"{replica}.log"
        environment = dict(os.environ) if path is None else {**os.environ, "PATH": path}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "cli", "worker", "find"),
                    *("--config", str(file), "--replica", replica, *options),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def says(self, text: str) -> bool:
        return text in self.log.read_text(errors="replace")

    def wait_for(self, text: str, seconds: float = DEADLINE) -> None:
        def said() -> bool:
            assert self.process.poll() is None or self.says(text), self.log.read_text()
            return self.says(text)

        wait_until(said, f"{self.log.name} says {text!r}", seconds)

    def end(self) -> int:
        self.process.terminate()
        return self.process.wait(DEADLINE)
