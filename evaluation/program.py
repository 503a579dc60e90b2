"""Our commands as processes: started as an operator does, killed as a crash would."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from dataflow.processes import GuardedProcess
from evaluation.errors import MeasurementError

_END_SECONDS = 30.0
_LOG_CHARACTERS = 1000


class Program:
    """One of our commands as a process; it ends when this process does, however that ends.

    Args:
        name: by which its logs are called.
        words: of the command.
        folder: for its logs, one a start; its working directory.
        environment: of the process; this process's own when None.
    """

    def __init__(
        self,
        name: str,
        words: Sequence[str],
        folder: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._words = list(words)
        self._folder = folder.absolute()
        self._environment = None if environment is None else dict(environment)
        self._starts = 0
        self._process: GuardedProcess | None = None

    @property
    def pid(self) -> int | None:
        """Of the process, None if none runs."""
        process = self._process
        return None if process is None or process.exit_code() is not None else process.pid

    @property
    def log(self) -> Path:
        """Of the newest start."""
        return self._folder / f"{self.name}.{self._starts}.log"

    def start(self, *more: str) -> None:
        """Start it, anew if it ran before, perhaps with more words."""
        self._starts += 1
        self._process = GuardedProcess(
            [sys.executable, "-m", "cli", *self._words, *more],
            console=self.log,
            environ=self._environment,
        )

    def send_signal(self, number: int) -> None:
        """Any signal; nothing happens where none runs."""
        pid = self.pid
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def leave(self, seconds: float) -> None:
        """SIGTERM, and wait until it has ended.

        Raises:
            MeasurementError: it has not in time; it is killed.
        """
        process, self._process = self._process, None
        if process is not None and not process.terminate(seconds):
            raise MeasurementError(f"{self.name} has not left within {seconds:g} s of SIGTERM")

    def end(self) -> None:
        """SIGTERM, and SIGKILL if that does not end it; also one that is stopped."""
        self.send_signal(signal.SIGCONT)
        process, self._process = self._process, None
        if process is not None:
            process.terminate(_END_SECONDS)

    def fault(self) -> str | None:
        """Why it ended without having been told to, None if it has not."""
        code = None if self._process is None else self._process.exit_code()
        if code is None:
            return None
        told = self.log.read_text(encoding="utf-8", errors="replace").strip()
        return f"{self.name} ended by itself with exit code {code}: {told[-_LOG_CHARACTERS:]}"


def end_all(programs: Iterable[Program]) -> None:
    """End some programs, all at the same time."""
    ending = list(programs)
    if ending:
        with ThreadPoolExecutor(len(ending)) as together:
            list(together.map(Program.end, ending))


def faults_of(programs: Iterable[Program]) -> list[str]:
    """Why those ended that have not been told to, a sentence each."""
    return [fault for program in programs if (fault := program.fault()) is not None]
