"""Instances, GPUs and requests in simulated time, whoever controls them."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from evaluation.serving.cases import Changes, Outcome, Policy, ServingCase
from evaluation.serving.hardware import EmulatedGpu
from evaluation.serving.instances import Door, Emulated
from evaluation.serving.traffic import Traffic
from evaluation.simulation.events import Loop, Rank
from roomie.control.autoscaling import build_autoscaler
from roomie.placers import build_placer
from roomie.profiles import Variant


class Run(ABC):
    """Instances, GPUs and requests; how they are controlled is the subclass's.

    Args:
        case: what on what.
        policy: who decides.
        traffic: what comes.
        seed: of a placer that draws.
    """

    lead_s = 0.0
    """Seconds before the first request in which instances are brought up."""

    def __init__(self, case: ServingCase, policy: Policy, traffic: Traffic, seed: int) -> None:
        self.case = case
        self.policy = policy
        self.traffic = traffic
        self.loop = Loop()
        self.placer = build_placer(policy.placer, case.costs, seed=seed)
        self.autoscaler = build_autoscaler(policy.autoscaler)
        self.forecast = policy.forecast() if policy.forecast is not None else None
        self.gpus = {
            f"gpu-{i}": EmulatedGpu(self.loop, case.hardware.sharing) for i in range(case.gpus)
        }
        self.doors = {model: Door() for model in case.models}
        self.instances: dict[str, Emulated] = {}
        self.changes = Changes()
        self._sent_at: list[float] = (traffic.at_s + self.lead_s).tolist()
        self._done_at = [float("nan")] * len(traffic)

    @abstractmethod
    def begin(self) -> None:
        """Have one instance of each model, by the time that the first request comes."""

    @abstractmethod
    def control(self) -> None:
        """Look at everything, once a tick."""

    @abstractmethod
    def unloaded(self, instance: Emulated) -> None:
        """A drained instance is gone."""

    def run(self) -> Outcome:
        """All of the traffic, and as long as clients wait for its last answers."""
        self.begin()
        loop, end = self.loop, self.lead_s + self.traffic.seconds
        loop.run(self.lead_s)
        busy_before = self._busy_s()
        self._tick()
        entrances = [self.doors[self.case.models[m]].enter for m in self.traffic.model.tolist()]
        for request, at in enumerate(self._sent_at):
            loop.run(at)
            entrances[request](request)
        loop.run(end)
        busy = self._busy_s() - busy_before
        loop.run(end + self.case.patience_s)
        response = np.array(self._done_at) - np.array(self._sent_at)
        answered = response <= self.case.patience_s  # not so where it is NaN: not served
        return Outcome(
            policy=self.policy.name,
            sent=len(self.traffic),
            response_s=response[answered],
            model=self.traffic.model[answered],
            seconds=float(self.traffic.seconds),
            patience_s=self.case.patience_s,
            utilisation=busy / (self.traffic.seconds * self.case.gpus),
            changes=self.changes,
        )

    def _busy_s(self) -> float:
        return sum(gpu.busy_s() for gpu in self.gpus.values())

    def _tick(self) -> None:
        if self.loop.now > self.lead_s:
            self.control()
            self.changes.instances.append(len(self.instances))
        if self.loop.now < self.lead_s + self.traffic.seconds - 1e-9:
            self.loop.at(self.loop.now + self.case.tick_s, Rank.TICK, self._tick)

    # -- instances ------------------------------------------------------------------------------

    def start(
        self, name: str, variant: Variant, gpu: str, *, speed: float, extra: bool, loaded: bool
    ) -> Emulated:
        """Start an instance.

        Args:
            name: unique.
            variant: model, and its largest batch.
            gpu: where.
            speed: items a second that it is expected to serve.
            extra: whether autoscaling adds it.
            loaded: whether it is ready at once.
        """
        case, timing = self.case, self.case.hardware.timings[variant.model]
        instance = Emulated(
            name=name,
            variant=variant,
            gpu=self.gpus[gpu],
            timing=timing,
            speed=speed,
            extra=extra,
            loop=self.loop,
            sent_at=self._sent_at,
            patience_s=case.patience_s,
            answer=self._answer,
            idle=self._rest,
        )
        self.instances[name] = instance
        if loaded:
            self._open(instance)
        else:
            seconds = case.load_s + timing.weight_bytes / case.load_bytes_s
            self.loop.at(self.loop.now + seconds, Rank.FAULT, lambda: self._open(instance))
        return instance

    def _open(self, instance: Emulated) -> None:
        if not instance.draining:
            instance.ready = True
            self.doors[instance.variant.model].admit(instance)

    def drain(self, instance: Emulated) -> None:
        """Send it no more requests; when it has served what it has, it goes."""
        instance.draining = True
        if instance.ready:
            self.doors[instance.variant.model].leave(instance)
        if instance.resting:
            self._rest(instance)

    def _rest(self, instance: Emulated) -> None:
        """A drained instance is unloaded; what others do is wait."""
        if instance.draining and self.instances.pop(instance.name, None) is not None:
            self.unloaded(instance)

    def _answer(self, requests: list[int]) -> None:
        now, done = self.loop.now, self._done_at
        for request in requests:
            done[request] = now
