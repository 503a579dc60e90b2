"""Balancers by the names that topics.yaml uses."""

from __future__ import annotations

from typing import Any, Literal, get_args

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

BalancerName = Literal["videojam", "none", "wrr", "shared-queue", "jsq"]
BALANCERS: tuple[BalancerName, ...] = get_args(BalancerName)


def make_balancer(
    name: BalancerName,
    *,
    replica: str,
    incarnation: str,
    now: float,
    forecast: Forecast,
    settings: BalancingSettings | None = None,
    batch: int = 1,
    wrr_original_weights: bool = False,
    wrr_keep_dead: bool = False,
) -> Balancer:
    """A balancer for one replica.

    Args:
        name: which.
        replica: its name.
        incarnation: which life of it.
        now: seconds.
        forecast: for ``videojam``.
        settings: defaults if None.
        batch: largest batch of the function: what ``shared-queue`` keeps in reserve.
        wrr_original_weights: the original's weights instead of the intended.
        wrr_keep_dead: whether ``wrr`` goes on sending to dead neighbours.
    """
    common: dict[str, Any] = {
        "replica": replica,
        "incarnation": incarnation,
        "now": now,
        "settings": BalancingSettings() if settings is None else settings,
    }
    match name:
        case "videojam":
            return VideoJam(**common, forecast=forecast)
        case "none":
            return NoBalancing(**common)
        case "wrr":
            weigh = original_weights if wrr_original_weights else intended_weights
            return WeightedRoundRobin(**common, weigh=weigh, keep_dead=wrr_keep_dead)
        case "shared-queue":
            return SharedQueue(**common, reserve=batch)
        case "jsq":
            return ShortestQueue(**common)
