"""Growing and shrinking models, and adapting their instances to what arrives."""

from __future__ import annotations

from collections.abc import Sequence

from roomie.control.book import Book
from roomie.control.capacity import Shortages
from roomie.control.filling import Filler
from roomie.control.lifecycle import serving
from roomie.control.records import PlacedInstance, Placement
from roomie.control.scaling_types import (
    Autoscaler,
    BatchingWindow,
    ForecastArrivals,
    InstanceLoad,
    ModelLoad,
    Scale,
)
from roomie.control.settings import ControlSettings
from roomie.control.windows import Windows

_NEW_SPEED = 0.2
"""Relative change of a measured speed that is written down."""
_NEW_WINDOW = 0.25
"""Relative change of a batching window that is written down; and the least in seconds."""
_NEW_WINDOW_SECONDS = 0.001
_FULL_ENOUGH = 0.5
"""Mean share of full batches from which a measured speed says what an instance can do."""


class Elastic:
    """Asks the autoscaler and the batching rule, and carries out what they answer.

    Args:
        book: placements.
        filler: knows who found no room.
        settings: how often.
        windows: telemetry.
        shortages: of the models' users.
        autoscaler: decides; None for nobody.
        batching: rule of the batching windows; None leaves them as they are.
        forecast: of arrivals; None for none.
    """

    def __init__(
        self,
        book: Book,
        filler: Filler,
        settings: ControlSettings,
        windows: Windows,
        shortages: Shortages,
        *,
        autoscaler: Autoscaler | None,
        batching: BatchingWindow | None,
        forecast: ForecastArrivals | None,
    ) -> None:
        self._book = book
        self._filler = filler
        self._settings = settings
        self._windows = windows
        self._shortages = shortages
        self._autoscaler = autoscaler
        self._batching = batching
        self._forecast = forecast
        self._scaled_at: float | None = None
        self._tuned_at: float | None = None

    def tick(self, now: float) -> None:
        """Do what is due."""
        if _due(self._scaled_at, now, self._settings.scale_every):
            self._scaled_at = now
            all_loads = {model: self._model(model, now) for model in self._book.models()}
            self._filler.loads = all_loads
            loads = [load for model, load in all_loads.items() if self._may_scale(model)]
            if self._autoscaler is not None and loads:
                for scale in self._autoscaler.decide(loads, now):
                    self._carry_out(scale, now)
        rhythm = self._settings.batching_every
        if rhythm > 0 and _due(self._tuned_at, now, rhythm):
            self._tuned_at = now
            for model in self._book.models():
                for instance in serving(self._book[model]):
                    if instance.state == "ready":
                        self._tune(model, instance, now)

    def _may_scale(self, model: str) -> bool:
        """Whether a model asks to be scaled, and is not changing versions."""
        placement = self._book[model]
        scaled = placement.spec.max_instances is not None
        return scaled and not placement.leaving and placement.rollout is None

    def _model(self, model: str, now: float) -> ModelLoad:
        placement = self._book[model]
        there = serving(placement)
        return ModelLoad(
            model=model,
            instances=tuple(
                self._load(i, now) for i in sorted(there, key=lambda i: i.id) if i.state == "ready"
            ),
            coming=sum(i.state != "ready" for i in there),
            minimum=placement.spec.instances,
            maximum=placement.spec.max_instances or placement.spec.instances,
            shortage=self._shortages.of(model, now),
            forecast=self._expected(placement, now),
        )

    def _load(self, instance: PlacedInstance, now: float) -> InstanceLoad:
        totals = self._windows.totals(instance.id, now - self._settings.scale_window)
        return InstanceLoad(
            id=instance.id,
            speed=instance.speed,
            pending=totals.pending * totals.items_per_request,
            arrivals_per_s=totals.arrivals_per_s,
            extra=instance.extra,
        )

    def _expected(self, placement: Placement, now: float) -> float | None:
        if self._forecast is None:
            return None
        names = [i.id for i in placement.instances]
        return self._forecast(placement.spec.model, self._windows.arrivals(names, now))

    def _carry_out(self, scale: Scale, now: float) -> None:
        """Do as the autoscaler says, within the model's limits."""
        if scale.model not in self._book:
            return
        placement = self._book[scale.model]
        spec = placement.spec
        total = spec.instances + placement.extra
        if scale.change > 0:
            if total >= (spec.max_instances or 0) or self._filler.no_room(scale.model, now):
                return
            self._book.edit(scale.model, extra=placement.extra + 1)
            reason = f"{total} to {total + 1} instances: {scale.reason}"
            self._book.say(scale.model, "scaled", reason, now)
            return
        extras = [i for i in serving(placement) if i.extra]
        going = _chosen(extras, scale.instance)
        if going is None:
            return  # only what autoscaling added may be taken away
        self._book.drain(scale.model, [going.id], now)
        self._book.give_up_extras(scale.model)
        reason = f"{total} to {total - 1} instances: {scale.reason}"
        self._book.say(scale.model, "scaled", reason, now, instances=[going.id])

    def _tune(self, model: str, instance: PlacedInstance, now: float) -> None:
        """Adapt what is expected of an instance, and how long it waits for its batches."""
        totals = self._windows.totals(instance.id, now - self._settings.scale_window)
        speed = totals.speed
        if speed is not None and (
            totals.batch >= _FULL_ENOUGH * instance.batch or not instance.speed
        ):
            self._filler.measured.add(instance.id)
            if abs(speed - instance.speed) > _NEW_SPEED * instance.speed:
                self._book.edit_instances(model, [instance.id], speed=speed)
        if self._batching is None or instance.batch == 1:
            return
        compute = totals.execution_s
        if compute is None and instance.speed:
            compute = instance.batch / instance.speed
        if compute is None:
            return
        window = self._batching(
            totals.arrivals_per_s, instance.batch, self._book[model].spec.latency, compute
        )
        change = abs(window - instance.window)
        if change > max(_NEW_WINDOW_SECONDS, _NEW_WINDOW * instance.window):
            self._book.edit_instances(model, [instance.id], window=window)
            self._book.say(
                model,
                "retuned",
                f"{instance.id} waits {1000 * window:.1f} ms for a batch of {instance.batch}: "
                f"{totals.arrivals_per_s:.1f} items/s come, an execution takes "
                f"{1000 * compute:.1f} ms",
                now,
                instances=[instance.id],
            )


def _due(last: float | None, now: float, every: float) -> bool:
    return last is None or now - last >= every


def _chosen(extras: Sequence[PlacedInstance], name: str | None) -> PlacedInstance | None:
    if name is not None:
        return next((i for i in extras if i.id == name), None)
    return min(extras, key=lambda i: (i.state == "ready", i.speed, i.id), default=None)
