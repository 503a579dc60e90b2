"""A replica's metrics for Prometheus.

Nothing is counted here: at each scrape, one glance at the engine is turned into metrics. While
nobody scrapes, they cost nothing. docs/observability.md lists them.
"""

from __future__ import annotations

import errno
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from agents.histogram import Counts
from agents.state import Balance, ForecasterState
from agents.status import Glance
from dataflow.errors import ConfigError

_log = logging.getLogger("videojam.worker")


class ReplicaCollector(Collector):
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
        self._look = look
        self._labels = {"deployment": deployment, "function": function, "replica": replica}
        self._started_at = started_at

    def describe(self) -> list[Metric]:
        """Nothing: the registry need not look at the engine to learn the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metrics right now."""
        glance = self._look()
        info = InfoMetricFamily("videojam_replica", "The replica.", labels=[*self._labels])
        info.add_metric([*self._labels.values()], {"policy": glance.balance.policy})
        yield info
        yield self._gauge("start_time_seconds", "When it began, since the epoch.", self._started_at)
        yield from self._work(glance)
        yield from self._balancing(glance)
        if glance.balance.forecaster is not None:
            yield from self._forecaster(glance.balance.forecaster)

    def _work(self, glance: Glance) -> Iterator[Metric]:
        status, balance = glance.status, glance.balance
        yield self._counter("items_processed", "Items processed.", status.processed)
        yield self._by("items_dropped", "Items dropped.", "reason", balance.dropped)
        yield self._counter("items_dead", "Dead letters.", status.dead)
        yield self._counter("items_shed", "Items dropped for lack of capacity.", balance.shed)
        yield self._counter("batches", "Calls of the function.", glance.batches)
        yield self._counter("busy_seconds", "Time spent in the function.", glance.busy_seconds)
        yield self._gauge("queue_items", "Items waiting.", status.queued)
        yield self._gauge("queue_bytes", "Bytes waiting.", status.queued_bytes)
        yield self._gauge("partitions", "Partitions owned.", len(status.partitions))
        yield self._gauge("rate_items_per_second", "Items processed, lately.", status.rate)
        yield self._gauge("busy_ratio", "Time in the function, lately.", status.busy)
        yield self._responses(glance.responses)

    def _balancing(self, glance: Glance) -> Iterator[Metric]:
        balance = glance.balance
        row = balance.row
        if row is not None:
            yield self._gauge("in_function_items", "Items in the function.", row.in_flight)
            yield self._gauge("mu_items_per_second", "What it can process.", row.mu)
        for name, text, value in (
            ("forecast_items", "Items expected to be there in the next window.", balance.forecast),
            ("arrivals_items_per_second", "Items from upstream, lately.", balance.arrivals),
            ("coming_items_per_second", "Items from upstream, forecast.", balance.coming),
        ):
            if value is not None:
                yield self._gauge(name, text, value)
        overloaded = balance.overloaded_since is not None
        yield self._gauge("overloaded", "1 while the group lacks capacity.", int(overloaded))
        yield from self._handing_over(balance)
        yield self._by("signals_sent", "Signals sent.", "kind", balance.signals_sent)
        yield self._by("signals_heard", "Signals heard.", "kind", balance.signals_heard)
        yield self._counter("rows_published", "Rows of the state topic.", balance.rows)
        yield self._counter(
            "balancing_cpu_seconds", "Processor time of deciding.", glance.balancing_seconds
        )

    def _handing_over(self, balance: Balance) -> Iterator[Metric]:
        yield self._by("offloaded_items", "Items handed on.", "peer", balance.offloaded)
        yield self._counter("offloaded_bytes", "Their bytes.", balance.offloaded_bytes)
        yield self._counter("offload_failures", "Items that came back.", balance.failed)
        yield self._by("received_items", "Items taken over.", "peer", balance.received)
        yield self._by(
            "quota_items", "To hand on under this policy.", "peer", balance.quotas, gauge=True
        )
        links = balance.links
        yield self._by(
            "link_seconds",
            "Expected duration of a delivery.",
            "peer",
            {peer: link.seconds for peer, link in links.items()},
            gauge=True,
        )
        yield self._by(
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
                yield self._gauge(f"forecaster_{name}", text, value)
        yield self._gauge(
            "forecaster_handed_over", "1 while the last window forecasts.", int(state.handed_over)
        )
        yield self._gauge(
            "forecaster_tuned", "1 while a last layer of its own is in use.", int(state.tuned)
        )
        yield self._counter("forecaster_hand_overs", "Hand-overs to it.", state.hand_overs)
        yield self._counter("forecaster_faults", "Forecasts replaced.", state.faults)

    def _responses(self, counts: Counts) -> Metric:
        family = HistogramMetricFamily(
            "videojam_response_seconds",
            "From capture to the end of this function.",
            labels=[*self._labels],
        )
        family.add_metric(
            [*self._labels.values()],
            buckets=[(_bound(bound), float(below)) for bound, below in counts.cumulative()],
            sum_value=counts.total,
        )
        return family

    def _counter(self, name: str, text: str, value: float) -> Metric:
        family = CounterMetricFamily(f"videojam_{name}", text, labels=[*self._labels])
        family.add_metric([*self._labels.values()], value)
        return family

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"videojam_{name}", text, labels=[*self._labels])
        family.add_metric([*self._labels.values()], value)
        return family

    def _by(
        self,
        name: str,
        text: str,
        label: str,
        values: Mapping[str, float],
        *,
        gauge: bool = False,
    ) -> Metric:
        make = GaugeMetricFamily if gauge else CounterMetricFamily
        family = make(f"videojam_{name}", text, labels=[*self._labels, label])
        for key, value in sorted(values.items()):
            family.add_metric([*self._labels.values(), key], value)
        return family


@contextmanager
def serve_metrics(collector: Collector, port: int, address: str = "") -> Iterator[int]:
    """Serve ``/metrics`` for as long as the block lasts; yields the port.

    Args:
        collector: makes the metrics.
        port: to listen on; 0 for any that is free.
        address: to listen at; empty for all.

    Raises:
        ConfigError: the port cannot be had.
    """
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    try:
        server, thread = start_http_server(port, addr=address or "0.0.0.0", registry=registry)  # noqa: S104 - Prometheus is elsewhere
    except (OSError, OverflowError) as error:
        raise _refusal(error, port, address) from error
    used = int(server.server_port)
    _log.info("metrics at http://%s:%d/metrics", address or "localhost", used)
    try:
        yield used
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _bound(value: float) -> str:
    return "+Inf" if value == math.inf else str(value)


def _refusal(error: Exception, port: int, address: str) -> ConfigError:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return ConfigError(
            "another process listens on this port already",
            key="--metrics-port",
            value=port,
            remedy="choose another one, or 0 for any that is free (the log says which)",
        )
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return ConfigError(
        f"metrics cannot be served: {reason}",
        key="--metrics-port",
        value=f"{address}:{port}" if address else port,
        remedy="choose a port from 1024 to 65535 and an address of this machine",
    )
