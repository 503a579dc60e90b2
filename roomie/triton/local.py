"""Triton servers of this machine: started, found again by their state files, and stopped.

A server is known by its name; its state file is ``triton/NAME.json`` in the user's data folder
(`dataflow.broker.paths.data_home`), its log and its model repository lie beside it. A pid alone is
never trusted: it counts only together with the start time of its process.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from dataflow.broker.distribution import ReportProgress, silent
from dataflow.broker.ready import free_ports, listens, port_is_free
from dataflow.processes import GuardedProcess, end_process, is_process, start_time
from roomie.triton.install import TritonInstallation, ensure_installed, fault
from roomie.triton.logs import explain
from roomie.triton.model_config import EXECUTIONS

DEFAULT_NAME = "triton"
START_SECONDS = 60.0
"""A start takes half a second; on a busy machine several times that."""
STOP_SECONDS = 20.0
_EXIT_SECONDS = 5
"""How long the server itself waits for inferences in flight when it is told to end."""
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps it; names in it are unique
_PAUSE_SECONDS = 0.05
_CONNECT_SECONDS = 1.0

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")


@dataclass(frozen=True, kw_only=True)
class TritonSettings:
    """How a server runs.

    Attributes:
        name: by which it is found again.
        repository: its model repository; ``triton/NAME/models`` in the data folder when None.
        host: address to listen on.
        grpc_port: 0 takes a free one, as for the others.
        http_port: of the HTTP protocol.
        metrics_port: of Prometheus metrics.
        devices: GPUs, or the MIG slice, that it sees (CUDA_VISIBLE_DEVICES); all when None.
        executions: most executions at a time on each GPU, by Triton's rate limiter; no limit when
            None.
        auto_complete: whether the server fills in what configurations leave out. For each load
            that starts a Python model twice, and takes several times as long.
    """

    name: str = DEFAULT_NAME
    repository: Path | None = None
    host: str = "127.0.0.1"
    grpc_port: int = 0
    http_port: int = 0
    metrics_port: int = 0
    devices: str | None = None
    executions: int | None = None
    auto_complete: bool = False

    def __post_init__(self) -> None:
        if not _NAME.match(self.name):
            raise fault(
                f"{self.name!r} is no name for a server",
                "use letters, digits, '-', '_' and '.', at most 64",
            )


@dataclass(frozen=True, kw_only=True)
class TritonState:
    """A started server, as its state file says.

    Attributes:
        name: as in the settings.
        pid: its process.
        started_at: when that started, seconds since the epoch; with the pid it names the process.
        url: gRPC address, host:port.
        http_url: of the HTTP protocol.
        metrics_url: of its metrics, for a scrape.
        repository: its model repository.
        log: its log file.
        executions: as in the settings.
    """

    name: str
    pid: int
    started_at: float
    url: str
    http_url: str
    metrics_url: str
    repository: str
    log: str
    executions: int | None = None

    @classmethod
    def read(cls, file: Path) -> TritonState | None:
        """The state in ``file``; None if there is none or it is damaged."""
        try:
            return cls(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, file: Path) -> None:
        """Write it, completely or not at all."""
        partial = file.with_name(f"{file.name}.partial")
        partial.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        partial.replace(file)

    def alive(self) -> bool:
        """Whether the very process still runs."""
        return is_process(self.pid, self.started_at)


def state_file(home: Path, name: str) -> Path:
    """Path of a server's state file."""
    return home / "triton" / f"{name}.json"


def default_repository(home: Path, name: str) -> Path:
    """Model repository of a server for which none is named."""
    return home / "triton" / name / "models"


def known_servers(home: Path) -> list[TritonState]:
    """All servers that have a state file, by name; some may have ended."""
    states = (TritonState.read(file) for file in sorted((home / "triton").glob("*.json")))
    return [state for state in states if state is not None]


def start(
    settings: TritonSettings,
    home: Path,
    cache: Path,
    *,
    timeout: float = START_SECONDS,
    report: ReportProgress = silent,
    install: Callable[[], TritonInstallation] | None = None,
) -> TritonState:
    """Start a server that goes on by itself, and wait until its gRPC port answers.

    The first start installs tritonserver; that time does not count.

    Args:
        settings: how it runs.
        home: the user's data folder.
        cache: the user's cache folder.
        timeout: most seconds to wait for it.
        report: is told of downloads.
        install: returns the installation to use.

    Raises:
        TritonError: one of that name runs already, or it cannot be started; says why.
    """
    with _start_lock(home, settings.name):
        known = TritonState.read(state_file(home, settings.name))
        if known is not None and known.alive():
            raise fault(
                f"a Triton server {settings.name!r} already runs at {known.url} (pid {known.pid})",
                f"use that one, `videojam triton stop --name {settings.name}` first, "
                "or start another (--name)",
            )
        found = install() if install else ensure_installed(cache, report=report)
        end_remains(home, settings.name)
        repository = settings.repository or default_repository(home, settings.name)
        log = home / "triton" / f"{settings.name}.log"
        try:
            repository.mkdir(parents=True, exist_ok=True)
            ports = _ports(settings)
            process = GuardedProcess(
                _command(
                    settings, found, repository.absolute(), ports, _prefix(home, settings.name)
                ),
                console=log,
                environ=_environment(settings, found),
            )
        except OSError as error:
            raise fault(
                f"tritonserver cannot be started: {error}",
                f"see that {repository} and {log.parent} are writable and the address is of this "
                "machine",
            ) from error
        try:
            _await(process, settings, ports, log, timeout)
            state = TritonState(
                name=settings.name,
                pid=process.pid,
                started_at=start_time(process.pid) or time.time(),
                url=f"{settings.host}:{ports['grpc']}",
                http_url=f"http://{settings.host}:{ports['http']}",
                metrics_url=f"http://{settings.host}:{ports['metrics']}/metrics",
                repository=str(repository.absolute()),
                log=str(log),
                executions=settings.executions,
            )
            state.write(state_file(home, settings.name))
        except BaseException:
            process.kill()
            raise
        process.detach()
        return state


def _command(
    settings: TritonSettings,
    found: TritonInstallation,
    repository: Path,
    ports: Mapping[str, int],
    prefix: str,
) -> list[str]:
    command = [
        str(found.binary),
        f"--id={settings.name}",
        f"--model-repository={repository}",
        "--model-control-mode=explicit",
        f"--backend-directory={found.backends}",
        f"--exit-timeout-secs={_EXIT_SECONDS}",
        # Without this a model that is still loading, or has failed, makes the server "not ready".
        "--strict-readiness=false",
        f"--backend-config=python,shm-region-prefix-name={prefix}",
    ]
    for protocol in ("grpc", "http", "metrics"):
        command += [f"--{protocol}-address={settings.host}", f"--{protocol}-port={ports[protocol]}"]
    if not settings.auto_complete:
        command.append("--disable-auto-complete-config")
    if settings.executions is not None:
        command += [
            "--rate-limit=execution_count",
            f"--rate-limit-resource={EXECUTIONS}:{settings.executions}",
        ]
    return command


def _environment(settings: TritonSettings, found: TritonInstallation) -> dict[str, str]:
    environment = {**os.environ, **found.environment}
    # Models share the machine: one thread each, unless the operator says otherwise.
    environment.setdefault("OMP_NUM_THREADS", "1")
    # GPUs are counted as the driver counts them.
    environment.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    if settings.devices is not None:
        environment["CUDA_VISIBLE_DEVICES"] = settings.devices
    return environment


def _ports(settings: TritonSettings) -> dict[str, int]:
    wanted = {
        "grpc": settings.grpc_port,
        "http": settings.http_port,
        "metrics": settings.metrics_port,
    }
    for protocol, port in wanted.items():
        if port and not port_is_free(settings.host, port):
            free_ports(settings.host, 1)  # raises where it is the address that is wrong
            raise fault(
                f"port {port} of {settings.host} is in use by another program",
                "stop that program (`ss -ltnp` names it), or choose another port "
                f"(--{protocol}-port), 0 for any free one",
            )
    free = iter(free_ports(settings.host, 6))
    taken = set(wanted.values())
    return {
        protocol: port or next(number for number in free if number not in taken)
        for protocol, port in wanted.items()
    }


def _await(
    process: GuardedProcess,
    settings: TritonSettings,
    ports: Mapping[str, int],
    log: Path,
    timeout: float,
) -> None:
    """Return when the server listens on its ports; raise TritonError if it does not."""
    deadline = time.monotonic() + timeout
    while True:
        code = process.exit_code()
        if code is not None:
            raise explain(f"tritonserver died while starting (exit code {code})", log)
        # It opens its ports last, and one after the other.
        if all(listens(settings.host, port, timeout=_CONNECT_SECONDS) for port in ports.values()):
            return
        if time.monotonic() > deadline:
            raise explain(f"tritonserver did not answer within {timeout:g} s", log)
        time.sleep(_PAUSE_SECONDS)


def stop(home: Path, name: str, *, timeout: float = STOP_SECONDS) -> TritonState | None:
    """Stop a server: SIGTERM, and SIGKILL if it has not ended after ``timeout`` seconds.

    Returns:
        What it was, or None if none was running.

    Raises:
        TritonError: it belongs to another user.
    """
    state = TritonState.read(state_file(home, name))
    if state is None or not state.alive():
        state_file(home, name).unlink(missing_ok=True)
        end_remains(home, name)
        return None
    stop_process(state, timeout)
    end_remains(home, name)
    state_file(home, name).unlink(missing_ok=True)
    return state


def stop_process(state: TritonState, timeout: float = STOP_SECONDS) -> None:
    """End a server's process.

    Raises:
        TritonError: it belongs to another user.
    """
    try:
        end_process(state.pid, state.started_at, patience=timeout, last_patience=STOP_SECONDS)
    except PermissionError as error:
        raise fault(
            f"the Triton server {state.name!r} (pid {state.pid}) belongs to another user",
            "stop it as that user",
        ) from error


def _prefix(home: Path, name: str) -> str:
    """Of the shared memory regions of a server; its models' processes have it as an argument."""
    digest = hashlib.sha256(str(home.absolute()).encode()).hexdigest()[:8]
    return f"vj-{digest}-{name}-"


def end_remains(home: Path, name: str) -> None:
    """Remove what a killed server leaves: processes of its Python models, and shared memory."""
    prefix = _prefix(home, name)
    for process in psutil.process_iter(["name", "cmdline"]):
        words = process.info["cmdline"] or []
        if any("triton_python_backend_stub" in word for word in words[:1]) and any(
            word.startswith(prefix) for word in words
        ):
            with suppress(psutil.Error):
                process.kill()
    for region in SHARED_MEMORY.glob(f"{prefix}*"):
        region.unlink(missing_ok=True)


@contextmanager
def _start_lock(home: Path, name: str) -> Iterator[None]:
    folder = home / "triton"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / f"{name}.lock").open("w")
    except OSError as error:
        raise fault(
            f"the folder {folder} cannot be written: {error.strerror}",
            "make it writable, or set VIDEOJAM_HOME to another folder",
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise fault(
                f"the Triton server {name!r} is being started by another command",
                "wait for that one, then see `videojam triton status`",
            ) from error
        yield
