"""A cluster that serves: the production placer, autoscaler and batching over emulated GPUs.

What the controller does is played here, since it decides with the same three objects: once a tick
it tells the autoscaler what each model's instances did, has the placer place what is to come, and
drains what is to go.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

from evaluation.serving.cases import Outcome, Policy, ServingCase
from evaluation.serving.instances import Emulated
from evaluation.serving.simulation import Run
from evaluation.serving.traffic import Traffic
from roomie.cluster import ClusterState, Gpu, Request
from roomie.control.batching import batching_window
from roomie.control.duties import duties, duty_of_next
from roomie.control.scaling_types import InstanceLoad, ModelLoad
from roomie.plans import predict

_HISTORY_S = 50
"""Seconds of arrivals that a forecaster sees."""


def serve(case: ServingCase, policy: Policy, traffic: Traffic, *, seed: int = 0) -> Outcome:
    """Serve some traffic under a policy.

    Args:
        case: what on what.
        policy: who decides.
        traffic: the same for each policy that is compared.
        seed: of a placer that draws.
    """
    return DirectRun(case, policy, traffic, seed).run()


class DirectRun(Run):
    """The placer and the autoscaler, with nothing between them and the instances."""

    def __init__(self, case: ServingCase, policy: Policy, traffic: Traffic, seed: int) -> None:
        super().__init__(case, policy, traffic, seed)
        device = case.hardware.device
        self._state = ClusterState(
            [Gpu(id=gpu, node=f"node-{n // 4}", device=device) for n, gpu in enumerate(self.gpus)]
        )
        self._named = 0
        self._homeless: list[Request] = []
        """Always wanted, and without a place so far."""
        self._arrivals: dict[str, deque[float]] = {
            model: deque(maxlen=_HISTORY_S) for model in case.models
        }

    def begin(self) -> None:
        """See `Run.begin`."""
        first = [self._request(model, extra=False) for model in self.case.models]
        self._place(first, loaded=True)

    def _request(self, model: str, *, extra: bool, duty: float = 1.0) -> Request:
        self._named += 1
        return Request(
            id=f"{model}-{self._named}",
            model=model,
            latency_s=self.case.latency_s,
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

    def _place(self, requests: Sequence[Request], *, loaded: bool) -> None:
        plan = self.placer.place(self._state, requests)
        if plan.moves:
            raise RuntimeError(f"{self.policy.placer} moves instances; that is not emulated")
        self._state = plan.state
        for removal in plan.removals:
            self.drain(self.instances[removal.instance])
        speeds = {own.instance.id: own.throughput for own in predict(self._state, self.case.costs)}
        for decision in plan.decisions:
            request = decision.request
            if decision.gpu is not None and decision.variant is not None:
                self.start(
                    request.id,
                    decision.variant,
                    decision.gpu,
                    speed=speeds[request.id],
                    extra=request.removable,
                    loaded=loaded,
                )
            elif request.removable:
                self.changes.refused += 1
            else:
                self._homeless.append(request)

    def unloaded(self, instance: Emulated) -> None:
        """See `Run.unloaded`."""
        if instance.name in self._state.instances:  # the placer may have taken it out already
            self._state = self._state.without([instance.name])

    # -- control --------------------------------------------------------------------------------

    def control(self) -> None:
        """See `Run.control`."""
        now, case = self.loop.now, self.case
        came: dict[str, float] = {}
        for instance in self.instances.values():
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
        scales = self.autoscaler.decide(tuple(loads.values()), now)
        more = Counter(scale.model for scale in scales if scale.change > 0)
        wanted = [
            self._request(model, extra=True, duty=duty_of_next(loads[model], count))
            for model, count in more.items()
            for _ in range(count)
        ]
        for scale in scales:
            if scale.change < 0:
                self.changes.downs += 1
                self.drain(self.instances[str(scale.instance)])
        homeless, self._homeless = self._homeless, []
        if wanted or homeless:
            self._note_duties(duties(tuple(loads.values())))
            refused = self.changes.refused
            self._place([*homeless, *wanted], loaded=False)
            self.changes.ups += len(wanted) - (self.changes.refused - refused)

    def _expected(self, came: dict[str, float]) -> dict[str, float | None]:
        if self.forecast is None:
            return {}
        for model, known in self._arrivals.items():
            # Of a tick only the sum is known.
            seconds = max(1, round(self.case.tick_s))
            known.extend([came.get(model, 0.0) / self.case.tick_s] * seconds)
        return {
            model: self.forecast(model, tuple(known)) for model, known in self._arrivals.items()
        }

    def _load(self, model: str, expected: float | None) -> ModelLoad:
        ready = self.doors[model].open
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
                for instance in self.instances.values()
            ),
            minimum=1,
            maximum=self.case.most,
            forecast=expected,
        )
