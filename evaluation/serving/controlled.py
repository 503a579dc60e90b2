"""The same cluster under the whole of the controller's core: deploys, reports, telemetry, ticks.

What is played are the worker agents (one a node of four GPUs), which load what is placed, drain
what is to go, report it and measure it, and Kafka, which delivers at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from evaluation.serving.cases import Outcome, Policy, ServingCase
from evaluation.serving.instances import Emulated
from evaluation.serving.simulation import Run
from evaluation.serving.traffic import Traffic
from evaluation.simulation.events import Rank
from roomie.control.batching import batching_window
from roomie.control.core import Core
from roomie.control.placing import Planner
from roomie.control.records import (
    GpuReport,
    InstanceReport,
    InstanceTelemetry,
    ModelSpec,
    Order,
    PlacedInstance,
    Telemetry,
    WorkerReport,
)
from roomie.profiles import Variant

_REPORT_S = 1.0
"""Between two reports of a worker, and between two of its measurements."""
_GPUS_A_NODE = 4


@dataclass
class _Worker:
    """A worker agent.

    Attributes:
        name: its own and its node's.
        gpus: the simulation's GPU of each that it reports, by id.
    """

    name: str
    gpus: dict[str, str] = field(default_factory=dict)


def serve_controlled(
    case: ServingCase, policy: Policy, traffic: Traffic, *, seed: int = 0
) -> Outcome:
    """As `direct.serve`, under the controller's core."""
    return ControlledRun(case, policy, traffic, seed).run()


class ControlledRun(Run):
    """See the module."""

    lead_s = 10.0

    def __init__(self, case: ServingCase, policy: Policy, traffic: Traffic, seed: int) -> None:
        super().__init__(case, policy, traffic, seed)
        self._core = Core(
            Planner(self.placer, case.costs, case.costs.store.devices),
            autoscaler=self.autoscaler,
            batching=batching_window if case.windows else None,
            forecast=self.forecast,
        )
        self._workers: dict[str, _Worker] = {}
        for n, gpu in enumerate(self.gpus):
            name = f"node-{n // _GPUS_A_NODE}"
            worker = self._workers.setdefault(name, _Worker(name))
            worker.gpus[f"{name}/{n % _GPUS_A_NODE}"] = gpu
        self._owner: dict[str, str] = {}
        """Worker of each instance that runs."""

    def begin(self) -> None:
        """See `Run.begin`."""
        self._report()
        for number, model in enumerate(self.case.models):
            spec = ModelSpec(model=model, max_instances=self.case.most, latency=self.case.latency_s)
            order = Order(
                id=f"order-{number}", type="deploy", source="serving", at=0.0, model=model,
                spec=spec,
            )  # fmt: skip
            self._core.order(order, self.loop.now)
            self._carry_out()
        self._rhythm()

    def _rhythm(self) -> None:
        """Workers report and measure, then the controller ticks, each second."""
        now = self.loop.now
        self._carry_out()
        self._report()
        self._measure()
        for status in self._core.tick(now).statuses:
            # What is taken away is named; what is to come has no name yet.
            self.changes.ups += status.event == "scaled" and not status.instances
            self.changes.downs += status.event == "scaled" and bool(status.instances)
            self.changes.refused += status.event == "deferred"
        self._carry_out()
        if now < self.lead_s + self.traffic.seconds:
            self.loop.at(now + _REPORT_S, Rank.TICK, self._rhythm)

    def control(self) -> None:
        """See `Run.control`; the controller has its own rhythm."""

    def unloaded(self, instance: Emulated) -> None:
        """See `Run.unloaded`; the next report says so."""
        self._owner.pop(instance.name, None)

    # -- the workers' part ------------------------------------------------------------------------

    def _carry_out(self) -> None:
        """Make what runs like what is placed."""
        placed = {i.id: (p.spec.model, i) for p, i in self._core.book.instances()}
        for name, (model, wanted) in placed.items():
            running = self.instances.get(name)
            if running is None:
                if wanted.state in ("pending", "loading"):
                    self._load(model, wanted)
                continue
            running.window_s = wanted.window
            running.speed = wanted.speed * wanted.weight
            if wanted.state == "draining" and not running.draining:
                self.drain(running)
        for name in [n for n in self.instances if n not in placed]:
            if not self.instances[name].draining:
                self.drain(self.instances[name])

    def _load(self, model: str, wanted: PlacedInstance) -> None:
        worker = self._workers[wanted.worker]
        self._owner[wanted.id] = wanted.worker
        self.start(
            wanted.id,
            Variant(model, wanted.batch),
            worker.gpus[wanted.gpu],
            speed=wanted.speed,
            extra=wanted.extra,
            loaded=False,
        )

    def _report(self) -> None:
        now, device = self.loop.now, self.case.hardware.device.name
        for worker in self._workers.values():
            reports = tuple(
                InstanceReport(
                    id=name,
                    state="draining" if own.draining else "ready" if own.ready else "loading",
                )
                for name, own in self.instances.items()
                if self._owner.get(name) == worker.name
            )
            report = WorkerReport(
                worker=worker.name,
                node=worker.name,
                incarnation="1",
                url=f"{worker.name}:8001",
                gpus=tuple(GpuReport(id=gpu, device=device) for gpu in worker.gpus),
                at=now,
                lease=5.0,
                server_ready=True,
                instances=reports,
            )
            self._core.worker(report, now)

    def _measure(self) -> None:
        now = self.loop.now
        for worker in self._workers.values():
            parts = []
            for name, own in self.instances.items():
                if self._owner.get(name) != worker.name or not own.ready:
                    continue
                speed = own.speed
                meter = own.read_meter(_REPORT_S)
                own.speed = speed  # what clients go by is what the controller says
                parts.append(
                    InstanceTelemetry(
                        id=name,
                        requests=meter.answered,
                        failures=0,
                        items=meter.answered,
                        queue_seconds=0.0,
                        compute_seconds=meter.compute_s,
                        executions=meter.batches,
                        pending=len(own.queue),
                    )
                )
            telemetry = Telemetry(
                worker=worker.name, at=now, seconds=_REPORT_S, instances=tuple(parts)
            )
            self._core.telemetry(telemetry, now)
