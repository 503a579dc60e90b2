"""A replica's metrics for Prometheus.

Nothing is counted here: at each scrape, one glance at the engine is turned into metrics. While
nobody scrapes, they cost nothing. docs/observability.md lists them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from prometheus_client.core import HistogramMetricFamily, InfoMetricFamily, Metric

from agents.histogram import Counts
from agents.state import FORMER_PEERS, Balance, ForecasterState
from agents.status import Glance
from dataflow.metrics import LabelledCollector


class ReplicaCollector(LabelledCollector):
    """Turns glances at a replica into metrics.

    Args:
        look: takes one; called at each scrape, from a thread of the server.
        deployment: label of every metric.
        function: likewise.
        replica: likewise.
        started_at: when the process began, seconds since the epoch.
    """

    def __init__(
        self,
        look: Callable[[], Glance],
        *,
        deployment: str,
        function: str,
        replica: str,
        started_at: float,
    ) -> None:
        super().__init__(
            "videojam_", {"deployment": deployment, "function": function, "replica": replica}
        )
        self._look = look
        self._started_at = started_at

    def collect(self) -> Iterator[Metric]:
        """The metrics right now."""
        glance = self._look()
        info = InfoMetricFamily("videojam_replica", "The replica.", labels=[*self.labels])
        info.add_metric([*self.labels.values()], {"policy": glance.balance.policy})
        yield info
        yield self.gauge("start_time_seconds", "When it began, since the epoch.", self._started_at)
        yield from self._work(glance)
        yield from self._balancing(glance)
        if glance.balance.forecaster is not None:
            yield from self._forecaster(glance.balance.forecaster)

    def _work(self, glance: Glance) -> Iterator[Metric]:
        status, balance = glance.status, glance.balance
        yield self.counter("items_processed", "Items processed.", status.processed)
        yield self.by("items_dropped", "Items dropped.", "reason", balance.dropped)
        yield self.counter("items_dead", "Dead letters.", status.dead)
        yield self.counter("items_shed", "Items dropped for lack of capacity.", balance.shed)
        yield self.counter("batches", "Calls of the function.", glance.batches)
        yield self.counter("busy_seconds", "Time spent in the function.", glance.busy_seconds)
        yield self.gauge("queue_items", "Items waiting.", status.queued)
        yield self.gauge("queue_bytes", "Bytes waiting.", status.queued_bytes)
        yield self.gauge("partitions", "Partitions owned.", len(status.partitions))
        yield self.gauge("rate_items_per_second", "Items processed, lately.", status.rate)
        yield self.gauge("busy_ratio", "Time in the function, lately.", status.busy)
        yield self._responses(glance.responses)

    def _balancing(self, glance: Glance) -> Iterator[Metric]:
        balance = glance.balance
        row = balance.row
        if row is not None:
            yield self.gauge("in_function_items", "Items in the function.", row.in_flight)
            yield self.gauge("mu_items_per_second", "What it can process.", row.mu)
        for name, text, value in (
            ("forecast_items", "Items expected to be there in the next window.", balance.forecast),
            ("arrivals_items_per_second", "Items from upstream, lately.", balance.arrivals),
            ("coming_items_per_second", "Items from upstream, forecast.", balance.coming),
        ):
            if value is not None:
                yield self.gauge(name, text, value)
        overloaded = balance.overloaded_since is not None
        yield self.gauge("overloaded", "1 while the group lacks capacity.", int(overloaded))
        yield from self._handing_over(balance)
        yield self.by("signals_sent", "Signals sent.", "kind", balance.signals_sent)
        yield self.by("signals_heard", "Signals heard.", "kind", balance.signals_heard)
        yield self.counter("rows_published", "Rows of the state topic.", balance.rows)
        yield self.counter(
            "balancing_cpu_seconds",
            "Processor time of hearing peers, deciding and handing on, without that of the Kafka "
            "client's threads.",
            glance.balancing_seconds,
        )

    def _handing_over(self, balance: Balance) -> Iterator[Metric]:
        # What went to peers that are gone would look as if it had all been handed on just now.
        offloaded, received = (
            {peer: items for peer, items in by_peer.items() if peer != FORMER_PEERS}
            for by_peer in (balance.offloaded, balance.received)
        )
        yield self.by("offloaded_items", "Items handed on.", "peer", offloaded)
        yield self.counter("offloaded_bytes", "Their bytes.", balance.offloaded_bytes)
        yield self.counter("offload_failures", "Items that came back.", balance.failed)
        yield self.by("received_items", "Items taken over.", "peer", received)
        yield self.by(
            "quota_items", "To hand on under this policy.", "peer", balance.quotas, gauge=True
        )
        links = balance.links
        yield self.by(
            "link_seconds",
            "Expected duration of a delivery.",
            "peer",
            {peer: link.seconds for peer, link in links.items()},
            gauge=True,
        )
        yield self.by(
            "link_bytes_per_second",
            "Throughput of deliveries.",
            "peer",
            {peer: link.bytes_per_second for peer, link in links.items()},
            gauge=True,
        )

    def _forecaster(self, state: ForecasterState) -> Iterator[Metric]:
        for name, text, value in (
            ("error_ratio", "Absolute error over the load.", state.error),
            ("baseline_error_ratio", "The same of the last window.", state.baseline_error),
            ("drift_ratio", "Error over that of the last window.", state.ratio),
            ("bias_ratio", "Signed error over the load.", state.bias),
        ):
            if value is not None:
                yield self.gauge(f"forecaster_{name}", text, value)
        yield self.gauge(
            "forecaster_handed_over", "1 while the last window forecasts.", int(state.handed_over)
        )
        yield self.gauge(
            "forecaster_tuned", "1 while a last layer of its own is in use.", int(state.tuned)
        )
        yield self.counter("forecaster_hand_overs", "Hand-overs to it.", state.hand_overs)
        yield self.counter("forecaster_faults", "Forecasts replaced.", state.faults)

    def _responses(self, counts: Counts) -> Metric:
        family = HistogramMetricFamily(
            "videojam_response_seconds",
            "From capture to the end of this function.",
            labels=[*self.labels],
        )
        family.add_metric(
            [*self.labels.values()],
            buckets=[(_bound(bound), float(below)) for bound, below in counts.cumulative()],
            sum_value=counts.total,
        )
        return family


def _bound(value: float) -> str:
    return "+Inf" if value == math.inf else str(value)
