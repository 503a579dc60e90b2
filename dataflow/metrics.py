"""Metrics for Prometheus: families that all carry the same labels, and the server of a scrape."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dataflow.errors import ConfigError

_log = logging.getLogger("videojam.metrics")


class LabelledCollector(Collector):
    """Base of what turns a look at something into metrics, at each scrape.

    Args:
        prefix: of the names of all metrics.
        labels: names and values that all of them carry.
    """

    def __init__(self, prefix: str, labels: Mapping[str, str]) -> None:
        self.prefix = prefix
        self.labels = dict(labels)

    def describe(self) -> list[Metric]:
        """Nothing: the registry need not look to learn the names."""
        return []

    def counter(self, name: str, text: str, value: float) -> Metric:
        """What only grows."""
        return self.table(name, text, (), {(): value})

    def gauge(self, name: str, text: str, value: float) -> Metric:
        """What goes up and down."""
        return self.table(name, text, (), {(): value}, gauge=True)

    def by(
        self, name: str, text: str, label: str, values: Mapping[str, float], *, gauge: bool = False
    ) -> Metric:
        """A value for each value of one more label."""
        rows: dict[tuple[str, ...], float] = {(key,): value for key, value in values.items()}
        return self.table(name, text, (label,), rows, gauge=gauge)

    def table(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        values: Mapping[tuple[str, ...], float],
        *,
        gauge: bool = False,
    ) -> Metric:
        """A value for each combination of more labels.

        Args:
            name: after the prefix.
            text: what it is.
            labels: the names of those labels.
            values: by their values.
            gauge: it goes up and down.
        """
        make = GaugeMetricFamily if gauge else CounterMetricFamily
        family = make(self.prefix + name, text, labels=[*self.labels, *labels])
        for key, value in sorted(values.items()):
            family.add_metric([*self.labels.values(), *key], value)
        return family


@contextmanager
def serve_metrics(
    collector: Collector, port: int, address: str = "", *, key: str | None = None
) -> Iterator[int]:
    """Serve ``/metrics`` for as long as the block lasts; yields the port.

    Args:
        collector: makes the metrics.
        port: to listen on; 0 for any that is free.
        address: to listen at; empty for all.
        key: the option or key that the port came from, for errors.

    Raises:
        ConfigError: the port cannot be had.
    """
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    try:
        server, thread = start_http_server(port, addr=address or "0.0.0.0", registry=registry)  # noqa: S104 - Prometheus is elsewhere
    except (OSError, OverflowError) as error:
        raise _refusal(error, port, address, key) from error
    used = int(server.server_port)
    _log.info("metrics at http://%s:%d/metrics", address or "localhost", used)
    try:
        yield used
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _refusal(error: Exception, port: int, address: str, key: str | None) -> ConfigError:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return ConfigError(
            "another process listens on this port already",
            key=key,
            value=port,
            remedy="choose another one, or 0 for any that is free (the log says which)",
        )
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return ConfigError(
        f"metrics cannot be served: {reason}",
        key=key,
        value=f"{address}:{port}" if address else port,
        remedy="choose a port from 1024 to 65535 and an address of this machine",
    )
