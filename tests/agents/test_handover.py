"""Partitions that come and go, as the engine's listener sees it."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator, Mapping
from typing import cast

import pytest

from agents.balancing import Fifo
from agents.caller import Caller
from agents.cameras import CameraStates
from agents.hand import Hand
from agents.handover import HANDOVER_SECONDS, Handover
from agents.steering import Outgoing, Steering
from dataflow.config import QueueConfig
from dataflow.functions.base import Detection, Item
from dataflow.transport import TopicPartition
from dataflow.transport.memory import MemoryTransport
from tests.agents.plant import DEADLINE, Scripted

ONE, TWO = TopicPartition("find", 1), TopicPartition("find", 2)
A_PICTURE = Item(camera="cam", sequence=0, captured_at=0.0, data=b"")


class Cameras:
    """Notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[int]]] = []

    def take_over(self, partitions: Collection[int]) -> None:
        self.asked.append(("take over", list(partitions)))

    def hand_over(self, partitions: Collection[int]) -> None:
        self.asked.append(("hand over", list(partitions)))

    def forget(self, partitions: Collection[int]) -> None:
        self.asked.append(("forget", list(partitions)))


class Quiet:
    """A steering that has nothing to say."""

    def assigned(self) -> Outgoing:
        return Outgoing()

    def send(self, outgoing: Outgoing) -> None:
        assert outgoing.is_empty


class World:
    """A replica's hand-over, whose time passes as often as somebody looks at the clock."""

    def __init__(self, transport: MemoryTransport) -> None:
        self.now = 0.0
        self.fault = False
        self.cameras = Cameras()
        self.commits: list[Mapping[TopicPartition, int]] = []
        self.paused = {ONE, TWO}
        self.hand = Hand(QueueConfig(), Fifo())
        self.never = threading.Event()
        self.function = Scripted(self._hang)
        self.caller = Caller(
            "find", self.function, attempts=1, stall_limit=1, monotonic=lambda: self.now
        )
        self.handover = Handover(
            replica="r",
            hand=self.hand,
            caller=self.caller,
            cameras=cast(CameraStates, self.cameras),
            steering=cast(Steering, Quiet()),
            producer=transport.producer(),
            commit=self.commits.append,
            dropped=self.paused.difference_update,
            failing=lambda: self.fault,
            monotonic=self._tick,
        )

    def _hang(self, _: Item) -> list[Detection]:
        self.never.wait(DEADLINE)
        return []

    def _tick(self) -> float:
        self.now += 0.5
        return self.now

    def hang(self) -> None:
        """Begin a call that does not come back."""
        threading.Thread(target=self.caller.call, args=[[A_PICTURE]], daemon=True).start()
        while not self.function.batches:
            time.sleep(0.005)


@pytest.fixture
def world() -> Iterator[World]:
    with MemoryTransport() as transport:
        world = World(transport)
        yield world
        world.never.set()


def test_what_is_gone_counts_as_paused_no_more(world: World) -> None:
    world.handover.on_assigned([ONE, TWO])
    world.handover.on_revoked([ONE])
    assert world.paused == {TWO}
    world.handover.on_lost([TWO])
    assert world.paused == set()
    assert world.cameras.asked == [("take over", [1, 2]), ("hand over", [1]), ("forget", [2])]


def test_with_a_fault_nothing_waits_for_the_function(world: World) -> None:
    world.handover.on_assigned([ONE])
    world.hang()
    world.fault = True
    world.handover.on_assigned([TWO])
    assert world.hand.progress.partitions == [ONE]
    world.handover.on_revoked([ONE])
    assert world.hand.progress.partitions == []
    world.handover.on_lost([TWO])
    assert world.cameras.asked == [("take over", [1])]
    assert world.now < HANDOVER_SECONDS


def test_a_partition_leaves_by_the_deadline_whatever_the_function_does(world: World) -> None:
    world.handover.on_assigned([ONE])
    progress = world.hand.progress.of(ONE)
    for offset in (4, 5):
        progress.start(offset)
        world.hand.open_record(progress)
    world.hand.finish(progress, 4)
    world.hang()
    world.handover.on_revoked([ONE])
    assert world.now > HANDOVER_SECONDS
    assert world.commits == [{ONE: 5}]
    assert world.cameras.asked == [("take over", [1])]
