"""What Fig 4.2 to 4.5 of the thesis serve on what, under which policies, and runs of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evaluation.serving.cases import Outcome, Policy, ServingCase
from evaluation.serving.hardware import Hardware
from evaluation.serving.traffic import (
    Rates,
    Traffic,
    draw_traffic,
    gaussian_rates,
    popularity,
    trace_rates,
)
from roomie.control.scaling_types import ForecastArrivals
from roomie.costs import PairCosts
from roomie.profiles import ProfileStore, Variant

ROOMIE = "roomie"
INFAAS = "infaas"
GPUS = 12
_STREAM = 42
"""Of the random numbers of traffic, beside the number of the run."""

POLICIES: dict[str, tuple[str, str]] = {
    ROOMIE: ("roomie", "roomie"),
    INFAAS: ("infaas", "infaas"),
    "usher": ("usher", "infaas"),
    "least-loaded": ("least-loaded", "infaas"),
    "random": ("random", "infaas"),
    "roomie, infaas scaling": ("roomie", "infaas"),
    "infaas, roomie scaling": ("infaas", "roomie"),
    "least-loaded, roomie scaling": ("least-loaded", "roomie"),
}
"""Placer and autoscaler. The thesis' harness scales the other placers as INFaaS."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What a figure of the thesis is about.

    Attributes:
        name: its number.
        device: kind of the 12 GPUs.
        models: how many: those with the shortest inference on that kind.
        twitter: whether requests follow the trace; Gaussian rates otherwise.
        claim: how many times faster than INFaaS the thesis says that ROOMIE answers.
    """

    name: str
    device: str
    models: int
    twitter: bool
    claim: float


FIGURES = {
    figure.name: figure
    for figure in (
        Figure(name="4.2", device="A100-SXM4-40GB", models=19, twitter=True, claim=17),
        Figure(name="4.3", device="A100-SXM4-40GB", models=19, twitter=False, claim=9.2),
        Figure(name="4.4", device="AGX-Xavier", models=12, twitter=True, claim=8.3),
        Figure(name="4.5", device="AGX-Xavier", models=12, twitter=False, claim=9),
    )
}

Results: TypeAlias = dict[float, dict[str, list[Outcome]]]
"""Runs by load and policy."""


class Play(Protocol):
    """Serves traffic under a policy: `controlled.serve_controlled`, or `direct.serve`."""

    def __call__(
        self, case: ServingCase, policy: Policy, traffic: Traffic, /, *, seed: int = 0
    ) -> Outcome:
        """What came of it."""


def policy_named(name: str, forecast: Callable[[], ForecastArrivals] | None) -> Policy:
    """One of `POLICIES`; the forecast is for ROOMIE's autoscaler, the only one that takes any."""
    placer, autoscaler = POLICIES[name]
    return Policy(
        name=name,
        placer=placer,
        autoscaler=autoscaler,
        forecast=forecast if autoscaler == ROOMIE else None,
    )


def case_of(
    figure: Figure,
    store: ProfileStore,
    *,
    latency_s: float | None,
    windows: bool,
    patience_s: float,
) -> ServingCase:
    """What a figure serves on what.

    Args:
        figure: which one.
        store: profiles.
        latency_s: see `ServingCase`, as for the others.
        windows: see there.
        patience_s: see there.
    """
    device = store.devices.device(figure.device)

    def alone(model: str) -> float:
        profile = store.find(Variant(model, 1), device)
        return profile.inference_time_s if profile is not None else float("inf")

    models = tuple(sorted(store.models, key=alone)[: figure.models])
    return ServingCase(
        models=models,
        gpus=GPUS,
        hardware=Hardware(store, device, models),
        costs=PairCosts(store),
        most=GPUS,
        patience_s=patience_s,
        latency_s=latency_s,
        windows=windows,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Demand:
    """What requests come to a figure's models.

    Attributes:
        trace: requests of each second; None for Gaussian rates.
        seconds: how long.
        exponent: of Zipf's law over the models.
        variation: of Gaussian rates, standard deviation over the mean.
        speed: seconds of the trace that pass in one.
    """

    trace: Rates | None
    seconds: int
    exponent: float
    variation: float
    speed: int

    def draw(self, case: ServingCase, load: float, number: int) -> Traffic:
        """Requests of one run, the same for every policy.

        Args:
            case: whose models are asked for.
            load: of all GPUs, 1 if each ran one full batch after the other.
            number: of the run; other numbers, other traffic.
        """
        generator = np.random.default_rng((number, _STREAM))
        shares = popularity(len(case.models), self.exponent, generator)
        rate = load * case.gpus / float(shares @ _seconds_each(case))
        if self.trace is not None:
            rates = trace_rates(
                self.trace, seconds=self.seconds, mean=rate, generator=generator, speed=self.speed
            )
        else:
            rates = gaussian_rates(
                seconds=self.seconds, mean=rate, variation=self.variation, generator=generator
            )
        return draw_traffic(rates, shares, generator)


def _seconds_each(case: ServingCase) -> NDArray[np.float64]:
    """GPU seconds that a request of each model takes in its most efficient batch, alone."""
    return np.array(
        [
            min(seconds / count for count, seconds in enumerate(timing.seconds) if count)
            for timing in (case.hardware.timings[model] for model in case.models)
        ]
    )


def serve_all(
    case: ServingCase,
    policies: Sequence[Policy],
    demand: Demand,
    *,
    loads: Sequence[float],
    seeds: Sequence[int],
    play: Play,
    advance: Callable[[float, str], None] = lambda _load, _policy: None,
) -> Results:
    """Serve every load under every policy.

    Args:
        case: what on what.
        policies: that are compared.
        demand: what requests come.
        loads: see `Demand.draw`.
        seeds: one of each run.
        play: how a run is played.
        advance: told the load and the policy of each run that begins.
    """
    results: Results = {load: {policy.name: [] for policy in policies} for load in loads}
    for load in loads:
        for number in seeds:
            requests = demand.draw(case, load, number)
            for policy in policies:
                advance(load, policy.name)
                results[load][policy.name].append(play(case, policy, requests, seed=number))
    return results
