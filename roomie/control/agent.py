"""`videojam node`: a worker agent, which makes a server run what is placed on it."""

from __future__ import annotations

import fcntl
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dataflow.config import TopicNames
from dataflow.transport import Producer, Transport
from dataflow.transport import Record as KafkaRecord
from roomie.control.agent_core import AgentCore
from roomie.control.agent_values import (
    Action,
    AgentSettings,
    Load,
    Remove,
    Seen,
    Wanted,
    wanted_on,
)
from roomie.control.faults import Faults
from roomie.control.follower import Follower, Table
from roomie.control.meter import Meter
from roomie.control.operations import Watch, perform
from roomie.control.records import GpuReport, Placement, WorkerReport
from roomie.control.serving import Serving
from roomie.errors import InferenceError, TritonError
from roomie.triton.repository import InstanceRepository
from roomie.triton.server import InferenceServer

_log = logging.getLogger("videojam.roomie")

TICK_SECONDS = 0.25
_FIRST_REPORT_SECONDS = 5.0
"""After so long a worker announces itself even if its server has not answered yet."""
_REPORTS_PER_LEASE = 2.0
"""At least: one that is late or lost is no death."""
_CLOSE_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class AgentOptions:
    """What a worker is.

    Attributes:
        worker: its name; the ids of its GPUs begin with it.
        node: its machine.
        incarnation: of this process.
        gpus: by id, with the index that the server gives them; None for the processor.
        lease: seconds for which a report may be counted on.
        report_seconds: between two telemetries, and between two reports that it is there; these
            come twice in a lease at least.
        advertised_host: under which clients reach the server; as the server says when None.
        executions: whether the server limits executions at a time.
        keep_server: whether the server goes on when the agent is told to stop.
        settings: how patient it is.
    """

    worker: str
    node: str
    incarnation: str
    gpus: Mapping[str, int | None]
    lease: float = 5.0
    report_seconds: float = 1.0
    advertised_host: str | None = None
    executions: bool = False
    keep_server: bool = False
    settings: AgentSettings = field(default_factory=AgentSettings)


@dataclass(frozen=True)
class _Look:
    """One look at a server. Where that is slow, it takes longer than a lease lasts."""

    server: InferenceServer
    seen: Future[dict[str, Seen] | None]


class Agent:
    """A worker: call `run` in a thread of your choice, `stop` from any.

    Args:
        options: what it is.
        serving: where its server is; closed at the end.
        repository: where its instances' folders are.
        transport: where the topics are.
        names: of the deployment's topics.
        gpus: what it has.
        used_bytes: tells the memory taken on each GPU, where it is known; asked with each
            telemetry.
        clock: seconds since the epoch.
        monotonic: seconds of a clock that never jumps.
    """

    def __init__(
        self,
        options: AgentOptions,
        serving: Serving,
        repository: InstanceRepository,
        transport: Transport,
        names: TopicNames,
        *,
        gpus: tuple[GpuReport, ...],
        used_bytes: Callable[[], Mapping[str, int]] = dict,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._serving = serving
        self._repository = repository
        self._names = names
        self._gpus = gpus
        self._used_bytes = used_bytes
        self._clock = clock
        self._monotonic = monotonic
        self._core = AgentCore(options.settings)
        self._faults = Faults()
        self._watch = Watch(repository)
        self._looker = ThreadPoolExecutor(1, thread_name_prefix="look")
        self._look: _Look | None = None
        self._meter = Meter(options.worker)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._outcomes: queue.SimpleQueue[tuple[Action, str | None]] = queue.SimpleQueue()
        self._placements = Table(Placement)
        self._follower = Follower(
            transport, {names.placements: self._placements}, on_change=self._wake.set
        )
        self._transport = transport
        self._wanted: dict[str, Wanted] = {}
        self._url = ""
        self._silent_since: float | None = None
        self._reported: tuple[object, ...] | None = None
        self._report_due = -float("inf")
        self._telemetry_due = -float("inf")

    def stop(self) -> None:
        """Make `run` return, soon."""
        self._stopping.set()
        self._wake.set()

    def run(self) -> None:
        """Work until `stop`; then say goodbye, give clients time to hear it, and end.

        Raises:
            TritonError: another agent works for the same server.
        """
        with _only_one(self._repository.folder):
            producer = self._transport.producer(client_id=f"{self._options.worker}.node")
            workers = self._options.settings.parallel_loads + 4
            executor = ThreadPoolExecutor(workers, thread_name_prefix="agent")
            self._follower.start()
            try:
                self._loop(producer, executor)
            finally:
                with self._faults.outlived("saying goodbye"):
                    self._send(producer, self._names.workers, None)
                    producer.flush(_CLOSE_SECONDS)
                if not self._options.keep_server:
                    time.sleep(self._options.settings.drain_seconds)
                self._follower.stop()
                self._looker.shutdown(wait=False, cancel_futures=True)
                executor.shutdown(wait=False, cancel_futures=True)
                self._serving.close(keep=self._options.keep_server)
                producer.close(_CLOSE_SECONDS)

    def _loop(self, producer: Producer, executor: ThreadPoolExecutor) -> None:
        began = self._monotonic()
        while not self._stopping.is_set():
            # Whatever fails or takes long, the lease is renewed: instances that serve are not to
            # lose their place because something beside them went wrong.
            with self._faults.outlived("deciding"):
                self._act(producer, executor)
            if not self._core.looking() or self._monotonic() - began > _FIRST_REPORT_SECONDS:
                with self._faults.outlived("reporting"):
                    self._report(producer)
            with self._faults.outlived("sending"):
                producer.poll(0)
            self._wake.wait(TICK_SECONDS)
            self._wake.clear()

    def _act(self, producer: Producer, executor: ThreadPoolExecutor) -> None:
        now = self._monotonic()
        server: InferenceServer | None = None
        with self._faults.outlived("tending the server"):
            server = self._serving.tend(now)
        if self._serving.died():
            self._core.server_died(now)
        look = self._look
        if look is None:
            # Before the look begins: what it shows is then never older than what is known.
            self._take_outcomes(now)
        if look is None and server is not None:
            self._begin_look(server)
            return
        if look is not None and not look.seen.done():
            return
        self._look = None
        seen: Mapping[str, Seen] | None = None
        silent = False
        if look is not None and look.server is server:
            with self._faults.outlived("looking at the server"):
                seen = look.seen.result()
                silent = seen is None
        if not self._outcomes.empty():
            self._wake.set()  # they have come during the look, and want another one
        wanted = self._placed() if self._follower.ready() else None
        for action in self._core.decide(wanted, seen, self._monotonic()):
            if server is None:
                continue  # never: where there is none, nothing is decided
            if isinstance(action, Remove):
                # At once, so that it never meets a load of the same instance.
                self._perform(action, server)
            else:
                executor.submit(self._perform_and_wake, action, server)
        with self._faults.outlived("ending the server"):
            self._end_the_hung(silent=silent)
        if seen is not None:
            with self._faults.outlived("telemetry"):
                self._measure(producer)

    def _begin_look(self, server: InferenceServer) -> None:
        self._url = self._advertised(server.url)
        seen = self._looker.submit(self._watch.look, server)
        self._look = _Look(server, seen)
        seen.add_done_callback(lambda _: self._wake.set())

    def _end_the_hung(self, *, silent: bool) -> None:
        """A server that runs and does not answer for long is ended."""
        now = self._monotonic()
        if not silent:
            self._silent_since = None
        elif self._silent_since is None:
            self._silent_since = now
        elif now - self._silent_since > self._options.settings.hung:
            self._silent_since = None
            self._serving.end()

    def _placed(self) -> dict[str, Wanted]:
        self._wanted = wanted_on(
            self._options.worker,
            self._options.gpus,
            self._placements.rows().values(),
            executions=self._options.executions,
        )
        return self._wanted

    def _perform(self, action: Action, server: InferenceServer) -> None:
        """One action, whose outcome the loop takes."""
        fault: str | None = None
        try:
            perform(action, server, self._repository, self._options.settings)
        except InferenceError as error:
            fault = str(error)
        except Exception as error:  # noqa: BLE001 - an action must not be left unanswered
            _log.exception("%s of %s", type(action).__name__, action.id)
            fault = f"{type(error).__name__}: {error}"
        self._outcomes.put((action, fault))

    def _perform_and_wake(self, action: Action, server: InferenceServer) -> None:
        """The same, in the executor."""
        self._perform(action, server)
        self._wake.set()

    def _take_outcomes(self, now: float) -> None:
        while True:
            try:
                action, fault = self._outcomes.get_nowait()
            except queue.Empty:
                return
            what = type(action).__name__.lower()
            if fault is None:
                _log.info("%s %s: done", what, action.id)
            else:
                _log.warning("%s %s: %s", what, action.id, fault)
            if isinstance(action, Load):
                self._watch.forget(action.id)
            self._core.finished(action, fault, now)

    def _measure(self, producer: Producer) -> None:
        """Telemetry, when it is due and there is something to tell."""
        if self._monotonic() < self._telemetry_due:
            return
        self._telemetry_due = self._monotonic() + self._options.report_seconds
        batches = {name: wanted.tuning.batch for name, wanted in self._wanted.items()}
        used: Mapping[str, int] = {}
        with self._faults.outlived("asking for the GPUs' memory"):
            used = self._used_bytes()
        telemetry = self._meter.measure(self._watch.statistics, batches, self._clock(), used)
        if telemetry is not None and (telemetry.instances or telemetry.used_bytes):
            self._send(producer, self._names.telemetry, telemetry.to_json())

    def _report(self, producer: Producer) -> None:
        """The worker's row: when it is due, and at once when it has changed."""
        now = self._monotonic()
        instances = self._core.reports(now)
        up = self._core.server_up(now)
        facts = (instances, up, self._url)
        if facts == self._reported and now < self._report_due:
            return
        report = WorkerReport(
            worker=self._options.worker,
            node=self._options.node,
            incarnation=self._options.incarnation,
            url=self._url,
            gpus=self._gpus,
            at=self._clock(),
            lease=self._options.lease,
            server_ready=up,
            instances=instances,
        )
        self._send(producer, self._names.workers, report.to_json())
        self._reported = facts
        self._report_due = now + min(
            self._options.report_seconds, self._options.lease / _REPORTS_PER_LEASE
        )

    def _advertised(self, url: str) -> str:
        host = self._options.advertised_host
        return url if host is None else f"{host}:{url.rpartition(':')[2]}"

    def _send(self, producer: Producer, topic: str, value: bytes | None) -> None:
        """Send a record of the worker's.

        Raises:
            BrokerError: it cannot be sent.
            BufferFullError: too many wait for that.
        """
        producer.send(KafkaRecord(topic=topic, key=self._options.worker.encode(), value=value))


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the lock of a generated repository.

    Raises:
        TritonError: another agent holds it, or it cannot be made.
    """
    file = folder.with_name(f"{folder.name}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = file.open("w")
    except OSError as error:
        raise TritonError(
            f"the folder {folder} cannot be written ({error})\n  remedy: make it writable"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TritonError(
                f"another node agent works on {folder}\n"
                "  remedy: stop that one, or give this one another name (--worker)"
            ) from error
        yield
