"""Worker processes on a real Kafka whose metrics are scraped, and whose logs are JSON."""

from __future__ import annotations

import json
import re
import socket
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cli.up import check_ports
from dataflow.broker import EmbeddedBroker
from dataflow.errors import ConfigError
from dataflow.transport.kafka import KafkaTransport
from tests.agents.plant import DEADLINE, Plant, wait_until
from tests.agents.processes import WorkerProcess, declare


def samples(port: int) -> dict[str, float]:
    """What a scrape finds, summed over labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith("videojam_"):
                assert sample.labels["replica"] == "one"
                assert sample.labels["function"] == "find"
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


@pytest.mark.broker
@pytest.mark.timeout(240)
def test_a_worker_is_scraped_and_writes_its_log_as_json(
    kafka: EmbeddedBroker, tmp_path: Path
) -> None:
    file, config = declare(tmp_path, kafka.bootstrap_servers)
    options = ("--metrics-port", "0", "--metrics-address", "127.0.0.1", "--log-format", "json")
    with KafkaTransport.from_config(config) as transport:
        plant = Plant(transport, config=config)
        with WorkerProcess(file, "one", *options) as one:
            one.wait_for("owns")
            match = re.search(r"metrics at http://127\.0\.0\.1:(\d+)/metrics", one.log.read_text())
            assert match is not None
            port = int(match.group(1))
            plant.send_frames(40, cameras=4)
            plant.wait_for_ends(40)
            wait_until(
                lambda: samples(port)["videojam_items_processed_total"] == 40, "all are counted"
            )
            seen = samples(port)
            assert one.end() == 0
    assert seen["videojam_response_seconds_count"] == 40
    assert seen["videojam_busy_seconds_total"] >= 40 * 0.02 * 0.9
    assert seen["videojam_partitions"] == 4
    assert seen["videojam_mu_items_per_second"] > 0
    assert seen["videojam_rows_published_total"] > 0
    assert seen["videojam_forecaster_faults_total"] == 0
    assert seen["process_resident_memory_bytes"] > 0
    written = one.log.read_text().splitlines()
    # LiteRT's native code would write past Python's logging, to the same stream.
    lines = [json.loads(line) for line in written]
    assert all(line["replica"] == "one" and line["function"] == "find" for line in lines)
    assert any("owns 4 more" in line["message"] for line in lines)


@pytest.mark.broker
def test_a_worker_whose_metrics_port_is_taken_ends_with_the_remedy(
    kafka: EmbeddedBroker, tmp_path: Path
) -> None:
    file, config = declare(tmp_path, kafka.bootstrap_servers)
    with KafkaTransport.from_config(config) as transport:
        Plant(transport, config=config)
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))  # noqa: S104 - where the worker would listen
        listener.listen()
        port = listener.getsockname()[1]
        with WorkerProcess(file, "one", "--metrics-port", str(port)) as one:
            assert one.process.wait(DEADLINE) == 1
            assert one.says(f"another process listens on this port already (got {port})")
            assert one.says("remedy: choose another one")


def test_a_fault_is_a_line_of_json_too(tmp_path: Path) -> None:
    file, _ = declare(tmp_path, "127.0.0.1:1")
    options = ("--log-format", "json", "--wait-for-broker", "0.1")
    with WorkerProcess(file, "one", *options) as one:
        assert one.process.wait(DEADLINE) == 1
    lines = [json.loads(line) for line in one.log.read_text().splitlines()]
    assert lines[-1]["level"] == "CRITICAL"
    assert "no Kafka broker answers at 127.0.0.1:1" in lines[-1]["message"]


def test_ports_beyond_the_last_are_refused_with_the_largest_base() -> None:
    check_ports(None, 1000)
    check_ports(65530, 6)
    with pytest.raises(ConfigError, match=r"7 workers need a port.*\n  remedy: at most 65529"):
        check_ports(65530, 7)
