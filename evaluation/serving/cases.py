"""What is served under which policy, and what came of it: values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evaluation.serving.hardware import Hardware
from roomie.control.scaling_types import ForecastArrivals
from roomie.costs import PairCosts


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
