"""A controller's metrics for Prometheus, made of one glance at each scrape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client.core import Metric

from dataflow.metrics import LabelledCollector
from roomie.control.sight import Glance


class ControllerCollector(LabelledCollector):
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
        super().__init__("videojam_roomie_", {"deployment": deployment, "controller": controller})
        self._look = look
        self._started_at = started_at

    def collect(self) -> Iterator[Metric]:
        """The metrics right now."""
        glance = self._look()
        yield self.gauge("start_time_seconds", "When it began, since the epoch.", self._started_at)
        yield self.gauge("active", "1 while it decides.", int(glance.active))
        yield self.counter("terms", "How often it has begun to decide.", glance.terms)
        yield self.by("events", "What was decided.", "event", glance.events)
        yield self.by("outcomes", "How orders ended.", "event", glance.outcomes)
        yield self.by("calls", "Decisions and writes.", "what", glance.calls)
        yield self.by("seconds", "Time they took.", "what", glance.seconds)
        if not glance.active:
            return  # what a standby remembers is old
        yield self.gauge("workers", "Workers that can be counted on.", len(glance.workers))
        yield self.gauge("open_orders", "Orders without an outcome.", glance.open_orders)
        yield self.gauge("deferred_models", "Models that lack room.", len(glance.deferred))
        states: Counter[tuple[str, ...]] = Counter(
            (model, str(i.state)) for model, i in glance.instances
        )
        yield self.table("instances", "Instances placed.", ("model", "state"), states, gauge=True)
        for name, text, value in (
            ("instance_slowdown_ratio", "Predicted (T~ - T) / T.", "slowdown"),
            ("instance_speed_items_per_second", "What it is expected to serve.", "speed"),
            ("instance_window_seconds", "How long it waits for a batch.", "window"),
        ):
            rows: dict[tuple[str, ...], float] = {
                (model, i.id, i.gpu): float(getattr(i, value)) for model, i in glance.instances
            }
            yield self.table(name, text, ("model", "instance", "gpu"), rows, gauge=True)
