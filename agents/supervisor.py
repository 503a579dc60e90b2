"""Keeping worker processes alive on one machine: start, watch, restart with back-off, stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

from dataflow.backoff import doubled
from dataflow.logs import LogFormat

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_STABLE_SECONDS = 60.0
"""A worker that has lived this long is forgiven its earlier ends."""
_GUARD = (
    "import ctypes, os, signal, sys; "
    "ctypes.CDLL(None).prctl(1, signal.SIGTERM); "
    "os.getppid() == int(sys.argv[1]) or sys.exit(1); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
)
"""Asks the kernel to end the worker with its supervisor, then becomes the worker."""


def restart_pause(failures: int) -> float:
    """Seconds before the next start after ``failures`` ends in a row: 0.5, 1, 2, ... 30."""
    return doubled(_FIRST_PAUSE, _LONGEST_PAUSE, failures - 1)


@dataclass(slots=True)
class Worker:
    """One supervised replica.

    Attributes:
        function: its function.
        replica: its name.
        log: file that its stderr goes to.
        metrics_port: where it serves metrics; None for nowhere.
        restarts: how often it was started again.
        failures: ends in a row, for the back-off.
        exit_code: of its last end; negative for a signal.
        resume_at: when it is started again, by the monotonic clock; None while it runs.
    """

    function: str
    replica: str
    log: Path
    metrics_port: int | None = None
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restarts: int = 0
    failures: int = 0
    exit_code: int | None = None
    resume_at: float | None = None
    log_handle: IO[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return None if self.process is None else self.process.pid

    def last_words(self, lines: int = 1) -> list[str]:
        """The end of its log."""
        try:
            with self.log.open(encoding="utf-8", errors="replace") as file:
                return [line.rstrip() for line in deque(file, lines)]
        except OSError:
            return []


class Supervisor:
    """Runs worker processes of this machine.

    Use as a context manager: leaving it stops all of them. They also end when this process is
    killed.

    Args:
        config_file: topics.yaml for the workers.
        bootstrap_servers: cluster for the workers.
        log_dir: folder of their logs, created if need be.
        log_level: of the workers.
        log_format: of the workers.
        metrics_port_base: the first worker serves metrics on this port, the others on those that
            follow; None for no metrics.
        environment: of the workers; this process's own when None.
        on_end: told the function of each worker that has ended by itself.
        monotonic: seconds of a clock that never jumps.
    """

    def __init__(
        self,
        config_file: Path,
        bootstrap_servers: str,
        log_dir: Path,
        *,
        log_level: str = "INFO",
        log_format: LogFormat = "text",
        metrics_port_base: int | None = None,
        environment: Mapping[str, str] | None = None,
        on_end: Callable[[str], object] = lambda _: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config_file = config_file
        self._bootstrap_servers = bootstrap_servers
        self._log_dir = log_dir
        self._log_level = log_level
        self._log_format = log_format
        self._metrics_port_base = metrics_port_base
        self._environment = dict(os.environ if environment is None else environment)
        self._on_end = on_end
        self._monotonic = monotonic
        self.workers: list[Worker] = []

    def start(self, replicas: Mapping[str, int]) -> None:
        """Start ``replicas[function]`` workers of each function."""
        self._log_dir.mkdir(parents=True, exist_ok=True)
        for function, count in replicas.items():
            for index in range(count):
                replica = f"{function}-{index}"
                base = self._metrics_port_base
                worker = Worker(
                    function,
                    replica,
                    self._log_dir / f"{replica}.log",
                    metrics_port=None if base is None else base + len(self.workers),
                )
                worker.log.write_bytes(b"")
                self.workers.append(worker)
                self._launch(worker)

    def watch(self) -> Iterator[Worker]:
        """Notice workers that have ended (yielding each), and restart those whose pause is over."""
        now = self._monotonic()
        for worker in self.workers:
            if worker.process is not None:
                code = worker.process.poll()
                if code is None:
                    continue
                self._note_end(worker, code, now)
                self._on_end(worker.function)
                yield worker
            elif worker.resume_at is not None and now >= worker.resume_at:
                worker.restarts += 1
                self._launch(worker)

    def stop(self, timeout: float = 30.0) -> None:
        """Let all finish what they have in hand; kill those that have not after ``timeout`` s."""
        alive = [worker for worker in self.workers if worker.process is not None]
        for worker in alive:
            if worker.process is not None and worker.process.poll() is None:
                worker.process.send_signal(signal.SIGTERM)
        deadline = self._monotonic() + timeout
        for worker in alive:
            if worker.process is None:
                continue
            try:
                worker.process.wait(max(0.1, deadline - self._monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            worker.exit_code = worker.process.returncode
            worker.process = None
            worker.resume_at = None
            self._close_log(worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _launch(self, worker: Worker) -> None:
        worker.log_handle = worker.log.open("ab")
        worker.process = subprocess.Popen(
            self._command(worker),
            stdin=subprocess.DEVNULL,
            stdout=worker.log_handle,
            stderr=subprocess.STDOUT,
            env=self._environment,
            # Ctrl-C reaches the whole terminal group; workers are stopped by us, in order.
            start_new_session=True,
        )
        worker.started_at = self._monotonic()
        worker.resume_at = None

    def _command(self, worker: Worker) -> Sequence[str]:
        arguments = [
            "-m",
            "cli",
            "worker",
            worker.function,
            "--replica",
            worker.replica,
            "--config",
            str(self._config_file),
            "--bootstrap-servers",
            self._bootstrap_servers,
            "--log-level",
            self._log_level,
            "--log-format",
            self._log_format,
        ]
        if worker.metrics_port is not None:
            arguments += ["--metrics-port", str(worker.metrics_port)]
        return [sys.executable, "-c", _GUARD, str(os.getpid()), *arguments]

    def _note_end(self, worker: Worker, code: int, now: float) -> None:
        lived = now - worker.started_at
        worker.failures = 1 if lived > _STABLE_SECONDS else worker.failures + 1
        worker.exit_code = code
        worker.process = None
        worker.resume_at = now + restart_pause(worker.failures)
        self._close_log(worker)

    def _close_log(self, worker: Worker) -> None:
        if worker.log_handle is not None:
            worker.log_handle.close()
            worker.log_handle = None
