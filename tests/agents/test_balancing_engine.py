"""Engines that balance among themselves, on the in-memory transport."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from agents.outbox import OFFLOADED_BY, OFFLOADED_FROM, TABLE
from agents.state import ReplicaState
from dataflow.messages import WorkItem
from dataflow.results import Result
from dataflow.transport import Record
from dataflow.transport.memory import MemoryTransport
from tests.agents.plant import Plant, Scripted, jpeg, vehicle, wait_until

ACTIVE = ("videojam", "wrr", "jsq", "shared-queue")


@pytest.fixture
def transport() -> Iterator[MemoryTransport]:
    with MemoryTransport() as transport:
        yield transport


def plant_of(transport: MemoryTransport, policy: str, **find: Any) -> Plant:
    return Plant(
        transport,
        find={"partitions": 2, "balancing": {"policy": policy}, **find},
        read={"partitions": 1},
    )


@contextmanager
def two_replicas(plant: Plant, one: Scripted, two: Scripted) -> Iterator[None]:
    """``find-0`` and ``find-1``, each with a partition of its own."""
    first, second = plant.engine("find", one, "find-0"), plant.engine("find", two, "find-1")
    with first, second:
        first.wait_for_partitions(1)
        second.wait_for_partitions(1)
        yield


def load_one_partition(
    plant: Plant, count: int, camera: str = "cam", partition: int = 0, begin: int = 0
) -> None:
    """Frames that all have their home at the owner of one partition."""
    picture = jpeg()
    for number in range(begin, begin + count):
        item = plant.item(camera, number, picture)
        plant.producer.send(
            Record(
                topic=plant.names.work("find"),
                key=camera.encode(),
                value=item.data,
                headers=item.headers(),
                partition=partition,
            )
        )
    assert plant.producer.flush(30) == 0


def warm_up(plant: Plant) -> None:
    """Let each of two replicas measure its rate and hear of the other's."""
    for partition in (0, 1):
        load_one_partition(plant, 8, f"warm-{partition}", partition)
    plant.wait_for_ends(16)

    def both_know() -> bool:
        rates: dict[bytes | None, float] = {}
        for record in plant.read_all(plant.names.state("find")):
            state = ReplicaState.from_json(record.value or b"")
            if state.balance is not None and state.balance.row is not None:
                rates[record.key] = state.balance.row.mu
        return len(rates) == 2 and min(rates.values()) > 0

    wait_until(both_know, "both replicas publish their rates")
    time.sleep(0.2)  # what is published is heard by then; the assertions allow for late news


@pytest.mark.parametrize("policy", ACTIVE)
def test_a_peer_takes_work_from_a_busy_replica_and_nothing_is_lost(
    transport: MemoryTransport, policy: str
) -> None:
    plant = plant_of(transport, policy)
    functions = [Scripted(seconds=0.02), Scripted(seconds=0.02)]
    with two_replicas(plant, *functions):
        warm_up(plant)
        before = [len(function.seen) for function in functions]
        load_one_partition(plant, 150)
        plant.wait_for_ends(166)
    counts = [len(f.seen) - n for f, n in zip(functions, before, strict=True)]
    assert sum(counts) == 150
    assert min(counts) >= 20, f"{policy} left one replica idle: {counts}"
    results = [Result.from_json(r.value) for r in plant.read_all(plant.names.results("p"))]
    of_camera = Counter(result.sequence for result in results if result.camera == "cam")
    assert of_camera == Counter(range(150))


def test_without_balancing_items_stay_at_home(transport: MemoryTransport) -> None:
    plant = plant_of(transport, "none")
    functions = [Scripted(seconds=0.005), Scripted(seconds=0.005)]
    with two_replicas(plant, *functions):
        load_one_partition(plant, 60)
        plant.wait_for_ends(60)
    assert sorted(len(function.seen) for function in functions) == [0, 60]


def test_offloaded_records_tell_where_they_come_from(transport: MemoryTransport) -> None:
    plant = plant_of(transport, "videojam", balancing={"policy": "videojam", "hop_limit": 1})
    with two_replicas(plant, Scripted(seconds=0.02), Scripted(seconds=0.02)):
        load_one_partition(plant, 100)
        plant.wait_for_ends(100)
    moved = [
        record
        for record in plant.read_all(plant.names.work("find"))
        if OFFLOADED_BY in dict(record.headers)
    ]
    assert moved
    tables = 0
    for record in moved:
        headers = dict(record.headers)
        assert headers[OFFLOADED_BY] in (b"find-0", b"find-1")
        topic, partition, offset = headers[OFFLOADED_FROM].decode().split("/")
        assert topic == plant.names.work("find")
        assert (int(partition), int(offset) >= 0) == (0, True)
        assert record.partition == 1
        assert WorkItem.from_record(record.headers, record.value).hops == 1
        tables += TABLE in headers
    assert 0 < tables < len(moved)


def test_hops_are_counted_for_each_step_anew(transport: MemoryTransport) -> None:
    plant = plant_of(transport, "videojam")
    finds = [Scripted(lambda _: [vehicle()], seconds=0.02) for _ in range(2)]
    with two_replicas(plant, *finds), plant.engine("read", Scripted()):
        load_one_partition(plant, 80)
        plant.wait_for_ends(80)
    passed = plant.read_all(plant.names.work("read"))
    assert len(passed) == 80
    assert {WorkItem.from_record(r.headers, r.value).hops for r in passed} == {0}


def test_an_unreadable_table_does_not_cost_the_work(transport: MemoryTransport) -> None:
    plant = plant_of(transport, "videojam")
    item = plant.item("cam", 0)
    headers = [*item.headers(), ("vj_hops", b"1"), (OFFLOADED_BY, b"x"), (TABLE, b"{rubbish")]
    with plant.engine("find", Scripted()):
        plant.send_record(item.data, headers)
        plant.producer.flush(5)
        accounts = plant.wait_for_ends(1)
    assert accounts["cam"].processed == 1


def test_what_a_record_says_twice_it_says_alike(transport: MemoryTransport) -> None:
    """Early rows reuse what people read; what neighbours decide by is of the moment."""
    plant = plant_of(transport, "videojam")
    with two_replicas(plant, Scripted(seconds=0.01), Scripted(seconds=0.01)):
        load_one_partition(plant, 100)
        plant.wait_for_ends(100)
    states = [
        ReplicaState.from_json(record.value)
        for record in plant.read_all(plant.names.state("find"))
        if record.value is not None
    ]
    rows = [state.balance.row for state in states if state.balance and state.balance.row]
    assert len(rows) == len(states)
    assert len({state.processed for state in states}) < len(states)  # some were reused
    for state, row in zip(states, rows, strict=True):
        assert state.at == pytest.approx(row.at, abs=0.5)
    for name in ("find-0", "find-1"):
        last = [(s, r) for s, r in zip(states, rows, strict=True) if s.replica == name][-1]
        assert last[0].partitions == last[1].partitions
        assert last[0].partitions
    assert len({(row.replica, row.at) for row in rows}) == len(rows)


def test_rubbish_on_the_topics_between_replicas_is_ignored(transport: MemoryTransport) -> None:
    plant = plant_of(transport, "videojam")
    for topic in (plant.names.state("find"), plant.names.signals("find"), plant.names.capacity):
        for value in (b"\xff\x00", b"{}", b'{"version": 9}', None):
            plant.producer.send(Record(topic=topic, key=b"find-9", value=value))
    plant.producer.flush(5)
    with plant.engine("find", Scripted()):
        plant.send_frames(20)
        accounts = plant.wait_for_ends(20)
    assert sum(a.processed for a in accounts.values()) == 20


def test_a_replica_says_goodbye(transport: MemoryTransport) -> None:
    plant = plant_of(transport, "videojam")
    with plant.engine("find", Scripted(), "find-0") as running:
        running.wait_for_partitions(2)
        wait_until(lambda: plant.read_all(plant.names.state("find")), "a row")
    last = plant.read_all(plant.names.state("find"))[-1]
    assert (last.key, last.value) == (b"find-0", None)


def overloaded_plant(transport: MemoryTransport, policy: str) -> Plant:
    """One whose queue is long enough for the overload's policy to decide what goes."""
    plant = plant_of(transport, "videojam", queue={"items": 1000})
    overload = plant.config.overload.model_copy(update={"policy": policy})
    plant.config = plant.config.model_copy(update={"overload": overload})
    return plant


def reasons_of_drops(plant: Plant) -> set[str]:
    with plant.auditor() as auditor:
        wait_until(lambda: auditor.poll(0.05) or auditor.ledger.accounts(), "an account")
        return {reason for account in auditor.ledger.accounts() for reason in account.dropped}


def test_frames_are_thinned_where_they_enter_when_the_group_lacks_capacity(
    transport: MemoryTransport,
) -> None:
    """Sixty frames a second for a function that does twenty: most go at the first step."""
    plant = overloaded_plant(transport, "rate")
    stop = threading.Event()
    sent = 0

    def produce() -> None:
        nonlocal sent
        picture = jpeg()
        while not stop.wait(0.016):
            for camera in ("a", "b"):
                plant.send_record(
                    picture, plant.item(camera, sent, picture).headers(), key=camera.encode()
                )
            sent += 1

    with plant.engine("find", Scripted(seconds=0.1)) as running:
        running.wait_for_partitions(2)
        producer = threading.Thread(target=produce)
        producer.start()
        try:
            wait_until(lambda: plant.read_all(plant.names.capacity), "a capacity event")
            wait_until(lambda: running.engine.status().dropped >= 20, "frames are thinned")
        finally:
            stop.set()
            producer.join()
    assert reasons_of_drops(plant) == {"overload at find"}


def test_with_the_policy_oldest_what_waits_too_long_is_dropped(
    transport: MemoryTransport,
) -> None:
    plant = overloaded_plant(transport, "oldest")
    with plant.engine("find", Scripted(seconds=0.2)) as running:
        running.wait_for_partitions(2)
        plant.send_frames(300)
        wait_until(lambda: running.engine.status().dropped >= 100, "the oldest go")
    assert reasons_of_drops(plant) == {"overload at find"}
