"""The broker of `videojam broker`: one for each user, found again by its state file.

The state file lies in the user's data folder (`dataflow.broker.paths.data_home`). A pid alone is
never trusted: it counts only together with the start time of its process.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dataflow.broker._faults import explain, fault, since_last_start
from dataflow.broker.distribution import ReportProgress, silent
from dataflow.broker.embedded import (
    START_TIMEOUT_S,
    STOP_TIMEOUT_S,
    BrokerState,
    EmbeddedBroker,
    log_tail,
)
from dataflow.broker.java import JavaRuntime, find_java
from dataflow.broker.ready import reported_cluster
from dataflow.broker.settings import BrokerSettings
from dataflow.processes import end_process

_ANSWER_TIMEOUT_S = 5.0


def state_file(home: Path) -> Path:
    """Return the path of the state file."""
    return home / "broker.json"


def default_data_dir(home: Path) -> Path:
    """Return the data folder that a broker has unless another one is asked for."""
    return home / "broker"


@dataclass(frozen=True, kw_only=True)
class BrokerStatus:
    """What there is to know of the user's broker.

    Attributes:
        running: whether its process runs.
        state: the broker that was started last, None if none is known.
        data_bytes: disk space that its data folder takes.
        uptime_s: seconds since its process started; None if it does not run.
        topics: number of topics without Kafka's internal ones; None if it does not answer.
        problem: why it ended by itself; None if it runs, or was stopped.
    """

    running: bool
    state: BrokerState | None = None
    data_bytes: int = 0
    uptime_s: float | None = None
    topics: int | None = None
    problem: str | None = None


def start(
    settings: BrokerSettings,
    home: Path,
    *,
    timeout: float = START_TIMEOUT_S,
    cache_dir: Path | None = None,
    report: ReportProgress = silent,
    java: Callable[[], JavaRuntime] = find_java,
) -> EmbeddedBroker:
    """Start the user's broker and write its state file.

    The broker still ends with this process; call `EmbeddedBroker.detach` to let it go.

    Args:
        settings: how it runs.
        home: the user's data folder.
        timeout: most seconds to wait for it to answer.
        cache_dir: where Kafka's jars are kept; the user's cache folder if None.
        report: is told of downloads and other preparations.
        java: returns the Java runtime to use.

    Raises:
        EmbeddedBrokerError: it runs already, is being started, or cannot be started.
        MissingDependencyError: a package of the extra ``broker`` is absent.
    """
    with _start_lock(home):
        known = BrokerState.read(state_file(home))
        if known is not None and known.alive():
            raise fault(
                f"the broker already runs at {known.bootstrap_servers} (pid {known.pid}, "
                f"data in {known.data_dir})",
                "use that one, or `videojam broker stop` first",
            )
        broker = EmbeddedBroker(settings, cache_dir=cache_dir, report=report, java=java)
        broker.start(timeout)
        try:
            broker.state.write(state_file(home))
        except BaseException:
            broker.kill()
            raise
    return broker


@contextmanager
def _start_lock(home: Path) -> Iterator[None]:
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = (home / "broker.lock").open("w")
    except OSError as error:
        raise fault(
            f"the folder {home} cannot be written: {error.strerror}",
            "make it writable, or set VIDEOJAM_HOME to another folder",
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise fault(
                "the broker is being started by another command",
                "wait for that one, then see `videojam broker status`",
            ) from error
        yield


def stop(home: Path, *, timeout: float = STOP_TIMEOUT_S) -> BrokerState | None:
    """Stop the user's broker: SIGTERM, and SIGKILL if it has not ended after `timeout` seconds.

    Returns:
        What it was, or None if none was running.

    Raises:
        EmbeddedBrokerError: it belongs to another user.
    """
    state = BrokerState.read(state_file(home))
    if state is None or not state.alive():
        state_file(home).unlink(missing_ok=True)
        return None
    try:
        end_process(state.pid, state.started_at, patience=timeout, last_patience=STOP_TIMEOUT_S)
    except PermissionError as error:
        raise fault(
            f"the broker (pid {state.pid}) belongs to another user", "stop it as that user"
        ) from error
    state_file(home).unlink(missing_ok=True)
    return state


def forget(home: Path, state: BrokerState) -> None:
    """Remove the state file after a clean stop, unless it speaks of another broker by now."""
    if BrokerState.read(state_file(home)) == state:
        state_file(home).unlink(missing_ok=True)


def status(home: Path, *, now: float) -> BrokerStatus:
    """Return what there is to know of the user's broker.

    Args:
        home: the user's data folder.
        now: the time in seconds since the epoch.
    """
    state = BrokerState.read(state_file(home))
    if state is None:
        return BrokerStatus(running=False)
    data_dir = Path(state.data_dir)
    if not state.alive():
        settings = BrokerSettings(data_dir=data_dir)
        problem = explain(
            "it ended by itself", since_last_start(log_tail(settings)), settings.log_file
        )
        return BrokerStatus(
            running=False, state=state, data_bytes=disk_usage(data_dir), problem=str(problem)
        )
    answer = reported_cluster(state.bootstrap_servers, timeout=_ANSWER_TIMEOUT_S)
    return BrokerStatus(
        running=True,
        state=state,
        data_bytes=disk_usage(data_dir),
        uptime_s=max(0.0, now - state.started_at),
        topics=None if answer is None else answer[1],
    )


def disk_usage(folder: Path) -> int:
    """Return the bytes of disk that the files under `folder` take.

    Kafka's index files are sparse: their length would overstate them.
    """
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # deleted meanwhile
                total += Path(parent, name).lstat().st_blocks * 512
    return total
