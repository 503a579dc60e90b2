"""Autoscalers: which models get an instance more, and which lose one.

`roomie` follows thesis sec. 4.4.4 and 5.3: instances beyond those always wanted come when a model
is about to saturate and go when it no longer is. `infaas` is the thesis' baseline, `none` keeps
what was asked for. They decide how many; where an instance goes is the placer's decision.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint

from dataflow.plugins import installed, load_plugin
from roomie.control.roomie_autoscaler import RoomieAutoscaler
from roomie.control.scaling_types import Autoscaler, InstanceLoad, ModelLoad, Scale

GROUP = "videojam.autoscalers"
"""Entry-point group of autoscalers."""

AutoscalerFactory = Callable[[], Autoscaler]
"""What an entry point names."""

EPSILON = 1e-9
"""By which times may miss each other from rounding alone."""


def available() -> dict[str, EntryPoint]:
    """All installed autoscalers by name, sorted; nothing is imported.

    Raises:
        ConfigError: two installed distributions register different ones under one name.
    """
    return installed(GROUP, "autoscaler")


def build_autoscaler(name: str) -> Autoscaler:
    """Make an autoscaler.

    Args:
        name: its entry point.

    Raises:
        ConfigError: no autoscaler has that name, or it cannot be loaded.
        MissingDependencyError: it needs a package that is not installed.
    """
    factory: AutoscalerFactory = load_plugin(
        GROUP,
        name,
        what="autoscaler",
        interface="a factory that takes nothing and returns an Autoscaler",
        key="autoscaler",
    )
    return factory()


class NoAutoscaler:
    """Keeps what was asked for."""

    def decide(self, loads: Sequence[ModelLoad], now: float) -> Sequence[Scale]:
        """See `Autoscaler.decide`."""
        del loads, now
        return ()


@dataclass(frozen=True, kw_only=True)
class InfaasSettings:
    """Of `InfaasAutoscaler`; the defaults are those of baselines.md sec. 4.

    Attributes:
        interval_s: between two looks.
        span_s: over which arrivals are counted, and against what can be served in it.
        up: ratio above which the most loaded model gets an instance.
        idle: ratio below which a model loses its slowest instance.
        down: ratio below which it does if the others then stay at or below ``up``.
    """

    interval_s: float = 2.0
    span_s: float = 10.0
    up: float = 1.5
    idle: float = 0.5
    down: float = 0.8


class InfaasAutoscaler:
    """INFaaS' scaling as in the thesis' harness (baselines.md sec. 4).

    A model's ratio is what waits and what came in the last 10 s over what its instances serve in
    10 s. Every 2 s the model with the highest ratio above 1.5 gets one instance, one model a tick;
    one below 0.5 loses its slowest, one below 0.8 if the others carry its load.

    Args:
        settings: see there.
    """

    def __init__(self, settings: InfaasSettings | None = None) -> None:
        self.settings = settings or InfaasSettings()
        self._last: float | None = None
        self._arrivals: dict[str, deque[tuple[float, float]]] = {}

    def decide(self, loads: Sequence[ModelLoad], now: float) -> Sequence[Scale]:
        """See `Autoscaler.decide`."""
        self._note_arrivals(loads, now)
        if self._last is not None and now - self._last < self.settings.interval_s - EPSILON:
            return ()
        self._last = now
        ratios = {load.model: self._ratio(load, load.instances) for load in loads}
        return (*self._upscale(loads, ratios), *self._downscale(loads, ratios))

    def _note_arrivals(self, loads: Sequence[ModelLoad], now: float) -> None:
        gone = self._arrivals.keys() - {load.model for load in loads}
        for model in gone:
            del self._arrivals[model]
        for load in loads:
            kept = self._arrivals.setdefault(load.model, deque())
            kept.append((now, sum(instance.arrivals_per_s for instance in load.instances)))
            while kept[0][0] < now - self.settings.span_s + EPSILON:
                kept.popleft()

    def _ratio(self, load: ModelLoad, instances: Sequence[InstanceLoad]) -> float | None:
        """Of a model if only some of its instances were there; None where nothing is known."""
        speeds = [instance.speed for instance in instances if instance.speed > 0]
        if not speeds:
            return None
        # One that has not been measured yet is taken to be like the others.
        total = sum(speeds) * len(instances) / len(speeds)
        kept = self._arrivals[load.model]
        came = self.settings.span_s * sum(rate for _, rate in kept) / len(kept)
        waiting = sum(instance.pending for instance in load.instances)
        return (waiting + came) / (self.settings.span_s * total)

    def _upscale(
        self, loads: Sequence[ModelLoad], ratios: Mapping[str, float | None]
    ) -> Sequence[Scale]:
        over = [
            (ratio, load)
            for load in loads
            if (ratio := ratios[load.model]) is not None
            and ratio > self.settings.up
            and len(load.instances) + load.coming < load.maximum
        ]
        if not over:
            return ()
        ratio, most = max(over, key=lambda entry: (entry[0], entry[1].model))
        reason = (
            f"the highest load: {ratio:.2f} of what it serves in {self.settings.span_s:g} s "
            f"(above {self.settings.up:g})"
        )
        return (Scale(model=most.model, change=1, instance=None, reason=reason),)

    def _downscale(
        self, loads: Sequence[ModelLoad], ratios: Mapping[str, float | None]
    ) -> Sequence[Scale]:
        gone = []
        for load in loads:
            ratio = ratios[load.model]
            extras = [instance for instance in load.instances if instance.extra]
            if ratio is None or not extras or len(load.instances) <= max(1, load.minimum):
                continue
            slowest = min(extras, key=lambda instance: (instance.speed, instance.id))
            rest = [instance for instance in load.instances if instance.id != slowest.id]
            left = self._ratio(load, rest)
            carried = left is not None and left <= self.settings.up
            if ratio < self.settings.idle or (ratio < self.settings.down and carried):
                reason = f"load {ratio:.2f}; it is the slowest, {slowest.speed:.4g} items/s"
                gone.append(Scale(model=load.model, change=-1, instance=slowest.id, reason=reason))
        return gone


def build_none() -> NoAutoscaler:
    """The autoscaler of the entry point ``none``."""
    return NoAutoscaler()


def build_infaas() -> InfaasAutoscaler:
    """The autoscaler of the entry point ``infaas``."""
    return InfaasAutoscaler()


def build_roomie() -> RoomieAutoscaler:
    """The autoscaler of the entry point ``roomie``."""
    return RoomieAutoscaler()
