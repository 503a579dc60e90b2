"""A cluster to measure on: a real Kafka, worker processes, and cameras whose load is a schedule.

The functions are emulated: they take the time that a GPU would, and nothing else, so that many
replicas fit on a small machine and each policy meets the same work.
"""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from agents.state import ReplicaState
from dataflow.camera import CameraProducer
from dataflow.config import Config, TopicNames, load_config
from dataflow.errors import RecordError, VideojamError
from dataflow.results import Result
from dataflow.topics import create_declared_topics
from dataflow.transport.kafka import KafkaTransport
from evaluation.accounts import End, Totals, account_for, add_costs, newest_rows
from evaluation.errors import MeasurementError
from evaluation.program import Program, end_all, faults_of
from evaluation.waiting import wait_until

_READY_SECONDS = 90.0
_LATE_SECONDS = 120.0
"""A camera that takes longer for its last frame, with the flush after it, stands still."""


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
        file = folder.absolute() / "topics.yaml"
        file.write_text(yaml.safe_dump(dict(declared)), encoding="utf-8")
        self.config: Config = load_config(file)
        self.names = TopicNames(self.config.deployment)
        self.transport = KafkaTransport.from_config(self.config)
        self.replicas = {plan.name: plan for plan in replicas}
        self.workers = {
            plan.name: Program(
                plan.name,
                [
                    *("worker", plan.function, "--config", str(file), "--replica", plan.name),
                    *("--log-level", "WARNING"),
                ],
                folder,
            )
            for plan in replicas
        }
        self.ends: dict[str, End] = {}
        self.repeated = 0
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
            end_all(self.workers.values())
            raise
        self._started_at = time.time()
        self._reading.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for camera in self._cameras:
                camera.stop()
        finally:
            end_all(self.workers.values())
        self._stopping.set()
        self._reading.join(10)

    @property
    def now(self) -> float:
        """Seconds since the run began."""
        return time.time() - self._started_at

    # -- workers --------------------------------------------------------------------------------

    def start(self, name: str, **parameters: object) -> None:
        """Start a replica, with other parameters perhaps."""
        words = {"speed": self.replicas[name].speed, **parameters}
        self.workers[name].start(
            *(word for k, v in words.items() for word in ("--parameter", f"{k}={v}"))
        )

    def kill(self, name: str) -> None:
        """SIGKILL."""
        self.workers[name].kill()

    def pids(self) -> list[int]:
        """Of all workers.

        Raises:
            MeasurementError: one does not run.
        """
        self._check()
        pids = {name: worker.pid for name, worker in self.workers.items()}
        absent = [name for name, pid in pids.items() if pid is None]
        if absent:
            raise MeasurementError(f"not running: {', '.join(absent)}")
        return [pid for pid in pids.values() if pid is not None]

    def rows(self) -> dict[str, ReplicaState]:
        """The newest row of each replica.

        Raises:
            MeasurementError: they cannot be read in time.
        """
        return newest_rows(self.config, self.transport)

    def wait_until_ready(self) -> None:
        """Until every replica owns partitions and has been told so.

        Raises:
            MeasurementError: a worker has ended, or they are not ready in time.
        """

        def ready() -> bool:
            self._check()
            rows = self.rows()
            return set(rows) >= set(self.replicas) and all(r.partitions for r in rows.values())

        wait_until(
            ready,
            f"not all of {', '.join(self.replicas)} have partitions",
            seconds=_READY_SECONDS,
            pause=lambda: time.sleep(0.5),
        )

    def _check(self) -> None:
        faults = faults_of(self.workers.values())
        if faults:
            raise MeasurementError("\n".join(faults))

    # -- load and results -----------------------------------------------------------------------

    def camera(self, name: str, times: Sequence[float], picture: bytes) -> Camera:
        """A camera that sends ``picture`` at the given seconds of the run, in its own thread."""
        producer = CameraProducer(name, "any", config=self.config, transport=self.transport)
        camera = Camera(producer, times, picture, now=lambda: self.now)
        self._cameras.append(camera)
        camera.start()
        return camera

    def drain(self, seconds: float) -> Totals:
        """Wait until all frames have ended, ``seconds`` s at most, and add up.

        Frames that are open after that count as lost: they were not processed in time.

        Raises:
            MeasurementError: a camera has not ended in time, or the topics cannot be read.
            VideojamError: a camera failed.
        """
        for camera in self._cameras:
            camera.finish()
        totals = account_for(
            self.config, self.transport, cameras=len(self._cameras), seconds=seconds
        )
        add_costs(totals, self.rows().values(), self.config, self.transport)
        return totals

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
        end = End.of(result, self._started_at)
        with self._lock:
            if end.identity in self.ends:
                self.repeated += 1
            else:
                self.ends[end.identity] = end


class Camera(threading.Thread):
    """Sends the same picture at given times.

    Args:
        producer: of its frames; closed after the last one.
        times: when to send, seconds of the run.
        picture: JPEG.
        now: seconds of the run.
    """

    def __init__(
        self,
        producer: CameraProducer,
        times: Sequence[float],
        picture: bytes,
        *,
        now: Callable[[], float],
    ) -> None:
        super().__init__(name=producer.name, daemon=True)
        self._producer = producer
        self._times = times
        self._picture = picture
        self._now = now
        self._stop_now = threading.Event()
        self._fault: VideojamError | None = None

    def run(self) -> None:
        """Until the last of its times."""
        try:
            with self._producer as producer:
                for moment in self._times:
                    if self._stop_now.wait(max(0.0, moment - self._now())):
                        return
                    producer.send(self._picture)
        except VideojamError as fault:
            self._fault = fault

    def finish(self, late: float = _LATE_SECONDS) -> None:
        """Wait until the last frame has been sent.

        Args:
            late: seconds after the last of its times that it may take.

        Raises:
            MeasurementError: it has not been sent in time.
            VideojamError: it could not be sent.
        """
        last = max(self._times, default=0.0)
        self.join(max(0.0, last - self._now()) + late)
        if self.is_alive():
            raise MeasurementError(
                f"the camera {self.name} does not end: its last frame was due {late:g} s ago"
            )
        if self._fault is not None:
            raise self._fault

    def stop(self) -> None:
        """End early."""
        self._stop_now.set()
        self.join(30)
