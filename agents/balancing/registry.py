"""Balancers by the names that topics.yaml uses: entry points of ``videojam.balancers``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import StrictBool

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
from dataflow.errors import ConfigError, VideojamError
from dataflow.parameters import Parameters, parse_parameters
from dataflow.plugins import load_plugin

BALANCERS = ("videojam", "none", "wrr", "shared-queue", "jsq")
"""Those that ship."""
_KEY = "balancing.policy"


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
"""What an entry point names. It raises `ConfigError` for parameters that it does not know, under
keys that begin with ``balancing.parameters``: `dataflow.parameters.parse_parameters` does."""


def make_balancer(name: str, place: Place) -> Balancer:
    """A balancer for one replica.

    Args:
        name: its entry point.
        place: where it is to work.

    Raises:
        ConfigError: no balancer has that name, it cannot be loaded or made, or its parameters are
            wrong.
        MissingDependencyError: it needs a package that is not installed.
        VideojamError: whatever else it raises on purpose.
    """
    factory: BalancerFactory = load_plugin(
        GROUP,
        name,
        what="balancer",
        interface="a factory that takes an agents.balancing.Place and returns a Balancer",
        key=_KEY,
    )
    try:
        return factory(place)
    except VideojamError:
        raise
    except Exception as error:
        raise ConfigError(
            f"the balancer {name!r} cannot be made: {type(error).__name__}: {error}",
            key=_KEY,
            value=name,
            remedy="correct it, or name another one",
        ) from error


class NoParameters(Parameters):
    """Of a balancer that has none."""


class WrrParameters(Parameters):
    """Of `build_wrr`."""

    original_weights: StrictBool = False
    """As the thesis' authors compute them, which distorts 1:2:3 to 2:3:4."""
    keep_dead: StrictBool = False
    """Go on sending to neighbours that are silent, as the original does."""


_Model = TypeVar("_Model", bound=Parameters)


def _parameters(place: Place, model: type[_Model]) -> _Model:
    return parse_parameters(model, place.parameters, "balancing.parameters")


def build_videojam(place: Place) -> VideoJam:
    """The thesis' balancer."""
    _parameters(place, NoParameters)
    return VideoJam(**place.common, forecast=place.forecast)


def build_none(place: Place) -> NoBalancing:
    """Items stay where Kafka puts them."""
    _parameters(place, NoParameters)
    return NoBalancing(**place.common)


def build_wrr(place: Place) -> WeightedRoundRobin:
    """Weighted round robin; see `WrrParameters`."""
    parameters = _parameters(place, WrrParameters)
    weigh = original_weights if parameters.original_weights else intended_weights
    return WeightedRoundRobin(**place.common, weigh=weigh, keep_dead=parameters.keep_dead)


def build_shared_queue(place: Place) -> SharedQueue:
    """Idle replicas ask for work; a batch is kept in reserve."""
    _parameters(place, NoParameters)
    return SharedQueue(**place.common, reserve=place.batch)


def build_jsq(place: Place) -> ShortestQueue:
    """Each item goes where it is done first."""
    _parameters(place, NoParameters)
    return ShortestQueue(**place.common)
