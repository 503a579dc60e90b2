"""A controller's core among pretended workers, with the log that it would write to Kafka."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import lru_cache

from roomie.board import MEMORY_SHARE
from roomie.control.book import Step
from roomie.control.core import Core
from roomie.control.fake import FakeWorker
from roomie.control.orders import OrderType, new_order
from roomie.control.placing import Planner
from roomie.control.records import (
    InstanceTelemetry,
    ModelSpec,
    Order,
    OrderMemory,
    PlacedInstance,
    Placement,
    Status,
    Telemetry,
)
from roomie.control.scaling_types import Autoscaler, BatchingWindow, ForecastArrivals
from roomie.control.settings import ControlSettings
from roomie.costs import PairCosts
from roomie.devices import load_devices
from roomie.local_search import MoveBudget
from roomie.placers.roomie import RoomiePlacer, RoomieSettings
from roomie.profiles import ProfileStore
from tests.roomie.kit import kernel, profile

GB = 1 << 30
NETS = ("small", "middle", "large")
"""Profiled models: 4, 8 and 16 GiB; a GPU takes 21.6 GiB."""
FAST = ControlSettings(ready_timeout=6.0, retry=2.0, probation=3.0, probation_requests=5)
TICK = 0.5
GPU_GB = 24


@lru_cache(maxsize=1)
def costs() -> PairCosts:
    """Of three networks that hardly disturb each other."""
    made = [
        profile(name, batch, [kernel(blocks=108, us=50.0 * batch)], memory=gb * GB)
        for name, gb in zip(NETS, (4, 8, 16), strict=True)
        for batch in (1, 4)
    ]
    return PairCosts(ProfileStore(made, load_devices()))


def planner(moves: int = 0) -> Planner:
    settings = RoomieSettings(budget=MoveBudget(moves=moves))
    return Planner(RoomiePlacer(costs(), settings), costs(), load_devices())


class World:
    """A core, its workers, and what it has written.

    Each step of the core is written at once, as its transaction would be.
    """

    def __init__(
        self,
        workers: int = 2,
        *,
        settings: ControlSettings = FAST,
        moves: int = 0,
        autoscaler: Callable[[], Autoscaler] | None = None,
        batching: BatchingWindow | None = None,
        forecast: ForecastArrivals | None = None,
        load_s: float = 1.0,
        gpu_gb: int = GPU_GB,
        fault: Callable[[PlacedInstance], str | None] | None = None,
    ) -> None:
        self.gpu_gb = gpu_gb
        self.now = 1000.0
        self.settings = settings
        self._parts = (moves, autoscaler, batching, forecast)
        self._load_s, self._fault = load_s, fault
        self.workers: dict[str, FakeWorker] = {}
        self.table: dict[str, Placement] = {}
        self.memory = OrderMemory()
        self.statuses: list[Status] = []
        self.steps: list[Step] = []
        self.watchers: list[Callable[[], None]] = []
        self._ids = itertools.count()
        for _ in range(workers):
            self.join()
        self.core = self._fresh()

    def _fresh(self) -> Core:
        moves, autoscaler, batching, forecast = self._parts
        return Core(
            planner(moves),
            self.settings,
            autoscaler=None if autoscaler is None else autoscaler(),
            batching=batching,
            forecast=forecast,
        )

    def join(self, name: str | None = None) -> FakeWorker:
        name = name or f"w{len(self.workers)}"
        worker = FakeWorker(
            name, memory_bytes=self.gpu_gb * GB, load_s=self._load_s, fault=self._fault
        )
        self.workers[name] = worker
        return worker

    def restart(self) -> None:
        """Another controller goes on from what this one wrote."""
        self.core = self._fresh()
        for placement in self.table.values():
            self.core.restore_placement(placement)
        self.core.restore_orders(self.memory)
        for worker in self.workers.values():
            self.core.restore_worker(worker.report(self.now), self.now)
        self.write(self.core.resume(self.now))

    def write(self, step: Step) -> Step:
        if not step:
            return step
        self.steps.append(step)
        for model, placement in step.placements:
            if placement is None:
                del self.table[model]
            else:
                before = self.table.get(model)
                assert placement.generation == (0 if before is None else before.generation) + 1
                # As it comes from the wire.
                self.table[model] = Placement.from_json(placement.to_json())
        if step.memory is not None:
            self.memory = step.memory
        self.statuses += step.statuses
        for watch in self.watchers:
            watch()
        return step

    def tick(self) -> None:
        """Half a second of everybody's life."""
        self.now += TICK
        for worker in list(self.workers.values()):
            worker.follow(self.table.values(), self.now)
            self.write(self.core.worker(worker.report(self.now), self.now))
        self.write(self.core.tick(self.now))

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK)):
            self.tick()

    def settle(self, seconds: float = 60.0) -> None:
        """Until nothing changes any more: longer than any limit that may still pass."""
        quiet = 0.0
        for _ in range(round(seconds / TICK)):
            before = len(self.steps)
            self.tick()
            quiet = quiet + TICK if len(self.steps) == before else 0.0
            if quiet > 12.0:
                return
        raise AssertionError(f"still busy: {self.statuses[-5:]}")

    def order(
        self,
        kind: OrderType,
        model: str,
        spec: ModelSpec | None = None,
        *,
        instances: int | None = None,
    ) -> Order:
        order = new_order(
            kind,
            model,
            source="/test",
            at=self.now,
            spec=spec,
            instances=instances,
            order_id=lambda: f"order-{next(self._ids)}",
        )
        self.write(self.core.order(order, self.now))
        return order

    def deploy(self, model: str = "small", **wanted: object) -> Order:
        return self.order("deploy", model, ModelSpec.model_validate({"model": model, **wanted}))

    def update(self, model: str = "small", **wanted: object) -> Order:
        return self.order("update", model, ModelSpec.model_validate({"model": model, **wanted}))

    def measure(
        self,
        instance: str,
        *,
        requests: int = 10,
        failures: int = 0,
        compute_s: float = 0.01,
        items: int | None = None,
        pending: int = 0,
    ) -> None:
        """One second of an instance, as its worker would tell."""
        worker = next(i.worker for i in self.instances() if i.id == instance)
        done = InstanceTelemetry(
            id=instance,
            requests=requests,
            failures=failures,
            items=requests if items is None else items,
            queue_seconds=0.0,
            compute_seconds=compute_s * (requests + failures),
            executions=requests + failures,
            pending=pending,
        )
        telemetry = Telemetry(worker=worker, at=self.now, seconds=1.0, instances=(done,))
        self.core.telemetry(telemetry, self.now)

    # -- what there is -----------------------------------------------------------------------------

    def instances(self, model: str | None = None) -> list[PlacedInstance]:
        return [
            i for p in self.table.values() if model in (None, p.spec.model) for i in p.instances
        ]

    def ready(self, model: str, version: int | None = None) -> list[PlacedInstance]:
        return [
            i for i in self.instances(model) if i.state == "ready" and version in (None, i.version)
        ]

    def events(self, order: Order | None = None) -> list[str]:
        """What was said, of one order or of all."""
        wanted = None if order is None else order.id
        return [s.event for s in self.statuses if wanted in (None, s.order)]

    def outcomes(self, order: Order) -> list[str]:
        return [s.event for s in self.statuses if s.is_outcome and s.order == order.id]

    def said(self, event: str) -> Sequence[str]:
        return [s.reason for s in self.statuses if s.event == event]

    def shape(self) -> dict[str, tuple[int, int, int, str]]:
        """Of each model: version, instances that are ready, and those that are not."""
        return {
            model: (
                p.spec.version,
                sum(i.state == "ready" for i in p.instances),
                sum(i.state != "ready" for i in p.instances),
                "rolling" if p.rollout else "leaving" if p.leaving else "still",
            )
            for model, p in sorted(self.table.items())
        }


def memory_is_kept(world: World) -> None:
    """No GPU is given more than its memory holds, neither as placed nor as loaded."""
    limit = MEMORY_SHARE * world.gpu_gb * GB
    placed: dict[str, int] = {}
    for i in world.instances():
        placed[i.gpu] = placed.get(i.gpu, 0) + i.memory_bytes
    for worker in world.workers.values():
        loaded: dict[str, int] = {}
        for i in worker.running.values():
            loaded[i.gpu] = loaded.get(i.gpu, 0) + i.memory_bytes
        assert all(used <= limit for used in loaded.values()), loaded
    assert all(used <= limit for used in placed.values()), placed


def broken(version: int) -> Callable[[PlacedInstance], str | None]:
    """A fault of all instances of a version: they do not load."""

    def fault(instance: PlacedInstance) -> str | None:
        return "no such file" if instance.version == version else None

    return fault
