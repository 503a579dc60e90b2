"""Metrics of a replica: names, labels and values, and a server that says why it cannot serve."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from agents.assembly import build_engine
from agents.histogram import RESPONSE_SECONDS, Histogram
from agents.metrics import ReplicaCollector
from agents.state import FORMER_PEERS, Balance, ForecasterState, LinkState
from agents.status import Glance, ReplicaStatus
from dataflow.errors import ConfigError
from dataflow.metrics import serve_metrics
from dataflow.transport.memory import MemoryTransport
from tests.agents.plant import Plant, Running, Scripted
from tests.agents.shown import row

LABELS = {"deployment": "d", "function": "find", "replica": "find-0"}


def glance(**balance: Any) -> Glance:
    times = Histogram()
    times.add([0.001, 0.12, 0.12, 100.0])
    known: dict[str, Any] = {
        "policy": "videojam",
        "row": row("find-0", mu=20.0, in_flight=2),
        "forecast": 12,
        "arrivals": 8.5,
        "coming": 9.5,
        "quotas": {"find-1": 3},
        "offloaded": {FORMER_PEERS: 9, "find-1": 7, 'odd"\n': 1},
        "offloaded_bytes": 8000,
        "received": {"find-2": 4},
        "dropped": {"queue-full": 2, "overload": 3},
        "shed": 3,
        "signals_sent": {"congestion-risk": 1},
        "rows": 11,
        "links": {"find-1": LinkState(seconds=0.02, bytes_per_second=1e6)},
    }
    return Glance(
        status=ReplicaStatus(
            partitions=(0, 2),
            queued=5,
            queued_bytes=500,
            processed=40,
            dropped=5,
            dead=1,
            rate=12.0,
            busy=0.5,
            service_seconds=0.05,
            response_seconds=0.2,
        ),
        balance=Balance.model_validate({**known, **balance}),
        balancing_seconds=0.75,
        batches=10,
        busy_seconds=2.5,
        responses=times.snapshot(),
    )


def collector(shown: Glance) -> ReplicaCollector:
    return ReplicaCollector(lambda: shown, **LABELS, started_at=1000.0)


def registry(shown: Glance) -> CollectorRegistry:
    made = CollectorRegistry()
    made.register(collector(shown))
    return made


@pytest.mark.parametrize(
    ("name", "more", "value"),
    [
        ("items_processed_total", {}, 40),
        ("items_dropped_total", {"reason": "overload"}, 3),
        ("items_dropped_total", {"reason": "queue-full"}, 2),
        ("items_dead_total", {}, 1),
        ("items_shed_total", {}, 3),
        ("batches_total", {}, 10),
        ("busy_seconds_total", {}, 2.5),
        ("queue_items", {}, 5),
        ("queue_bytes", {}, 500),
        ("in_function_items", {}, 2),
        ("partitions", {}, 2),
        ("rate_items_per_second", {}, 12),
        ("busy_ratio", {}, 0.5),
        ("mu_items_per_second", {}, 20),
        ("forecast_items", {}, 12),
        ("arrivals_items_per_second", {}, 8.5),
        ("coming_items_per_second", {}, 9.5),
        ("overloaded", {}, 0),
        ("offloaded_items_total", {"peer": "find-1"}, 7),
        ("offloaded_items_total", {"peer": 'odd"\n'}, 1),
        ("offloaded_bytes_total", {}, 8000),
        ("offload_failures_total", {}, 0),
        ("received_items_total", {"peer": "find-2"}, 4),
        ("quota_items", {"peer": "find-1"}, 3),
        ("link_seconds", {"peer": "find-1"}, 0.02),
        ("link_bytes_per_second", {"peer": "find-1"}, 1e6),
        ("signals_sent_total", {"kind": "congestion-risk"}, 1),
        ("rows_published_total", {}, 11),
        ("balancing_cpu_seconds_total", {}, 0.75),
        ("start_time_seconds", {}, 1000),
        ("replica_info", {"policy": "videojam"}, 1),
        ("response_seconds_count", {}, 4),
        ("response_seconds_bucket", {"le": "0.1"}, 1),
        ("response_seconds_bucket", {"le": "0.15"}, 3),
        ("response_seconds_bucket", {"le": "+Inf"}, 4),
    ],
)
def test_a_metric_has_its_value_and_labels(name: str, more: dict[str, str], value: float) -> None:
    known = registry(glance()).get_sample_value(f"videojam_{name}", {**LABELS, **more})
    assert known == value


def test_former_peers_do_not_look_as_if_something_had_just_been_handed_to_them() -> None:
    labels = {**LABELS, "peer": FORMER_PEERS}
    value = registry(glance()).get_sample_value("videojam_offloaded_items_total", labels)
    assert value is None


def test_a_forecaster_that_is_watched_has_metrics_and_others_have_none() -> None:
    drift = ForecasterState(compared=12, error=0.3, ratio=1.2, handed_over=True, hand_overs=2)
    watched, plain = registry(glance(forecaster=drift)), registry(glance())
    for name, value in (
        ("error_ratio", 0.3),
        ("drift_ratio", 1.2),
        ("bias_ratio", None),
        ("handed_over", 1),
        ("hand_overs_total", 2),
        ("faults_total", 0),
    ):
        assert watched.get_sample_value(f"videojam_forecaster_{name}", LABELS) == value
        assert plain.get_sample_value(f"videojam_forecaster_{name}", LABELS) is None


def test_what_is_not_known_has_no_sample() -> None:
    known = registry(glance(row=None, forecast=None, arrivals=None, coming=None, links={}))
    for name in ("mu_items_per_second", "forecast_items", "arrivals_items_per_second"):
        assert known.get_sample_value(f"videojam_{name}", LABELS) is None


def test_an_overload_is_a_one() -> None:
    assert registry(glance(overloaded_since=5.0)).get_sample_value(
        "videojam_overloaded", LABELS
    ) == (1)


@given(st.lists(st.floats(-10, 1000), max_size=50))
def test_a_histogram_counts_every_value_once_at_its_place(values: list[float]) -> None:
    times = Histogram()
    times.add(values)
    counts = times.snapshot()
    for bound, below in counts.cumulative():
        assert below == sum(max(0.0, value) <= bound for value in values)
    assert counts.total == pytest.approx(sum(max(0.0, value) for value in values))
    assert [bound for bound, _ in counts.cumulative()][:-1] == list(RESPONSE_SECONDS)


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def test_any_free_port_serves_what_prometheus_reads() -> None:
    with serve_metrics(collector(glance()), 0, "127.0.0.1") as port:
        text = scrape(port)
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["videojam_response_seconds"].type == "histogram"
    assert families["videojam_offloaded_items"].type == "counter"
    assert families["videojam_queue_items"].type == "gauge"
    assert "process_resident_memory_bytes" in families
    assert all(family.documentation for family in families.values())
    with pytest.raises(OSError, match="refused"):
        scrape(port)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_in_use_is_said_with_the_remedy(taken: int) -> None:
    words = rf"--port: another process.*{taken}.*\n  remedy: choose another"
    with (
        pytest.raises(ConfigError, match=words),
        serve_metrics(collector(glance()), taken, "127.0.0.1", key="--port"),
    ):
        pass


@pytest.mark.parametrize("address", ["192.0.2.1", "no such host.invalid"])
def test_an_address_that_is_not_ours_is_said_with_the_remedy(address: str) -> None:
    with (
        pytest.raises(ConfigError, match=r"metrics cannot be served.*\n  remedy:"),
        serve_metrics(collector(glance()), 0, address),
    ):
        pass


def test_a_glance_at_an_engine_agrees_with_what_it_has_done() -> None:
    with MemoryTransport() as transport:
        plant = Plant(transport, find={"queue": {"items": 1000}})
        drift = ForecasterState(compared=3, faults=1)
        running = Running(
            build_engine(
                config=plant.config,
                name="find",
                function=Scripted(),
                transport=transport,
                replica="find-0",
                drift=lambda: drift,
            )
        )
        with running:
            plant.send_frames(30)
            plant.wait_for_ends(30)
        shown = running.engine.glance()
    assert shown.status.processed == sum(shown.responses.counts) == 30
    assert 0 < shown.batches <= 30
    assert shown.busy_seconds > 0
    assert shown.balance.row is not None
    assert shown.balance.row.mu > 0
    assert shown.balance.forecaster == drift
    assert replace(shown.status) == running.engine.status()


def test_every_drop_is_counted_under_its_reason() -> None:
    with MemoryTransport() as transport:
        plant = Plant(transport, find={"queue": {"items": 2}, "balancing": {"policy": "none"}})
        with plant.engine("find", Scripted(seconds=0.02)) as running:
            plant.send_frames(30)
            accounts = plant.wait_for_ends(30)
        shown = running.engine.glance()
    lost = sum(account.dropped.total() for account in accounts.values())
    assert lost > 0
    assert shown.balance.dropped == {"queue-full": lost}
    assert shown.status.dropped == lost
