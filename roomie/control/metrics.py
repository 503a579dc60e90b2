"""A controller's metrics for Prometheus, made of one glance at each scrape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from roomie.control.sight import Glance

_PREFIX = "videojam_roomie_"


class ControllerCollector(Collector):
    """Turns glances at a controller into metrics.

    Args:
        look: takes one; called at each scrape, from a thread of the server.
        deployment: label of every metric.
        controller: likewise.
        started_at: when the process began, seconds since the epoch.
    """

    def __init__(
        self, look: Callable[[], Glance], *, deployment: str, controller: str, started_at: float
    ) -> None:
        self._look = look
        self._labels = {"deployment": deployment, "controller": controller}
        self._started_at = started_at

    def describe(self) -> list[Metric]:
        """Nothing: the registry need not look at the controller to learn the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metrics right now."""
        glance = self._look()
        yield self._gauge("start_time_seconds", "When it began, since the epoch.", self._started_at)
        yield self._gauge("active", "1 while it decides.", int(glance.active))
        yield self._counter("terms", "How often it has begun to decide.", glance.terms)
        yield self._by("events", "What was decided.", ("event",), _single(glance.events))
        yield self._by("outcomes", "How orders ended.", ("event",), _single(glance.outcomes))
        yield self._by("calls", "Decisions and writes.", ("what",), _single(glance.calls))
        yield self._by("seconds", "Time they took.", ("what",), _single(glance.seconds))
        if not glance.active:
            return  # what a standby remembers is old
        yield self._gauge("workers", "Workers that can be counted on.", len(glance.workers))
        yield self._gauge("open_orders", "Orders without an outcome.", glance.open_orders)
        yield self._gauge("deferred_models", "Models that lack room.", len(glance.deferred))
        states: Counter[tuple[str, ...]] = Counter(
            (model, str(i.state)) for model, i in glance.instances
        )
        yield self._by("instances", "Instances placed.", ("model", "state"), states, gauge=True)
        for name, text, value in (
            ("instance_slowdown_ratio", "Predicted (T~ - T) / T.", "slowdown"),
            ("instance_speed_items_per_second", "What it is expected to serve.", "speed"),
            ("instance_window_seconds", "How long it waits for a batch.", "window"),
        ):
            rows: dict[tuple[str, ...], float] = {
                (model, i.id, i.gpu): float(getattr(i, value)) for model, i in glance.instances
            }
            yield self._by(name, text, ("model", "instance", "gpu"), rows, gauge=True)

    def _counter(self, name: str, text: str, value: float) -> Metric:
        family = CounterMetricFamily(_PREFIX + name, text, labels=[*self._labels])
        family.add_metric([*self._labels.values()], value)
        return family

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(_PREFIX + name, text, labels=[*self._labels])
        family.add_metric([*self._labels.values()], value)
        return family

    def _by(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        values: Mapping[tuple[str, ...], float],
        *,
        gauge: bool = False,
    ) -> Metric:
        make = GaugeMetricFamily if gauge else CounterMetricFamily
        family = make(_PREFIX + name, text, labels=[*self._labels, *labels])
        for key, value in sorted(values.items()):
            family.add_metric([*self._labels.values(), *key], value)
        return family


def _single(values: Mapping[str, float]) -> dict[tuple[str, ...], float]:
    return {(key,): value for key, value in values.items()}
