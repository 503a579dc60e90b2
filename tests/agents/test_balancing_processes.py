"""Worker processes that balance among themselves on a real Kafka."""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from agents.state import ReplicaState
from dataflow.broker import EmbeddedBroker
from dataflow.results import Result
from dataflow.transport import Record
from dataflow.transport.kafka import KafkaTransport
from evaluation.accounts import newest_rows
from tests.agents.plant import Plant, jpeg, wait_until
from tests.agents.processes import WorkerProcess, declare

pytestmark = [pytest.mark.broker, pytest.mark.timeout(240)]


def send_to(plant: Plant, partition: int, camera: str, count: int) -> None:
    picture = jpeg()
    for number in range(count):
        item = plant.item(camera, number, picture)
        record = Record(
            topic=plant.names.work("find"),
            key=camera.encode(),
            value=picture,
            headers=item.headers(),
            partition=partition,
        )
        plant.producer.send(record)
    assert plant.producer.flush(30) == 0


def rows(plant: Plant) -> dict[str, ReplicaState]:
    return newest_rows(plant.config, plant.transport)


def wait_until_measured(plant: Plant, count: int) -> None:
    """Give each partition some work, and wait until everybody has published a rate."""
    for partition in range(count):
        send_to(plant, partition, f"warm-{partition}", 8)
    plant.wait_for_ends(8 * count)

    def measured() -> bool:
        known = rows(plant).values()
        return (
            sum(r.balance is not None and bool(r.balance.row and r.balance.row.mu) for r in known)
            >= count
        )

    wait_until(measured, "all rates are known", 60)
    time.sleep(1.0)


@pytest.mark.parametrize("exchange", ["direct", "faust"])
def test_a_burst_at_one_replica_is_shared(
    kafka: EmbeddedBroker, tmp_path: Path, exchange: str
) -> None:
    find = {"partitions": 2, "balancing": {"policy": "videojam", "exchange": exchange}}
    file, config = declare(tmp_path, kafka.bootstrap_servers, find=find)
    with KafkaTransport.from_config(config) as transport:
        plant = Plant(transport, config=config)
        with WorkerProcess(file, "one") as one, WorkerProcess(file, "two") as two:
            one.wait_for("owns")
            two.wait_for("owns")
            wait_until(lambda: len(rows(plant)) == 2, "two rows", 60)
            wait_until_measured(plant, 2)
            send_to(plant, 0, "burst", 140)
            plant.wait_for_ends(156)
            assert one.end() == 0
            assert two.end() == 0
        results = [Result.from_json(r.value) for r in plant.read_all(plant.names.results("p"))]
        assert rows(plant) == {}, "both said goodbye"
    done = [r for r in results if r.camera == "burst"]
    assert Counter(r.sequence for r in done) == Counter(range(140))
    shares = Counter(r.stages[0].replica for r in done)
    assert min(shares["one"], shares["two"]) >= 20, shares


def test_a_stopped_replica_is_left_out_and_gets_work_again_when_it_comes_back(
    kafka: EmbeddedBroker, tmp_path: Path
) -> None:
    """SIGSTOP for longer than the session: its partition is adopted; afterwards it joins anew."""
    find = {"partitions": 2, "balancing": {"policy": "videojam"}}
    file, config = declare(tmp_path, kafka.bootstrap_servers, find=find)
    with KafkaTransport.from_config(config) as transport:
        plant = Plant(transport, config=config)
        with WorkerProcess(file, "stays") as stays, WorkerProcess(file, "naps") as naps:
            stays.wait_for("owns")
            naps.wait_for("owns")
            wait_until_measured(plant, 2)
            naps.process.send_signal(signal.SIGSTOP)
            owned = stays.log.read_text().count("owns")
            for partition in (0, 1):
                send_to(plant, partition, f"during-{partition}", 60)
            wait_until(lambda: stays.log.read_text().count("owns") > owned, "adoption", 30)
            plant.wait_for_ends(136)
            naps.process.send_signal(signal.SIGCONT)
            wait_until(
                lambda: (
                    len(rows(plant)["naps"].partitions) == 1
                    and len(rows(plant)["stays"].partitions) == 1
                ),
                "the partitions are shared again",
                60,
            )
            before = rows(plant)["naps"].processed
            for partition in (0, 1):
                send_to(plant, partition, f"after-{partition}", 60)
            accounts = plant.wait_for_ends(256)
            wait_until(lambda: rows(plant)["naps"].processed > before, "it works again", 30)
    assert sum(a.processed for a in accounts.values()) == 256
    assert sum(a.open + a.dropped.total() + a.dead.total() for a in accounts.values()) == 0
