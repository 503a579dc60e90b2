"""A cluster to measure on: a real Kafka, worker processes, and cameras whose load is a schedule.

The functions are emulated: they take the time that a GPU would, and nothing else, so that many
replicas fit on a small machine and each policy meets the same work.
"""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from agents.state import ReplicaState
from dataflow.accounting import Auditor
from dataflow.broker import BrokerSettings, EmbeddedBroker
from dataflow.camera import CameraProducer
from dataflow.config import Config, TopicNames, load_config
from dataflow.errors import RecordError
from dataflow.results import Result
from dataflow.topics import create_declared_topics
from dataflow.transport.kafka import KafkaTransport
from evaluation.errors import MeasurementError

_READY_SECONDS = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaPlan:
    """One worker process.

    Attributes:
        function: its function.
        name: its name.
        speed: of its GPU, relative to the function's declared service time.
    """

    function: str
    name: str
    speed: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One result, in seconds of the run (0 is its start).

    Attributes:
        identity: of the frame or object.
        captured: when its frame was captured.
        first: when its first step was done.
        finished: when its last step was done.
        replicas: who worked on it, in the order of the steps.
    """

    identity: str
    captured: float
    first: float
    finished: float
    replicas: tuple[str, ...]

    @property
    def response(self) -> float:
        """From capture to the end."""
        return self.finished - self.captured


@dataclass(slots=True)
class Totals:
    """What a run cost and lost.

    Attributes:
        produced: frames.
        processed: frames of which everything was processed.
        dropped: frames that lost something, by reason.
        dead: frames with dead letters.
        open: frames that had not ended.
        offloaded: items handed on.
        offloaded_bytes: their bytes.
        control_records: rows and signals.
        control_bytes: their bytes.
    """

    produced: int = 0
    processed: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    dead: int = 0
    open: int = 0
    offloaded: int = 0
    offloaded_bytes: int = 0
    control_records: int = 0
    control_bytes: int = 0

    @property
    def loss(self) -> float:
        """Fraction of the frames that lost something or had not ended."""
        return 1 - self.processed / self.produced if self.produced else 0.0


def declaration(
    servers: str,
    *,
    functions: Mapping[str, Mapping[str, Any]],
    balancing: Mapping[str, Any],
    overload: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A topics.yaml in which emulated functions follow each other, each on crops of the one before.

    Args:
        servers: host:port list.
        functions: keys of each, in order.
        balancing: of all.
        overload: see topics.yaml.
    """
    names = list(functions)
    steps: list[dict[str, Any]] = [
        {"function": name, "then": [{"to": after, "send": "crops", "of": "vehicle"}]}
        for name, after in itertools.pairwise(names)
    ]
    return {
        "version": 1,
        "deployment": f"bed-{uuid.uuid4().hex[:8]}",
        "cluster": {"bootstrap_servers": servers},
        "functions": {
            name: {"plugin": "emulated", "balancing": dict(balancing), **keys}
            for name, keys in functions.items()
        },
        "pipelines": {"p": {"cameras": ["any"], "steps": [*steps, {"function": names[-1]}]}},
        "overload": dict(overload or {}),
    }


@contextmanager
def temporary_broker() -> Iterator[EmbeddedBroker]:
    """A broker with its data in a temporary folder."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="videojam-testbed-"))
        broker = EmbeddedBroker(BrokerSettings(data_dir=Path(folder), port=0))
        yield stack.enter_context(broker)


class Testbed:
    """One deployment under one policy.

    Use as a context manager: leaving it ends all workers.

    Args:
        declared: topics.yaml.
        replicas: the workers.
        folder: for their logs.
    """

    __test__ = False  # not one of pytest's

    def __init__(
        self, declared: Mapping[str, Any], replicas: Sequence[ReplicaPlan], folder: Path
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "topics.yaml"
        self._file.write_text(yaml.safe_dump(dict(declared)), encoding="utf-8")
        self.config: Config = load_config(self._file)
        self.names = TopicNames(self.config.deployment)
        self.transport = KafkaTransport.from_config(self.config)
        self.replicas = {plan.name: plan for plan in replicas}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ends: dict[str, End] = {}
        self.repeated = 0
        self._folder = folder
        self._started_at = time.time()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._cameras: list[Camera] = []
        self._reading = threading.Thread(target=self._read, daemon=True)

    # -- life -----------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        create_declared_topics(self.config, self.transport)
        try:
            for name in self.replicas:
                self.start(name)
            self.wait_until_ready()
        except BaseException:  # Ctrl-C too: nobody leaves what was not entered
            self._end_workers()
            raise
        self._started_at = time.time()
        self._reading.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for camera in self._cameras:
                camera.stop()
        finally:
            self._end_workers()
        self._stopping.set()
        self._reading.join(10)

    def _end_workers(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @property
    def now(self) -> float:
        """Seconds since the run began."""
        return time.time() - self._started_at

    # -- workers --------------------------------------------------------------------------------

    def start(self, name: str, **parameters: object) -> None:
        """Start a replica, with other parameters perhaps."""
        plan = self.replicas[name]
        words = {"speed": plan.speed, **parameters}
        with (self._folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [
                    *(sys.executable, "-m", "cli", "worker", plan.function),
                    *("--config", str(self._file), "--replica", name, "--log-level", "WARNING"),
                    *(word for k, v in words.items() for word in ("--parameter", f"{k}={v}")),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def kill(self, name: str) -> None:
        """SIGKILL."""
        self.processes[name].kill()
        self.processes[name].wait()

    def send_signal(self, name: str, number: int) -> None:
        """Any other signal."""
        self.processes[name].send_signal(number)

    def rows(self) -> dict[str, ReplicaState]:
        """The newest row of each replica."""
        found: dict[str, ReplicaState] = {}
        reader = self.transport.reader([self.names.state(f) for f in self.config.functions])
        try:
            while True:
                records = reader.poll(1000, 0.1)
                for record in records:
                    name = (record.key or b"").decode()
                    if record.value is None:
                        found.pop(name, None)
                        continue
                    found[name] = ReplicaState.from_json(record.value)
                if not records and reader.caught_up():
                    return found
        finally:
            reader.close()

    def wait_until_ready(self) -> None:
        """Until every replica owns partitions and has been told so.

        Raises:
            MeasurementError: a worker has ended, or they are not ready in time.
        """
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            rows = self.rows()
            if set(rows) >= set(self.replicas) and all(r.partitions for r in rows.values()):
                return
            for name, process in self.processes.items():
                if process.poll() is not None:
                    log = (self._folder / f"{name}.log").read_text(errors="replace")
                    raise MeasurementError(
                        f"the worker {name} ended with {process.returncode}; the end of its log:\n"
                        f"{log[-1000:]}"
                    )
            if time.monotonic() > deadline:
                owned = {name: row.partitions for name, row in rows.items()}
                raise MeasurementError(
                    f"the workers are not ready within {_READY_SECONDS:g} s; partitions: {owned}"
                )
            time.sleep(0.5)

    # -- load and results -----------------------------------------------------------------------

    def camera(self, name: str, times: Sequence[float], picture: bytes) -> Camera:
        """A camera that sends ``picture`` at the given seconds of the run, in its own thread."""
        camera = Camera(self, name, times, picture)
        self._cameras.append(camera)
        camera.start()
        return camera

    def drain(self, seconds: float) -> Totals:
        """Wait until all frames have ended, ``seconds`` s at most, and add up.

        Frames that are open after that count as lost: they were not processed in time.
        """
        for camera in self._cameras:
            camera.join()
        deadline = time.monotonic() + seconds
        totals = Totals()
        auditor = Auditor(self.config, self.transport)
        try:
            while time.monotonic() < deadline:
                auditor.poll(0.2)
                accounts = list(auditor.ledger.accounts())
                if (
                    auditor.caught_up()
                    and len(accounts) == len(self._cameras)
                    and all(account.closed and account.balanced for account in accounts)
                ):
                    break
            for account in auditor.ledger.accounts():
                totals.produced += account.produced
                totals.processed += account.processed
                totals.open += account.open
                totals.dead += sum(account.dead.values())
                for reason, count in account.dropped.items():
                    totals.dropped[reason] = totals.dropped.get(reason, 0) + count
        finally:
            auditor.close()
        self._add_traffic(totals)
        return totals

    def _add_traffic(self, totals: Totals) -> None:
        for row in self.rows().values():
            if row.balance is not None:
                totals.offloaded += sum(row.balance.offloaded.values())
                totals.offloaded_bytes += row.balance.offloaded_bytes
        topics = [self.names.state(f) for f in self.config.functions]
        topics += [self.names.signals(f) for f in self.config.functions]
        reader = self.transport.reader(topics)
        ends: dict[str, int] = {}
        seen: dict[str, list[int]] = {}
        while True:
            records = reader.poll(1000, 0.1)
            for record in records:
                ends[record.topic] = record.offset + 1
                seen.setdefault(record.topic, []).append(len(record.value or b""))
            if not records and reader.caught_up():
                break
        reader.close()
        for topic, count in ends.items():
            # What has been compacted or has expired was as large as what is still there.
            totals.control_records += count
            totals.control_bytes += int(count * sum(seen[topic]) / len(seen[topic]))

    def _read(self) -> None:
        reader = self.transport.reader([self.names.results("p")])
        try:
            while not self._stopping.is_set():
                for record in reader.poll(500, 0.1):
                    try:
                        self._note(Result.from_json(record.value or b""))
                    except RecordError:
                        continue
        finally:
            reader.close()

    def _note(self, result: Result) -> None:
        captured = result.captured_at.timestamp() - self._started_at
        stage = result.stages[0]
        end = End(
            identity=result.id,
            captured=captured,
            first=captured + stage.transit + stage.waited + stage.took,
            finished=captured + result.response_seconds,
            replicas=tuple(stage.replica for stage in result.stages),
        )
        with self._lock:
            if end.identity in self.ends:
                self.repeated += 1
            else:
                self.ends[end.identity] = end


class Camera(threading.Thread):
    """Sends the same picture at given times."""

    def __init__(self, bed: Testbed, name: str, times: Sequence[float], picture: bytes) -> None:
        super().__init__(name=name, daemon=True)
        self._bed = bed
        self._times = times
        self._picture = picture
        self._stop_now = threading.Event()
        self._producer = CameraProducer(name, "any", config=bed.config, transport=bed.transport)

    def run(self) -> None:
        """Until the last of its times."""
        with self._producer as producer:
            for moment in self._times:
                if self._stop_now.wait(max(0.0, moment - self._bed.now)):
                    return
                producer.send(self._picture)

    def stop(self) -> None:
        """End early."""
        self._stop_now.set()
        self.join(30)
