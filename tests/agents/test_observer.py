"""The observer: rows with their age, whatever the clocks say."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from agents.observer import Observer
from agents.overview import SILENT_SECONDS, Sighting
from agents.state import Balance, ReplicaState
from dataflow.transport import Record
from dataflow.transport.memory import MemoryTransport
from tests.agents.plant import Plant, Scripted, wait_until
from tests.agents.shown import row, state


@pytest.fixture
def plant() -> Iterator[Plant]:
    with MemoryTransport() as transport:
        yield Plant(transport)


class Clock:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


def publish(plant: Plant, replica: str, shown: ReplicaState | None) -> None:
    value = None if shown is None else shown.model_dump_json().encode()
    topic = plant.names.state("find")
    plant.producer.send(Record(topic=topic, key=replica.encode(), value=value))
    plant.producer.flush(5)


def seen(observer: Observer) -> dict[str, Sighting]:
    return {sighting.state.replica: sighting for sighting in observer.sightings()}


def test_a_running_replica_is_alive_and_tells_its_balance(plant: Plant) -> None:
    with (
        plant.engine("find", Scripted(), "find-0") as running,
        Observer(plant.config, plant.transport) as observer,
    ):
        running.wait_for_partitions(4)
        plant.send_frames(20)
        plant.wait_for_ends(20)
        wait_until(
            lambda: "find-0" in seen(observer) and seen(observer)["find-0"].state.processed == 20,
            "its row says what it has done",
        )
        known = seen(observer)["find-0"]
        assert known.age < 30, "however busy the machine"
        assert known.state.balance is not None
        assert known.state.balance.rows > 0
        assert observer.wait_ready(0)
    assert observer.fault() is None


def test_a_row_from_before_the_start_is_as_old_as_its_time_stamp(plant: Plant) -> None:
    publish(plant, "find-0", state())
    later = time.time() + 100
    with Observer(plant.config, plant.transport, clock=lambda: later) as observer:
        assert observer.wait_ready(30)
        assert seen(observer)["find-0"].age > 99
        assert observer.rows()["find-0"].replica == "find-0"


def test_what_comes_while_watching_is_new_whatever_its_clock_says(plant: Plant) -> None:
    later = time.time() + 100
    with Observer(plant.config, plant.transport, clock=lambda: later) as observer:
        assert observer.wait_ready(30)
        publish(plant, "find-0", state())
        wait_until(lambda: seen(observer), "the row")
        assert seen(observer)["find-0"].age < 50


def test_a_replica_grows_old_when_it_says_nothing(plant: Plant) -> None:
    clock = Clock()
    with Observer(plant.config, plant.transport, monotonic=clock) as observer:
        publish(plant, "find-0", state())
        wait_until(lambda: seen(observer), "the row")
        clock.ahead = 20.0
        assert seen(observer)["find-0"].age >= 20 - 1 > SILENT_SECONDS


def test_a_goodbye_is_heard_and_rubbish_is_not(plant: Plant) -> None:
    with Observer(plant.config, plant.transport) as observer:
        publish(plant, "find-0", state())
        publish(plant, "find-1", state("find-1"))
        plant.producer.send(
            Record(topic=plant.names.state("find"), key=b"find-1", value=b"{rubbish")
        )
        publish(plant, "find-0", None)
        wait_until(lambda: list(seen(observer)) == ["find-1"], "only the other is left")


def test_rates_are_between_rows_of_one_process(plant: Plant) -> None:
    with Observer(plant.config, plant.transport) as observer:
        for second in range(10):
            publish(plant, "find-0", state(at=1000.0 + second, processed=second))
        assert observer.wait_ready(30)
        wait_until(lambda: [s.state.processed for s in observer.sightings()] == [9], "the last row")
        earlier = seen(observer)["find-0"].earlier
        assert earlier is not None
        assert 1003.0 <= earlier.at <= 1005.0
        publish(plant, "find-0", state(at=900.0, processed=1))
        publish(plant, "find-0", state(incarnation="j", at=901.0, processed=2))
        wait_until(lambda: seen(observer)["find-0"].state.processed == 2, "another life")
        assert seen(observer)["find-0"].earlier == seen(observer)["find-0"].state


def within(at: float, row_at: float, **more: Any) -> ReplicaState:
    """What a replica published at ``row_at``, with the counts of ``at``."""
    shown = Balance(policy="videojam", row=row("find-0", at=row_at))
    return state("find-0", at=at, balance=shown, **more)


def test_a_row_that_shares_the_counts_of_the_last_one_is_news(plant: Plant) -> None:
    with Observer(plant.config, plant.transport) as observer:
        publish(plant, "find-0", within(1000.0, 1000.0, queued=3))
        publish(plant, "find-0", within(1000.0, 1000.1, queued=8))
        wait_until(lambda: [s.state.queued for s in observer.sightings()] == [8], "the last row")


def test_a_row_that_is_read_again_does_not_bring_its_replica_back(plant: Plant) -> None:
    with Observer(plant.config, plant.transport) as observer:
        rows = [within(1000.0, at) for at in (1000.0, 1000.1)]
        for row_of_it in rows:
            publish(plant, "find-0", row_of_it)
        wait_until(lambda: observer.rows() == {"find-0": rows[1]}, "the last row")
        published = time.monotonic()
        time.sleep(0.2)
        for row_of_it in rows:
            publish(plant, "find-0", row_of_it)
        publish(plant, "find-1", state("find-1", at=1000.0))
        wait_until(lambda: len(observer.sightings()) == 2, "a row behind it")
        (age,) = [s.age for s in observer.sightings() if s.state.replica == "find-0"]
        assert age >= time.monotonic() - published - 0.1


def test_only_the_functions_that_are_asked_for_are_followed(plant: Plant) -> None:
    with Observer(plant.config, plant.transport, functions=["read"]) as observer:
        publish(plant, "find-0", state())
        assert observer.wait_ready(30)
        assert seen(observer) == {}
        assert set(observer.lag()) == {"read"}


def test_absent_topics_are_a_fault_that_says_so() -> None:
    with MemoryTransport() as transport:
        config = Plant(transport).config.model_copy(update={"deployment": "nowhere"})
        with Observer(config, transport) as observer:
            wait_until(observer.fault, "a fault")
            assert "nowhere.find.state" in str(observer.fault())
            assert not observer.wait_ready(0)
