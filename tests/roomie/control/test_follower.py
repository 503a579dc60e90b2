"""Compacted topics followed in a thread."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dataflow.errors import BrokerError
from dataflow.transport import Reader
from dataflow.transport.memory import MemoryTransport
from roomie.control.follower import Follower, Table
from roomie.control.records import Placement
from tests.roomie.control.kit import Plant, placed
from tests.roomie.waiting import wait_until


@pytest.fixture
def plant() -> Iterator[Plant]:
    with MemoryTransport() as transport:
        found = Plant(transport)
        yield found
        found.close()


def test_the_newest_of_each_key_counts_and_tombstones_delete(plant: Plant) -> None:
    plant.place("old", [])
    plant.place("m", [])
    plant.place("m", [placed("m.1", "w")])
    plant.remove("old")
    table = Table(Placement)
    with Follower(plant.transport, {plant.names.placements: table}) as follower:
        assert follower.wait_ready(30)
        assert follower.fault() is None
        assert list(table.rows()) == ["m"]
        assert [i.id for i in table.rows()["m"].instances] == ["m.1"]
        plant.place("new", [])
        wait_until(lambda: set(table.rows()) == {"m", "new"}, "what comes later is heard")
        plant.remove("m")
        wait_until(lambda: set(table.rows()) == {"new"}, "and what goes")


def test_what_cannot_be_read_is_left_out_and_said(
    plant: Plant, caplog: pytest.LogCaptureFixture
) -> None:
    plant.send(plant.names.placements, "broken", b"{}")
    plant.place("m", [])
    table = Table(Placement)
    with Follower(plant.transport, {plant.names.placements: table}) as follower:
        assert follower.wait_ready(30)
        assert list(table.rows()) == ["m"]
    assert "ignoring a record of 'broken'" in caplog.text


def test_topics_that_are_not_there_yet_are_waited_for() -> None:
    with MemoryTransport() as transport:
        table = Table(Placement)
        with Follower(transport, {"later.roomie.placements": table}) as follower:
            wait_until(follower.fault, "it says why")
            assert not follower.ready()
            plant = Plant(transport, "later")
            plant.place("m", [])
            wait_until(lambda: "m" in table.rows(), "it reads them then")
            assert follower.fault() is None
            plant.close()


class Failing:
    """A reader that fails after its first records."""

    def __init__(self, reader: Reader, error: Exception) -> None:
        self._reader = reader
        self._error = error

    def poll(self, max_records: int, timeout: float) -> object:
        if self._reader.caught_up():
            raise self._error
        return self._reader.poll(max_records, timeout)

    def caught_up(self) -> bool:
        return self._reader.caught_up()

    def close(self) -> None:
        self._reader.close()


@pytest.mark.parametrize("error", [BrokerError("gone"), RuntimeError("a fault of ours")])
def test_after_a_fault_all_is_read_anew_and_what_was_deleted_meanwhile_is_forgotten(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    plant.place("stays", [])
    plant.place("goes", [])
    opened: list[object] = []
    open_reader = plant.transport.reader

    def once(*arguments: object, **settings: object) -> object:
        reader = open_reader(*arguments, **settings)  # type: ignore[arg-type]
        opened.append(reader)
        if len(opened) == 1:
            return Failing(reader, error)
        # as the compacted topic looks by then
        table.hear("deleted-meanwhile", Placement.model_validate(SPEC).to_json(), 0.0)
        return reader

    SPEC = {"spec": {"model": "x"}}  # noqa: N806 - a constant of this test
    monkeypatch.setattr(plant.transport, "reader", once)
    table = Table(Placement)
    with Follower(plant.transport, {plant.names.placements: table}):
        wait_until(lambda: len(opened) == 2, "it has opened another reader")
        wait_until(lambda: set(table.rows()) == {"stays", "goes"}, "and forgets what is gone")
