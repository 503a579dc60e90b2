"""Balancers by the names that topics.yaml uses: entry points of ``videojam.balancers``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agents.balancing.balancer import Balancer
from agents.balancing.baselines import (
    NoBalancing,
    ShortestQueue,
    WeightedRoundRobin,
    intended_weights,
    original_weights,
)
from agents.balancing.pull import SharedQueue
from agents.balancing.settings import BalancingSettings
from agents.balancing.values import Forecast
from agents.balancing.videojam import VideoJam
from dataflow.config.model import BALANCERS as GROUP
from dataflow.errors import ConfigError
from dataflow.plugins import load_plugin

BALANCERS = ("videojam", "none", "wrr", "shared-queue", "jsq")
"""Those that ship."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a balancer is to work.

    Attributes:
        replica: its replica's name.
        incarnation: which life of it.
        now: seconds.
        forecast: arrivals of all replicas in one call.
        settings: of balancing; what a balancer has no use for, it leaves.
        batch: largest batch of the function.
        parameters: of this balancer, from ``balancing.parameters``; it validates them.
    """

    replica: str
    incarnation: str
    now: float
    forecast: Forecast
    settings: BalancingSettings = field(default_factory=BalancingSettings)
    batch: int = 1
    parameters: Mapping[str, object] = field(default_factory=dict)

    @property
    def common(self) -> dict[str, Any]:
        """Arguments that all balancers of ours take."""
        return {
            "replica": self.replica,
            "incarnation": self.incarnation,
            "now": self.now,
            "settings": self.settings,
        }


BalancerFactory = Callable[[Place], Balancer]
"""What an entry point names. It raises `ConfigError` for parameters that it does not know."""


def make_balancer(name: str, place: Place) -> Balancer:
    """A balancer for one replica.

    Args:
        name: its entry point.
        place: where it is to work.

    Raises:
        ConfigError: no balancer has that name, it cannot be loaded, or its parameters are wrong.
        MissingDependencyError: it needs a package that is not installed.
    """
    factory: BalancerFactory = load_plugin(
        GROUP,
        name,
        what="balancer",
        interface="a factory that takes an agents.balancing.Place and returns a Balancer",
        key="balancing.policy",
    )
    return factory(place)


def _no_parameters(place: Place, *but: str) -> None:
    unknown = sorted(set(place.parameters) - set(but))
    if unknown:
        raise ConfigError(
            "the balancer has no such parameter",
            key=f"balancing.parameters.{unknown[0]}",
            value=place.parameters[unknown[0]],
            remedy=f"its parameters: {', '.join(but)}" if but else "it has none: leave it out",
        )


def _flag(place: Place, name: str) -> bool:
    value = place.parameters.get(name, False)
    if not isinstance(value, bool):
        raise ConfigError(
            "true or false is expected", key=f"balancing.parameters.{name}", value=value
        )
    return value


def build_videojam(place: Place) -> VideoJam:
    """The thesis' balancer."""
    _no_parameters(place)
    return VideoJam(**place.common, forecast=place.forecast)


def build_none(place: Place) -> NoBalancing:
    """Items stay where Kafka puts them."""
    _no_parameters(place)
    return NoBalancing(**place.common)


def build_wrr(place: Place) -> WeightedRoundRobin:
    """Weighted round robin.

    Parameters: ``original_weights``: as the thesis' authors compute them, which distorts 1:2:3 to
    2:3:4. ``keep_dead``: go on sending to neighbours that are silent, as the original does.
    """
    _no_parameters(place, "keep_dead", "original_weights")
    weigh = original_weights if _flag(place, "original_weights") else intended_weights
    return WeightedRoundRobin(**place.common, weigh=weigh, keep_dead=_flag(place, "keep_dead"))


def build_shared_queue(place: Place) -> SharedQueue:
    """Idle replicas ask for work; a batch is kept in reserve."""
    _no_parameters(place)
    return SharedQueue(**place.common, reserve=place.batch)


def build_jsq(place: Place) -> ShortestQueue:
    """Each item goes where it is done first."""
    _no_parameters(place)
    return ShortestQueue(**place.common)
