"""The Java process of a broker: its command line, its life, and the guard that ends it."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from dataflow.broker.java import JavaRuntime

_AOT_CACHE_SINCE = 25
"""One-step creation of an ahead-of-time cache (JEP 514) came with Java 25."""

_GUARD = (
    'read -r _; kill -TERM "$0"; for _ in 1 2 3 4 5 6 7 8 9 10; do sleep 1; '
    'kill -0 "$0" 2>/dev/null || exit 0; done; kill -KILL "$0"'
)
"""A shell that waits for the end of its standard input, then ends the process it is given."""


def archive_name(java: JavaRuntime) -> str:
    """Return the file name of the class archive for `java`: archives do not carry over."""
    suffix = "aot" if java.major >= _AOT_CACHE_SINCE else "jsa"
    return f"classes-{java.origin}-{java.version.replace('/', '_')}.{suffix}"


def jvm_options(
    java: JavaRuntime,
    *,
    heap: str,
    archive: Path | None = None,
    record_archive: Path | None = None,
) -> list[str]:
    """Return the options of the Java virtual machine.

    Args:
        java: the runtime, whose release decides which options exist.
        heap: largest heap, as Java writes it.
        archive: class archive to load the classes from; one that does not fit is ignored by Java.
        record_archive: class archive to write at exit.
    """
    options = [
        f"-Xmx{heap}",
        # One thread collects a heap this small in milliseconds, and frames of megabytes are
        # not "humongous" to it as they are to G1.
        "-XX:+UseSerialGC",
        # The optimising compiler costs more than it earns here: 1.2 s of processor time at a
        # start, while records of 100 KB or 200 bytes take no less processor time with it.
        "-XX:TieredStopAtLevel=1",
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:-UsePerfData",
        # Each network thread keeps a direct buffer as large as the largest record it has written.
        "-Djdk.nio.maxCachedBufferSize=262144",
        "-Djava.awt.headless=true",
        # Only errors: a class archive that does not fit is not one.
        "-Xlog:disable",
        "-Xlog:all=error:stderr",
        "-Xshare:auto",
    ]
    if java.major >= 22:  # JEP 454: libraries that load native code are named, or warned about
        options.append("--enable-native-access=ALL-UNNAMED")
    if java.major >= 23:  # JEP 471: Kafka unmaps files by sun.misc.Unsafe
        options.append("--sun-misc-unsafe-memory-access=allow")
    ahead_of_time = java.major >= _AOT_CACHE_SINCE
    if record_archive is not None:
        flag = "AOTCacheOutput" if ahead_of_time else "ArchiveClassesAtExit"
        options.append(f"-XX:{flag}={record_archive}")
    elif archive is not None:
        options.append(f"-XX:{'AOTCache' if ahead_of_time else 'SharedArchiveFile'}={archive}")
    return options


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


class BrokerProcess:
    """One running Java process. Until it is detached, it ends when this process does.

    That is seen to by a guard: a shell that reads from a pipe only this process holds, and so
    notices its end however it comes. (PR_SET_PDEATHSIG would end the broker with the *thread* that
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
