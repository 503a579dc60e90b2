"""A cluster that serves: the production placer, autoscaler and batching over emulated GPUs.

What the controller does is played here, since it decides with the same three objects: once a tick
it tells the autoscaler what each model's instances did, has the placer place what is to come, and
drains what is to go.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from evaluation.serving.hardware import EmulatedGpu, Hardware
from evaluation.serving.instances import Door, Emulated
from evaluation.serving.traffic import Traffic
from evaluation.simulation.events import Loop, Rank
from roomie.cluster import ClusterState, Gpu, Request
from roomie.control.autoscaling import build_autoscaler
from roomie.control.batching import batching_window
from roomie.control.duties import duties, duty_of_next
from roomie.control.scaling_types import ForecastArrivals, InstanceLoad, ModelLoad
from roomie.costs import PairCosts
from roomie.placers import build_placer
from roomie.plans import Decision, predict

_HISTORY_S = 50
"""Seconds of arrivals that a forecaster sees."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Who decides.

    Attributes:
        name: to show.
        placer: entry point.
        autoscaler: entry point.
        forecast: makes a forecast of arrivals for a run; None for none.
    """

    name: str
    placer: str
    autoscaler: str
    forecast: Callable[[], ForecastArrivals] | None = None


@dataclass(frozen=True, kw_only=True)
class ServingCase:
    """What is served on what.

    Attributes:
        models: names, by the indices of the traffic.
        gpus: how many.
        hardware: their kind, and what models take on it.
        costs: what placers are told.
        most: instances that a model may have.
        patience_s: after which a client gives a request up.
        tick_s: between two looks of the controller.
        load_s: to start an instance, without reading its weights.
        load_bytes_s: at which weights are read.
        latency_s: objective of every model, for placers and batching windows; None for none.
        windows: whether servers wait for batches to fill, as far as the objective lets them.
    """

    models: tuple[str, ...]
    gpus: int
    hardware: Hardware
    costs: PairCosts
    most: int
    patience_s: float = 10.0
    tick_s: float = 2.0
    load_s: float = 1.4
    load_bytes_s: float = 1e9
    latency_s: float | None = None
    windows: bool = True


@dataclass(slots=True)
class Changes:
    """What was decided.

    Attributes:
        ups: instances that autoscaling added.
        downs: that it took away.
        refused: that found no place.
        instances: serving or coming, at each tick.
    """

    ups: int = 0
    downs: int = 0
    refused: int = 0
    instances: list[int] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What came of a run.

    Attributes:
        policy: whose.
        sent: requests.
        response_s: of those that were answered in time, seconds.
        model: index of each of these.
        seconds: of traffic.
        patience_s: after which requests were given up.
        utilisation: share of the time that a GPU computed anything, mean over GPUs.
        changes: what was decided.
    """

    policy: str
    sent: int
    response_s: NDArray[np.float64]
    model: NDArray[np.intp]
    seconds: float
    patience_s: float
    utilisation: float
    changes: Changes

    @property
    def processed(self) -> float:
        """Share of the requests that were answered in time."""
        return len(self.response_s) / self.sent if self.sent else 1.0

    @property
    def throughput(self) -> float:
        """Answers a second."""
        return len(self.response_s) / self.seconds

    @property
    def mean_s(self) -> float:
        """Response time; infinite where nothing was answered."""
        return float(self.response_s.mean()) if len(self.response_s) else float("inf")

    @property
    def mean_with_lost_s(self) -> float:
        """Response time where what was not answered counts as long as clients waited for it."""
        lost = self.sent - len(self.response_s)
        total = float(self.response_s.sum()) + lost * self.patience_s
        return total / self.sent if self.sent else 0.0

    def quantile_s(self, share: float) -> float:
        """Of the response time."""
        if not len(self.response_s):
            return float("inf")
        return float(np.quantile(self.response_s, share))


def serve(case: ServingCase, policy: Policy, traffic: Traffic, *, seed: int = 0) -> Outcome:
    """Serve some traffic under a policy.

    Args:
        case: what on what.
        policy: who decides.
        traffic: the same for each policy that is compared.
        seed: of a placer that draws.
    """
    return _Run(case, policy, traffic, seed).run()


class _Run:
    def __init__(self, case: ServingCase, policy: Policy, traffic: Traffic, seed: int) -> None:
        self._case = case
        self._policy = policy
        self._traffic = traffic
        self._loop = Loop()
        self._placer = build_placer(policy.placer, case.costs, seed=seed)
        self._autoscaler = build_autoscaler(policy.autoscaler)
        self._forecast = policy.forecast() if policy.forecast is not None else None
        self._arrivals: dict[str, deque[float]] = {
            model: deque(maxlen=_HISTORY_S) for model in case.models
        }
        device = case.hardware.device
        self._state = ClusterState(
            [Gpu(id=f"gpu-{i}", node=f"node-{i // 4}", device=device) for i in range(case.gpus)]
        )
        self._gpus = {
            gpu.id: EmulatedGpu(self._loop, case.hardware.sharing) for gpu in self._state.gpus
        }
        self._doors = {model: Door() for model in case.models}
        self._instances: dict[str, Emulated] = {}
        self._named = 0
        self._sent_at: list[float] = traffic.at_s.tolist()
        self._done_at = [float("nan")] * len(traffic)
        self._changes = Changes()
        self._homeless: list[Request] = []
        """Always wanted, and without a place so far."""

    def run(self) -> Outcome:
        first = [self._request(model, extra=False) for model in self._case.models]
        self._place(first, delay=False)
        loop, end = self._loop, self._traffic.seconds
        doors = [self._doors[model] for model in self._case.models]
        loop.at(self._case.tick_s, Rank.TICK, self._tick)
        entrances = [doors[model].enter for model in self._traffic.model.tolist()]
        for request, at in enumerate(self._sent_at):
            loop.run(at)
            entrances[request](request)
        loop.run(end)
        busy = sum(gpu.busy_s() for gpu in self._gpus.values())
        loop.run(end + self._case.patience_s)
        response = np.array(self._done_at) - self._traffic.at_s
        answered = response <= self._case.patience_s  # not so where it is NaN: not served
        return Outcome(
            policy=self._policy.name,
            sent=len(self._traffic),
            response_s=response[answered],
            model=self._traffic.model[answered],
            seconds=float(end),
            patience_s=self._case.patience_s,
            utilisation=busy / (end * self._case.gpus),
            changes=self._changes,
        )

    # -- instances ------------------------------------------------------------------------------

    def _request(self, model: str, *, extra: bool, duty: float = 1.0) -> Request:
        self._named += 1
        return Request(
            id=f"{model}-{self._named}",
            model=model,
            latency_s=self._case.latency_s,
            removable=extra,
            duty=duty,
        )

    def _note_duties(self, duties: Mapping[str, float]) -> None:
        """Tell the placer how busy each instance is."""
        self._state = self._state.with_residents(
            {
                row: [
                    replace(i, request=replace(i.request, duty=duties.get(i.id, i.request.duty)))
                    for i in on
                ]
                for row, on in enumerate(self._state.residents)
            }
        )

    def _place(self, requests: Sequence[Request], *, delay: bool) -> None:
        plan = self._placer.place(self._state, requests)
        if plan.moves:
            raise RuntimeError(f"{self._policy.placer} moves instances; that is not emulated")
        self._state = plan.state
        for removal in plan.removals:
            self._drain(self._instances[removal.instance])
        speeds = {own.instance.id: own.throughput for own in predict(self._state, self._case.costs)}
        for decision in plan.decisions:
            if decision.gpu is not None:
                self._start(decision, decision.gpu, speeds[decision.request.id], delay=delay)
            elif decision.request.removable:
                self._changes.refused += 1
            else:
                self._homeless.append(decision.request)

    def _start(self, decision: Decision, gpu: str, speed: float, *, delay: bool) -> None:
        if decision.variant is None:
            raise RuntimeError(f"{decision.request.id} was placed without a batch size")
        case, model = self._case, decision.request.model
        timing = case.hardware.timings[model]
        instance = Emulated(
            name=decision.request.id,
            variant=decision.variant,
            gpu=self._gpus[gpu],
            timing=timing,
            speed=speed,
            extra=decision.request.removable,
            loop=self._loop,
            sent_at=self._sent_at,
            patience_s=case.patience_s,
            answer=self._answer,
            idle=self._rest,
        )
        self._instances[instance.name] = instance
        seconds = case.load_s + timing.weight_bytes / case.load_bytes_s if delay else 0.0
        self._loop.at(self._loop.now + seconds, Rank.FAULT, lambda: self._open(instance))
        if not delay:
            self._loop.run(self._loop.now)

    def _open(self, instance: Emulated) -> None:
        if not instance.draining:
            instance.ready = True
            self._doors[instance.variant.model].admit(instance)

    def _drain(self, instance: Emulated) -> None:
        instance.draining = True
        if instance.ready:
            self._doors[instance.variant.model].leave(instance)
        if instance.resting:
            self._rest(instance)

    def _rest(self, instance: Emulated) -> None:
        """A drained instance is unloaded; what others do is wait."""
        if not instance.draining or self._instances.pop(instance.name, None) is None:
            return
        if instance.name in self._state.instances:  # the placer may have taken it out already
            self._state = self._state.without([instance.name])

    def _answer(self, requests: list[int]) -> None:
        now, done = self._loop.now, self._done_at
        for request in requests:
            done[request] = now

    # -- control --------------------------------------------------------------------------------

    def _tick(self) -> None:
        now, case = self._loop.now, self._case
        came: dict[str, float] = {}
        for instance in self._instances.values():
            meter = instance.read_meter(case.tick_s)
            model = instance.variant.model
            came[model] = came.get(model, 0.0) + meter.came
            batch = instance.variant.batch
            compute_s = case.hardware.timings[model].seconds[batch] * instance.stretch
            instance.window_s = batching_window(
                instance.rate, batch, case.latency_s if case.windows else None, compute_s
            )
        expected = self._expected(came)
        loads = {model: self._load(model, expected.get(model)) for model in case.models}
        scales = self._autoscaler.decide(tuple(loads.values()), now)
        more = Counter(scale.model for scale in scales if scale.change > 0)
        wanted = [
            self._request(model, extra=True, duty=duty_of_next(loads[model], count))
            for model, count in more.items()
            for _ in range(count)
        ]
        for scale in scales:
            if scale.change < 0:
                self._changes.downs += 1
                self._drain(self._instances[str(scale.instance)])
        homeless, self._homeless = self._homeless, []
        if wanted or homeless:
            self._note_duties(duties(tuple(loads.values())))
            refused = self._changes.refused
            self._place([*homeless, *wanted], delay=True)
            self._changes.ups += len(wanted) - (self._changes.refused - refused)
        self._changes.instances.append(len(self._instances))
        if now < self._traffic.seconds - 1e-9:
            self._loop.at(now + case.tick_s, Rank.TICK, self._tick)

    def _expected(self, came: dict[str, float]) -> dict[str, float | None]:
        if self._forecast is None:
            return {}
        for model, known in self._arrivals.items():
            # Of a tick only the sum is known.
            seconds = max(1, round(self._case.tick_s))
            known.extend([came.get(model, 0.0) / self._case.tick_s] * seconds)
        return {
            model: self._forecast(model, tuple(known)) for model, known in self._arrivals.items()
        }

    def _load(self, model: str, expected: float | None) -> ModelLoad:
        ready = self._doors[model].open
        return ModelLoad(
            model=model,
            instances=tuple(
                InstanceLoad(
                    id=instance.name,
                    speed=instance.speed,
                    pending=len(instance.queue),
                    arrivals_per_s=instance.rate,
                    extra=instance.extra,
                )
                for instance in sorted(ready, key=lambda instance: instance.name)
            ),
            coming=sum(
                instance.variant.model == model and not instance.ready and not instance.draining
                for instance in self._instances.values()
            ),
            minimum=1,
            maximum=self._case.most,
            forecast=expected,
        )
