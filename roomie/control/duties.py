"""How busy instances are: what the placer is told of them beside their kernels.

Algorithm 3 takes every model to compute all the time, so that two of them fill a GPU, however
little they do. `roomie.cluster.Request.duty` says which share of the time a model computes; these
are its values, from the same telemetry that autoscaling looks at. They are shares of what an
instance can serve, and not of the time that its GPU is busy with it: one that answers few requests
with small batches would answer more with fuller ones.
"""

from __future__ import annotations

from collections.abc import Sequence

from roomie.control.scaling_types import InstanceLoad, ModelLoad

LEAST = 0.05
"""Nobody is taken to do nothing: requests may come at any time."""
DRAIN_S = 2.0
"""Seconds in which a backlog is to be worked off, as `RoomieScaling.drain_s`."""


def duty_of(instance: InstanceLoad) -> float:
    """Of an instance that serves; 1 while nothing is known of its speed."""
    return _share(_need(instance), instance.speed)


def duty_of_next(load: ModelLoad, more: int = 1) -> float:
    """Of each instance that a model gets now: it takes its part of what all of them have to do.

    Args:
        load: of the model.
        more: how many it gets.
    """
    speeds = [instance.speed for instance in load.instances if instance.speed > 0]
    if not speeds:
        return 1.0
    need = sum(_need(instance) for instance in load.instances)
    need = max(need, load.forecast or 0.0) + load.shortage
    count = len(load.instances) + load.coming + more
    return _share(need / count, sum(speeds) / len(speeds))


def duties(loads: Sequence[ModelLoad]) -> dict[str, float]:
    """Of all instances that serve, by id."""
    return {instance.id: duty_of(instance) for load in loads for instance in load.instances}


def _need(instance: InstanceLoad) -> float:
    return instance.arrivals_per_s + instance.pending / DRAIN_S


def _share(need: float, speed: float) -> float:
    return min(1.0, max(LEAST, need / speed)) if speed > 0 else 1.0
