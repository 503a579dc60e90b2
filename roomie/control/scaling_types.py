"""What autoscaling is told of the models, and what it answers: immutable values.

The controller fills in the loads once a tick; `Autoscaler` decides. Neither reads a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceLoad:
    """An instance that serves.

    Attributes:
        id: which one.
        speed: items a second that it can serve, measured or else predicted; 0 while unknown.
        pending: items that wait for it.
        arrivals_per_s: items a second that came to it, lately.
        extra: whether autoscaling added it: only such a one may be taken away.
    """

    id: str
    speed: float
    pending: float
    arrivals_per_s: float
    extra: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLoad:
    """A model that may be scaled.

    Attributes:
        model: which one.
        instances: those that serve, by id; those that are on their way are not among them.
        coming: instances that are placed and not ready yet.
        minimum: fewest instances.
        maximum: most instances.
        shortage: items a second that its users lack, by VIDEOJAM's capacity events; 0 without.
        forecast: items a second expected to come soon; None without a forecaster.
    """

    model: str
    instances: tuple[InstanceLoad, ...]
    coming: int = 0
    minimum: int
    maximum: int
    shortage: float = 0.0
    forecast: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """One instance more or less.

    Attributes:
        model: of which model.
        change: 1 or -1.
        instance: which one goes; None where one is added, or where any may go.
        reason: why, in a sentence.
    """

    model: str
    change: Literal[1, -1]
    instance: str | None
    reason: str


class Autoscaler(Protocol):
    """Decides who grows and who shrinks. May remember what it decided; reads no clock."""

    def decide(self, loads: Sequence[ModelLoad], now: float) -> Sequence[Scale]:
        """Look at all models that may be scaled.

        Args:
            loads: of each, by name.
            now: seconds; never goes back.

        Returns:
            What to change. The controller refuses what would break a model's limits.
        """
        ...


class BatchingWindow(Protocol):
    """How long a server waits for a batch to fill, as things are."""

    def __call__(
        self, arrivals_per_s: float, batch: int, latency_s: float | None, compute_s: float
    ) -> float:
        """Seconds.

        Args:
            arrivals_per_s: items a second that come to the instance.
            batch: its largest batch.
            latency_s: most that an answer may take, waiting included; None for no objective.
            compute_s: what an inference of a full batch takes, interference included.
        """
        ...


class ForecastArrivals(Protocol):
    """What is expected to come, from what came."""

    def __call__(self, model: str, arrivals: Sequence[float]) -> float | None:
        """Items a second expected soon; None where nothing can be said.

        Args:
            model: of which model.
            arrivals: items a second that came, of past seconds, the oldest first.
        """
        ...
