"""ROOMIE's autoscaler: instances before a model saturates, and away again when it has calmed down.

Thesis sec. 4.4.4 and 5.3.2. What a model needs is what comes, or what is forecast to come if that
is more, what VIDEOJAM's groups report to lack, and its backlog spread over a few seconds. Against
that stands what its instances are measured to serve, interference included, and what those on their
way will. Beyond the thesis' sketch:

- *Hysteresis*: an instance goes only if the others would stay clearly below the load that brings
  one in, and only if that has held for a while; a change starts that time anew. So a constant load
  is answered by a bounded number of changes.
- *Room*: where a model that needs an instance got none, another gives one up that it can do
  without, if there is any ("when another instance requires upscaling").
- *Trial*: an instance that did not raise what its model serves, because it takes from its own
  siblings, goes again, and none is tried for a time that doubles ("rollback").
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from roomie.control.scaling_types import InstanceLoad, ModelLoad, Scale

_EXACT = 1e-9
"""By which times and quotients may miss each other from rounding alone."""


@dataclass(frozen=True, kw_only=True)
class RoomieScaling:
    """Of `RoomieAutoscaler`; what the thesis leaves open is chosen here.

    Attributes:
        high: share of what a model can serve from which it gets more instances. Waiting times
            double from 0.5 to 0.75, and double again to 0.87.
        low: share below which the others must stay when one goes.
        drain_s: seconds in which a backlog should be worked off.
        calm_s: how long a surplus must last before an instance goes.
        at_once: most instances that a model gets in one decision.
        settle_s: from when a new instance serves until it is judged.
        least_gain: share of an instance's speed by which a new one must raise its model's.
        retry_s: until another instance is tried after one that did not help; doubles each time.
        longest_retry_s: at most.
    """

    high: float = 0.75
    low: float = 0.55
    drain_s: float = 2.0
    calm_s: float = 20.0
    at_once: int = 4
    settle_s: float = 8.0
    least_gain: float = 0.1
    retry_s: float = 30.0
    longest_retry_s: float = 300.0

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise ValueError("a model flaps unless 0 < low < high")


@dataclass(slots=True)
class _Trial:
    """A new instance on probation.

    Attributes:
        speed: items a second of its model before it came.
        known: its model's instances before it came.
        others: items a second of instances of other models before it came: if they are slower now,
            it is the load that has risen, and no fault of the new one.
        since: when it was first seen to serve; None until then.
    """

    speed: float
    known: frozenset[str]
    others: Mapping[str, float]
    since: float | None = None


@dataclass(slots=True)
class _Memory:
    """What is remembered of a model.

    Attributes:
        needs: (time, items a second needed) since the last change.
        asked: instances that it had when it asked for more; None where it asked for none.
        trial: the newest instance's.
        retry_at: until then no more are asked for.
        retry_s: how long to wait after the next one that does not help.
    """

    needs: deque[tuple[float, float]] = field(default_factory=deque)
    asked: int | None = None
    trial: _Trial | None = None
    retry_at: float = -math.inf
    retry_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """A model at one moment, in items a second.

    Attributes:
        load: as told.
        need: what it has to serve.
        speed: what it can serve now.
        each: what one more instance would.
        memory: of it.
    """

    load: ModelLoad
    need: float
    speed: float
    each: float
    memory: _Memory

    @property
    def count(self) -> int:
        """Instances, those on their way included."""
        return len(self.load.instances) + self.load.coming

    @property
    def pressure(self) -> float:
        """Need over what it will be able to serve."""
        return self.need / (self.speed + self.load.coming * self.each)

    def without(self, instance: InstanceLoad) -> float:
        """What it can serve without one of its instances."""
        return self.speed - (instance.speed or self.each)

    def spare(self) -> InstanceLoad | None:
        """The instance that may go first: the slowest of those that autoscaling added."""
        extras = [instance for instance in self.load.instances if instance.extra]
        if not extras or len(self.load.instances) <= max(1, self.load.minimum):
            return None
        return min(extras, key=lambda instance: (instance.speed or self.each, instance.id))


class RoomieAutoscaler:
    """See the module.

    Args:
        settings: see there.
    """

    def __init__(self, settings: RoomieScaling | None = None) -> None:
        self.settings = settings or RoomieScaling()
        self._memories: dict[str, _Memory] = {}

    def decide(self, loads: Sequence[ModelLoad], now: float) -> Sequence[Scale]:
        """See `Autoscaler.decide`."""
        for gone in self._memories.keys() - {load.model for load in loads}:
            del self._memories[gone]
        views = [view for load in loads if (view := self._view(load, now)) is not None]
        changed: dict[str, list[Scale]] = {}
        for view in views:
            failed = self._judge(view, loads, now)
            if failed is not None:
                changed[view.load.model] = [failed]
        # The most pressed first: the placer serves them in this order.
        pressed = sorted(views, key=lambda view: (-view.pressure, view.load.model))
        starved = []
        for view in pressed:
            if view.load.model in changed:
                continue
            wanted = self._grow(view, loads, now)
            if wanted:
                if view.memory.asked is not None and view.count <= view.memory.asked:
                    starved.append(view)
                view.memory.asked = view.count
                changed[view.load.model] = wanted
            else:
                view.memory.asked = None
                surplus = self._shrink(view, now)
                if surplus is not None:
                    changed[view.load.model] = [surplus]
        if starved and not any(s.change < 0 for scales in changed.values() for s in scales):
            given = self._make_room(starved[0], [v for v in views if v.load.model not in changed])
            changed.update(given)
        for model, scales in changed.items():
            self._memories[model].needs.clear()
            if scales[0].change < 0:
                self._memories[model].asked = None
        # What goes makes room for what comes.
        every = [scale for scales in changed.values() for scale in scales]
        return sorted(every, key=lambda scale: scale.change)

    def _view(self, load: ModelLoad, now: float) -> _View | None:
        """None where no instance's speed is known: nothing can be said then."""
        memory = self._memories.setdefault(load.model, _Memory(retry_s=self.settings.retry_s))
        speeds = [instance.speed for instance in load.instances if instance.speed > 0]
        if not speeds:
            return None
        each = sum(speeds) / len(speeds)
        coming = sum(instance.arrivals_per_s for instance in load.instances)
        waiting = sum(instance.pending for instance in load.instances)
        need = max(coming, load.forecast or 0.0) + load.shortage + waiting / self.settings.drain_s
        memory.needs.append((now, need))
        # One that is older than the time that counts stays: it says that all of it is known.
        while len(memory.needs) > 1 and memory.needs[1][0] <= now - self.settings.calm_s + _EXACT:
            memory.needs.popleft()
        return _View(
            load=load, need=need, speed=each * len(load.instances), each=each, memory=memory
        )

    def _grow(self, view: _View, loads: Sequence[ModelLoad], now: float) -> list[Scale]:
        room = min(self.settings.at_once, view.load.maximum - view.count)
        if room <= 0 or view.pressure <= self.settings.high or now < view.memory.retry_at:
            return []
        lacking = view.need / self.settings.high - view.speed - view.load.coming * view.each
        # Not the quotient alone: of a speed next to nothing it is beyond all numbers.
        beyond = lacking > room * view.each
        count = room if beyond else min(room, math.ceil(lacking / view.each - _EXACT))
        trial = view.memory.trial
        if not view.load.coming and (trial is None or trial.since is None):
            known = frozenset(instance.id for instance in view.load.instances)
            others = _speeds(loads, but=view.load.model)
            view.memory.trial = _Trial(speed=view.speed, known=known, others=others)
        scale = Scale(model=view.load.model, change=1, instance=None, reason=self._why_grow(view))
        return [scale] * count

    def _why_grow(self, view: _View) -> str:
        load = view.load
        parts = [f"{sum(i.arrivals_per_s for i in load.instances):.4g} items/s come"]
        if load.forecast is not None:
            parts.append(f"{load.forecast:.4g} are forecast")
        if load.shortage > 0:
            parts.append(f"{load.shortage:.4g} are lacking")
        waiting = sum(instance.pending for instance in load.instances)
        if waiting:
            parts.append(f"{waiting:.4g} wait")
        return (
            f"{', '.join(parts)}: {view.pressure:.2f} of the {view.speed:.4g} items/s that "
            f"{len(load.instances)} instances and {load.coming} coming can serve "
            f"(above {self.settings.high:g})"
        )

    def _shrink(self, view: _View, now: float) -> Scale | None:
        spare = view.spare()
        needs = view.memory.needs
        known_s = now - needs[0][0]
        if spare is None or view.load.coming or known_s < self.settings.calm_s - _EXACT:
            return None
        peak = max(need for _, need in needs)
        if peak > self.settings.low * view.without(spare):
            return None
        return Scale(
            model=view.load.model,
            change=-1,
            instance=spare.id,
            reason=(
                f"surplus: for {self.settings.calm_s:g} s at most {peak:.4g} items/s were needed, "
                f"and the others serve {view.without(spare):.4g}"
            ),
        )

    def _make_room(self, starved: _View, donors: Sequence[_View]) -> dict[str, list[Scale]]:
        """One instance of the model that can best do without it, if any can."""
        best: tuple[float, str, InstanceLoad] | None = None
        for view in donors:
            spare = view.spare()
            if spare is None or view.load.coming:
                continue
            left = view.without(spare)
            peak = max(need for _, need in view.memory.needs)
            # At `high` it would ask for it back.
            if left <= 0 or peak > self.settings.high * left:
                continue
            option = (peak / left, view.load.model, spare)
            if best is None or option[:2] < best[:2]:
                best = option
        if best is None:
            return {}
        pressure, model, spare = best
        reason = (
            f"makes room for {starved.load.model}, which has {starved.pressure:.2f} of what it can "
            f"serve and found no place; {model} goes to {pressure:.2f}"
        )
        return {model: [Scale(model=model, change=-1, instance=spare.id, reason=reason)]}

    def _judge(self, view: _View, loads: Sequence[ModelLoad], now: float) -> Scale | None:
        """End a trial: the newest instance goes if its model serves no more than before it."""
        memory, trial = view.memory, view.memory.trial
        if trial is None:
            return None
        new = [i for i in view.load.instances if i.id not in trial.known and i.extra]
        if not new:
            trial.since = None
            if not view.load.coming and memory.asked is None:
                memory.trial = None  # it was refused, or went again
            return None
        if trial.since is None:
            trial.since = now
        if now - trial.since < self.settings.settle_s - _EXACT or any(i.speed <= 0 for i in new):
            return None
        memory.trial = None
        without = trial.speed * _slower(trial.others, _speeds(loads, but=view.load.model))
        gain = view.speed - without
        if gain >= self.settings.least_gain * view.each or len(trial.known) == 0:
            memory.retry_s = self.settings.retry_s
            return None
        if len(view.load.instances) <= max(1, view.load.minimum):
            return None
        memory.retry_at = now + memory.retry_s
        reason = (
            f"it did not help: {view.load.model} serves {view.speed:.4g} items/s with it and "
            f"would serve {without:.4g} without; none is tried for {memory.retry_s:g} s"
        )
        memory.retry_s = min(2 * memory.retry_s, self.settings.longest_retry_s)
        worst = min(new, key=lambda instance: (instance.speed, instance.id))
        return Scale(model=view.load.model, change=-1, instance=worst.id, reason=reason)


def _speeds(loads: Sequence[ModelLoad], *, but: str) -> dict[str, float]:
    """Items a second of each instance of all models but one."""
    return {i.id: i.speed for load in loads if load.model != but for i in load.instances}


def _slower(before: Mapping[str, float], now: Mapping[str, float]) -> float:
    """By which factor instances that are in both have become slower; at most 1."""
    both = [name for name in before if name in now]
    then = sum(before[name] for name in both)
    return min(1.0, sum(now[name] for name in both) / then) if then > 0 else 1.0
