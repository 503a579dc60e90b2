"""A real single-node Apache Kafka (KRaft, controller and broker in one) as a child process."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from dataflow.broker._faults import explain, fault
from dataflow.broker.distribution import ReportProgress, obtain, silent
from dataflow.broker.java import JavaRuntime, find_java
from dataflow.broker.paths import cache_home
from dataflow.broker.prepare import (
    broker_command,
    cluster_id_of,
    ensure_archive,
    format_storage,
    write_configuration,
)
from dataflow.broker.ready import free_ports, port_is_free, wait_until_ready
from dataflow.broker.settings import BrokerSettings
from dataflow.errors import EmbeddedBrokerError
from dataflow.processes import GuardedProcess, is_process, start_time

START_TIMEOUT_S = 60.0
"""A start takes 2 to 5 s; on a machine that is busy with other work, several times that."""

STOP_TIMEOUT_S = 30.0

_LOG_TAIL_LINES = 400

_STOPPED_BY_SIGNAL = (128 + signal.SIGTERM, 128 + signal.SIGINT)
"""Exit codes of a Java process that was asked to stop, and did so cleanly."""


@dataclass(frozen=True, kw_only=True)
class BrokerState:
    """One started broker, as its state file says.

    Attributes:
        data_dir: its data folder.
        bootstrap_servers: what clients connect to.
        port: port of the clients' listener.
        version: the Kafka release.
        pid: process id of its Java process.
        started_at: when that process started, in seconds since the epoch; with the pid it names
            the process.
        java: version of the Java runtime.
        heap: largest Java heap.
    """

    data_dir: str
    bootstrap_servers: str
    port: int
    version: str
    pid: int
    started_at: float
    java: str
    heap: str

    @classmethod
    def read(cls, file: Path) -> BrokerState | None:
        """Return the state in `file`, None if there is none or it is damaged."""
        try:
            return cls(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, file: Path) -> None:
        """Write the state to `file`, completely or not at all."""
        partial = file.with_name(f"{file.name}.partial")
        partial.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        partial.replace(file)

    def alive(self) -> bool:
        """Tell whether the very process still runs."""
        return is_process(self.pid, self.started_at)


def log_tail(settings: BrokerSettings, *, offset: int = 0) -> list[str]:
    """Return the last lines of the broker's log, then of what its Java process printed.

    Args:
        settings: names the files.
        offset: byte of the log to begin at, unless the log has been rolled since.
    """
    tail: list[str] = []
    for file, begin in ((settings.log_file, offset), (settings.console_file, 0)):
        try:
            with file.open("rb") as log:
                log.seek(begin if begin <= file.stat().st_size else 0)
                lines = deque(log, maxlen=_LOG_TAIL_LINES)
        except OSError:
            continue
        tail += [line.decode("utf-8", errors="replace").rstrip("\r\n") for line in lines]
    return tail


class EmbeddedBroker:
    """A broker that this process starts, and that ends with it unless `detach` is called.

    Use it as a context manager, or call `start` and `stop`. It may be started again after `stop`
    or `kill`: on the same data folder it keeps its records and its port.

    Args:
        settings: how it runs.
        cache_dir: where Kafka's jars are kept; `dataflow.broker.paths.cache_home` if None.
        report: is told of downloads and other preparations, which take time once.
        java: returns the Java runtime to use.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        *,
        cache_dir: Path | None = None,
        report: ReportProgress = silent,
        java: Callable[[], JavaRuntime] = find_java,
    ) -> None:
        self.settings = settings
        self._cache = cache_home() if cache_dir is None else cache_dir
        self._report = report
        self._find_java = java
        self._process: GuardedProcess | None = None
        self._state: BrokerState | None = None
        self._log_start = 0

    @property
    def bootstrap_servers(self) -> str:
        """The ``host:port`` that clients connect to.

        Raises:
            EmbeddedBrokerError: it has not been started yet.
        """
        return self.state.bootstrap_servers

    @property
    def state(self) -> BrokerState:
        """What is known of the started broker; kept after it has ended.

        Raises:
            EmbeddedBrokerError: it has not been started yet.
        """
        if self._state is None:
            raise fault("the broker has not been started", "call start() first")
        return self._state

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.exit_code() is None

    def failure(self) -> EmbeddedBrokerError | None:
        """Return why it ended by itself, with the remedy; None if it runs or was told to stop."""
        code = None if self._process is None else self._process.exit_code()
        if code in (None, *_STOPPED_BY_SIGNAL):
            return None
        what = f"the broker ended by itself with exit code {code}"
        return explain(what, self._new_log_lines(), self.settings.log_file)

    def start(self, timeout: float = START_TIMEOUT_S) -> None:
        """Start it and wait until its admin API answers.

        The first start of a Kafka release downloads it; that time does not count.

        Args:
            timeout: most seconds to wait for it to answer.

        Raises:
            EmbeddedBrokerError: it cannot be started; says why, and what to do.
            MissingDependencyError: a package of the extra ``broker`` is absent.
        """
        if self.running:
            raise fault(
                f"the broker already runs at {self.bootstrap_servers}", "stop it first, or use it"
            )
        settings = self.settings
        java = self._find_java()
        distribution = obtain(settings.version, self._cache, self._report)
        with self._locked_data_dir() as lock:
            port, controller_port = self._ports()
            ensure_archive(distribution, java, report=self._report)
            try:
                write_configuration(settings, port=port, controller_port=controller_port)
                cluster_id = cluster_id_of(settings.kafka_dir)
                if cluster_id is None:
                    cluster_id = format_storage(distribution, java, settings.kafka_dir)
                self._log_start = _size(settings.log_file)
                process = GuardedProcess(
                    broker_command(java, distribution, settings),
                    console=settings.console_file,
                    inherit=[lock.fileno()],  # held until the Java process ends
                )
            except OSError as error:
                raise self._not_writable(error) from error
        try:
            self._await(process, port, cluster_id, timeout)
            self._state = self._record_state(process, port, java)
        except BaseException:
            process.kill()
            raise
        self._process = process

    def _await(self, process: GuardedProcess, port: int, cluster_id: str, timeout: float) -> None:
        """Return when the broker answers; raise EmbeddedBrokerError if it does not."""
        ready = wait_until_ready(
            self.settings.host,
            port,
            bootstrap_servers=self.settings.bootstrap_servers(port),
            cluster_id=cluster_id,
            deadline=time.monotonic() + timeout,
            alive=lambda: process.exit_code() is None,
        )
        if ready:
            return
        code = process.exit_code()
        if code is None:
            what = f"the broker did not answer at port {port} within {timeout:g} s"
        else:
            what = f"the broker died while starting (exit code {code})"
        raise explain(what, self._new_log_lines(), self.settings.log_file)

    def _record_state(self, process: GuardedProcess, port: int, java: JavaRuntime) -> BrokerState:
        settings = self.settings
        state = BrokerState(
            data_dir=str(settings.data_dir.absolute()),
            bootstrap_servers=settings.bootstrap_servers(port),
            port=port,
            version=settings.version,
            pid=process.pid,
            started_at=start_time(process.pid) or time.time(),
            java=java.version,
            heap=settings.heap,
        )
        try:
            state.write(settings.data_dir / "state.json")
        except OSError as error:
            raise self._not_writable(error) from error
        return state

    def stop(self, timeout: float = STOP_TIMEOUT_S) -> None:
        """Stop it cleanly; kill it if it has not ended after `timeout` seconds.

        Does nothing if it does not run.
        """
        process, self._process = self._process, None
        if process is not None:
            process.terminate(timeout)

    def kill(self) -> None:
        """Kill it as a crash would (SIGKILL), for tests of failures."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def detach(self) -> None:
        """Let go of the broker: it goes on by itself, even when this process ends."""
        process, self._process = self._process, None
        if process is not None:
            process.detach()

    def wait(self) -> int:
        """Wait until it ends by itself; return its exit code."""
        while self.running:
            time.sleep(0.2)
        return 0 if self._process is None else self._process.exit_code() or 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _locked_data_dir(self) -> IO[str]:
        """Return the held lock of the data folder; the folder is made if it is absent."""
        folder = self.settings.data_dir
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / "lock").open("w")
        except OSError as error:
            raise self._not_writable(error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            state = BrokerState.read(folder / "state.json")
            where = "" if state is None else f" at {state.bootstrap_servers} (pid {state.pid})"
            raise fault(
                f"a broker already runs on the data folder {folder}{where}",
                "use that one, stop it (`videojam broker stop`), or choose another folder "
                "(--data-dir)",
            ) from error
        return lock

    def _ports(self) -> tuple[int, int]:
        """Return the ports of the clients' and the controller's listener."""
        settings = self.settings
        port = settings.port
        try:
            if port == 0:
                last = BrokerState.read(settings.data_dir / "state.json")
                port = free_ports(settings.host, 1)[0] if last is None else last.port
            if not port_is_free(settings.host, port):
                free_ports(settings.host, 1)  # raises where it is the address that is wrong
                raise fault(
                    f"port {port} of {settings.host} is in use by another program",
                    "stop that program (`ss -ltnp` names it), or choose another port (--port), "
                    "0 for any free one",
                )
            controllers = free_ports("127.0.0.1", 2)
        except OSError as error:
            raise fault(
                f"cannot listen on {settings.host}: {error}", "give an address of this machine"
            ) from error
        return port, next(number for number in controllers if number != port)

    def _not_writable(self, error: OSError) -> EmbeddedBrokerError:
        reason = os.strerror(error.errno) if error.errno else str(error)
        return fault(
            f"the data folder {self.settings.data_dir} cannot be written: {reason}",
            "make it writable and leave it space, or choose another one (--data-dir)",
        )

    def _new_log_lines(self) -> list[str]:
        """Return what was logged since the last start."""
        return log_tail(self.settings, offset=self._log_start)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
