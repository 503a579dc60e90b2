"""Servers on this machine: started and guarded, told apart by more than their pid, and ended."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

_LOOK_SECONDS = 0.05
"""Pause between two looks whether a process has ended."""

_GUARD = (
    'read -r _; kill -TERM "$0"; for _ in 1 2 3 4 5 6 7 8 9 10; do sleep 1; '
    'kill -0 "$0" 2>/dev/null || exit 0; done; kill -KILL "$0"'
)
"""A shell that waits for the end of its standard input, then ends the process it is given."""

SAME_PROCESS_S = 2.0
"""Start times further apart than this are of different processes: the clock may be corrected."""


def is_process(pid: int, started_at: float) -> bool:
    """Tell whether the process that `pid` and its start time name is alive."""
    now = start_time(pid)
    return now is not None and abs(now - started_at) < SAME_PROCESS_S


def start_time(pid: int) -> float | None:
    """Return when process `pid` started, in seconds since the epoch; None if it is not alive.

    A pid together with this time names a process; a pid alone may have been given to another.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return float(process.create_time())
    except psutil.Error:
        return None


def end_process(pid: int, started_at: float, *, patience: float, last_patience: float) -> None:
    """End a process that somebody has started: SIGTERM, and SIGKILL if it does not comply.

    Does nothing if it has ended already, and its pid is perhaps another process' by now.

    Args:
        pid: its process id.
        started_at: when it started, seconds since the epoch.
        patience: seconds to wait before SIGKILL.
        last_patience: seconds to wait after it.

    Raises:
        PermissionError: it belongs to another user.
    """
    try:
        for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, last_patience)):
            if not is_process(pid, started_at):
                return
            psutil.Process(pid).send_signal(number)
            if _ended(pid, started_at, seconds):
                return
    except psutil.NoSuchProcess:
        pass  # it ended between two looks
    except psutil.AccessDenied as error:
        raise PermissionError(f"process {pid} belongs to another user") from error


def _ended(pid: int, started_at: float, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while is_process(pid, started_at):
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_SECONDS)
    return True


class GuardedProcess:
    """A server that we have started. Until it is detached, it ends when this process does.

    That is seen to by a guard: a shell that reads from a pipe only this process holds, and so
    notices its end however it comes. (PR_SET_PDEATHSIG would end the server with the *thread* that
    has started it.)

    Args:
        command: program and arguments.
        console: file its standard output and error are written to; emptied first.
        inherit: file descriptors it inherits, such as a held lock.
        environ: its environment variables; this process's own if None.

    Raises:
        OSError: the program cannot be run, or `console` not be written.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        console: Path,
        inherit: Sequence[int] = (),
        environ: dict[str, str] | None = None,
    ) -> None:
        with console.open("wb") as output:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=console.parent,
                pass_fds=tuple(inherit),
                # Its own session: Ctrl-C in the terminal is ours to handle, in order.
                start_new_session=True,
                env=environ,
            )
        self._guard: subprocess.Popen[bytes] | None = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, str(self._process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """Return its exit code, negative for a signal, or None while it runs."""
        code = self._process.poll()
        if code is not None:
            self._dismiss_guard()
        return code

    def terminate(self, timeout: float) -> bool:
        """Ask it to stop, wait up to `timeout` seconds, then kill it; True if it complied."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        self._dismiss_guard()
        return True

    def kill(self) -> None:
        """Kill it as a crash would, and wait until it is gone."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._dismiss_guard()

    def detach(self) -> None:
        """Leave it running on its own: nobody guards it or waits for it any more."""
        self._dismiss_guard()
        # Popen would warn that a child it still knows of is running.
        self._process.returncode = 0

    def _dismiss_guard(self) -> None:
        guard, self._guard = self._guard, None
        if guard is None:
            return
        guard.kill()  # before its pipe closes: it would take that for our end
        guard.wait()
        if guard.stdin is not None:
            with suppress(OSError):
                guard.stdin.close()
