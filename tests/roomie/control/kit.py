"""What the control plane's tests share: topics, placements, and what workers say."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from dataflow.config import TopicNames
from dataflow.config.topics import TopicSpec
from dataflow.transport import Record as KafkaRecord
from dataflow.transport import Transport
from roomie.control.agent import Agent, AgentOptions
from roomie.control.agent_values import AgentSettings
from roomie.control.follower import Follower, Table
from roomie.control.records import (
    GpuReport,
    InstanceReport,
    ModelSpec,
    PlacedInstance,
    Placement,
    Telemetry,
    WorkerReport,
)
from roomie.control.serving import Serving
from roomie.triton.repository import InstanceRepository
from roomie.triton.server import InferenceServer
from tests.roomie.waiting import wait_until

X = np.arange(8, dtype=np.float32).reshape(2, 4)
QUICK = AgentSettings(
    load_seconds=60, attempts=2, backoff=0.1, drain_seconds=0.3, longest_drain=5, silence=3
)


class Plant:
    """ROOMIE's topics on some transport, and the hand of a controller."""

    def __init__(self, transport: Transport, deployment: str | None = None) -> None:
        self.transport = transport
        self.names = TopicNames(deployment or f"r{uuid.uuid4().hex[:10]}")
        admin = transport.admin()
        for topic in (self.names.placements, self.names.workers):
            admin.create(
                TopicSpec(
                    name=topic, partitions=1, replication=1, configs={"cleanup.policy": "compact"}
                )
            )
        admin.create(TopicSpec(name=self.names.telemetry, partitions=1, replication=1))
        admin.close()
        self.producer = transport.producer(client_id="plant")
        self.workers = Table(WorkerReport)
        self.telemetry = Table(Telemetry)
        self.follower = Follower(
            transport,
            {self.names.workers: self.workers, self.names.telemetry: self.telemetry},
        )
        self.follower.start()
        self._generation: dict[str, int] = {}

    def close(self) -> None:
        self.follower.stop()
        self.producer.close()

    def place(self, model: str, instances: Sequence[PlacedInstance]) -> None:
        generation = self._generation[model] = self._generation.get(model, 0) + 1
        placement = Placement(
            spec=ModelSpec(model=model), generation=generation, instances=tuple(instances)
        )
        self.send(self.names.placements, model, placement.to_json())

    def remove(self, model: str) -> None:
        self.send(self.names.placements, model, None)

    def send(self, topic: str, key: str, value: bytes | None) -> None:
        self.producer.send(KafkaRecord(topic=topic, key=key.encode(), value=value))
        assert self.producer.flush(30) == 0

    def instances(self, worker: str) -> Mapping[str, InstanceReport]:
        report = self.workers.rows().get(worker)
        return {} if report is None else {entry.id: entry for entry in report.instances}

    def states(self, worker: str) -> dict[str, str]:
        return {name: entry.state for name, entry in self.instances(worker).items()}

    def wait_for(self, worker: str, states: Mapping[str, str]) -> None:
        wait_until(
            lambda: self.states(worker) == states, f"{worker} says {states}: {self.states(worker)}"
        )


def placed(
    name: str,
    worker: str,
    *,
    version: int = 1,
    batch: int = 4,
    window: float = 0.0,
    gpu: int = 0,
    ready_at: str | None = None,
    speed: float = 0.0,
    weight: float = 1.0,
) -> PlacedInstance:
    """An instance, ready where an address is given."""
    return PlacedInstance(
        id=name,
        version=version,
        worker=worker,
        gpu=f"{worker}/{gpu}",
        batch=batch,
        window=window,
        state="ready" if ready_at else "pending",
        url=ready_at,
        speed=speed,
        weight=weight,
    )


def agent_of(
    plant: Plant,
    serving: Serving,
    sources: Path,
    folder: Path,
    *,
    worker: str = "w",
    settings: AgentSettings = QUICK,
    lease: float = 2.0,
    keep_server: bool = False,
    used_bytes: Callable[[], Mapping[str, int]] = dict,
) -> Agent:
    gpus = (GpuReport(id=f"{worker}/0", device="T4"), GpuReport(id=f"{worker}/1", device="A10"))
    return Agent(
        AgentOptions(
            worker=worker,
            node="n",
            incarnation=uuid.uuid4().hex[:8],
            gpus={gpu.id: None for gpu in gpus},
            lease=lease,
            report_seconds=0.2,
            settings=settings,
            keep_server=keep_server,
        ),
        serving,
        InstanceRepository(sources, folder),
        plant.transport,
        plant.names,
        gpus=gpus,
        used_bytes=used_bytes,
    )


def answers(server: InferenceServer, name: str) -> bool:
    """Whether an instance doubles."""
    answer = server.infer(name, {"x": X}, timeout=30)
    return bool(np.array_equal(answer["y"], 2 * X))
