"""`videojam worker` as real processes on a real Kafka: killed, stopped, and left without broker."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dataflow.broker import BrokerSettings, EmbeddedBroker
from dataflow.transport.kafka import KafkaTransport
from tests.agents.plant import DEADLINE, Plant, wait_until
from tests.agents.processes import WorkerProcess, declare

pytestmark = [pytest.mark.broker, pytest.mark.timeout(240)]


def test_a_killed_replica_loses_nothing_and_is_adopted(
    kafka: EmbeddedBroker, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    file, config = declare(tmp_path, kafka.bootstrap_servers)
    with KafkaTransport.from_config(config) as transport:
        plant = Plant(transport, config=config)
        with WorkerProcess(file, "dies") as dies, WorkerProcess(file, "lives") as lives:
            dies.wait_for("owns")
            lives.wait_for("owns")
            plant.send_frames(400, cameras=16)
            with plant.auditor() as auditor:

                def begun() -> bool:
                    auditor.poll(0.05)
                    return sum(a.processed for a in auditor.ledger.accounts()) > 40

                wait_until(begun, "some frames are processed")
            dies.process.kill()
            killed = time.monotonic()
            before = lives.log.read_text().count("owns")
            wait_until(lambda: lives.log.read_text().count("owns") > before, "adoption", DEADLINE)
            record_property("seconds from SIGKILL to adoption", time.monotonic() - killed)
            accounts = plant.wait_for_ends(400)
            assert lives.end() == 0
    assert sum(a.processed for a in accounts.values()) == 400
    assert sum(a.open + a.dropped.total() + a.dead.total() for a in accounts.values()) == 0
    # results of the same frame have the same key: what came twice is told by it
    results = plant.read_all(plant.names.results("p"))
    assert len({r.key for r in results}) == 400
    assert sum(a.duplicates for a in accounts.values()) <= len(results) - 400


def test_a_stopped_replica_loses_and_repeats_nothing(kafka: EmbeddedBroker, tmp_path: Path) -> None:
    file, config = declare(tmp_path, kafka.bootstrap_servers)
    with KafkaTransport.from_config(config) as transport:
        plant = Plant(transport, config=config)
        plant.send_frames(150, cameras=16)
        with WorkerProcess(file, "first") as first:
            with plant.auditor() as auditor:

                def begun() -> bool:
                    auditor.poll(0.05)
                    return sum(a.processed for a in auditor.ledger.accounts()) > 20

                wait_until(begun, "some frames are processed", 60)
            assert first.end() == 0, first.log.read_text()
        with WorkerProcess(file, "second") as second:
            accounts = plant.wait_for_ends(150)
            assert second.end() == 0
    assert sum(a.processed for a in accounts.values()) == 150
    assert sum(a.duplicates for a in accounts.values()) == 0


def test_a_broker_that_dies_and_comes_back_during_a_run_loses_nothing(tmp_path: Path) -> None:
    broker = EmbeddedBroker(BrokerSettings(data_dir=tmp_path / "kafka", port=0))
    broker.start()
    try:
        file, config = declare(tmp_path, broker.bootstrap_servers)
        with KafkaTransport.from_config(config) as transport:
            plant = Plant(transport, config=config)
            plant.send_frames(300, cameras=16)
            with WorkerProcess(file, "works") as works:
                works.wait_for("owns")
                broker.kill()
                works.wait_for("no broker answers")
                broker.start()
                accounts = plant.wait_for_ends(300)
                assert works.process.poll() is None, "the worker outlives the outage"
                assert works.end() == 0
        assert sum(a.processed for a in accounts.values()) == 300
    finally:
        broker.stop()


def test_a_broker_that_is_away_at_the_start_is_waited_for_then_reported(tmp_path: Path) -> None:
    file, _ = declare(tmp_path, "127.0.0.1:1")
    with WorkerProcess(file, "alone", "--wait-for-broker", "1") as alone:
        assert alone.process.wait(DEADLINE * 2) == 1
        assert alone.says("no Kafka broker answers at 127.0.0.1:1")
        assert alone.says("videojam broker start")


def test_a_broker_that_comes_late_is_used(tmp_path: Path) -> None:
    broker = EmbeddedBroker(BrokerSettings(data_dir=tmp_path / "kafka", port=0))
    broker.start()
    servers = broker.bootstrap_servers
    file, config = declare(tmp_path, servers)
    with KafkaTransport.from_config(config) as transport:
        Plant(transport, config=config)
    broker.stop()
    try:
        with WorkerProcess(file, "early") as early:
            early.wait_for("trying again", 60)
            broker.start()
            early.wait_for("owns", 60)
            assert early.end() == 0
    finally:
        broker.stop()


def test_absent_tesseract_is_said_with_the_remedy(kafka: EmbeddedBroker, tmp_path: Path) -> None:
    find = {"plugin": "plate-ocr", "parameters": {"reader": "tesseract"}}
    file, _ = declare(tmp_path, kafka.bootstrap_servers, find=find)
    with WorkerProcess(file, "blind", path=str(tmp_path)) as blind:
        assert blind.process.wait(DEADLINE) == 1
        assert blind.says("tesseract-ocr"), blind.log.read_text()


def test_a_hung_function_ends_the_process_with_its_own_exit_code(
    kafka: EmbeddedBroker, tmp_path: Path
) -> None:
    slow = {
        "parameters": {"service": {"distribution": "constant", "mean": 60}},
        "stall_limit": "500ms",
    }
    file, config = declare(tmp_path, kafka.bootstrap_servers, find=slow)
    with KafkaTransport.from_config(config) as transport:
        plant = Plant(transport, config=config)
        plant.send_frames(2)
        with WorkerProcess(file, "hangs") as hangs:
            assert hangs.process.wait(DEADLINE) == 75
            assert hangs.says("stall_limit")
