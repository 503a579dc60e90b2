"""What dies, hangs, leaves or comes back in the middle of a run: nothing may be lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import pytest

from agents.caller import StalledError
from agents.engine import DeliveryFailedError
from dataflow.functions.background_subtraction import (
    BackgroundSubtraction,
    BackgroundSubtractionParams,
)
from dataflow.functions.base import Detection, FunctionParams, Item
from dataflow.images import encode_jpeg
from dataflow.transport import Record
from dataflow.transport.memory import MemoryTransport
from tests.agents.plant import DEADLINE, Plant, Scripted, wait_until


class Clock:
    """Real time, which a test may move forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def transport(clock: Clock) -> Iterator[MemoryTransport]:
    with MemoryTransport(clock=clock) as transport:
        yield transport


def test_a_crashed_replicas_work_is_adopted_and_nothing_is_lost(
    transport: MemoryTransport, clock: Clock
) -> None:
    plant = Plant(transport)
    hung = threading.Event()

    def find(item: Item) -> list[Detection]:
        if item.sequence >= 3:
            hung.wait(DEADLINE)  # in hand when the process dies
        return []

    dying = plant.engine("find", Scripted(find), "dying")
    with plant.engine("find", Scripted(), "heir") as heir, dying:
        dying.wait_for_partitions(2)
        heir.wait_for_partitions(2)
        plant.send_frames(80, cameras=16)
        wait_until(lambda: dying.engine.status().processed >= 2, "some work is done")
        transport.crash(dying.engine._consumer)
        clock.ahead += 7
        heir.wait_for_partitions(4)
        accounts = plant.wait_for_ends(80)
        hung.set()
    assert sum(a.processed for a in accounts.values()) == 80


def test_replicas_that_come_and_go_under_load_lose_nothing(transport: MemoryTransport) -> None:
    plant = Plant(transport, find={"queue": {"when_full": "block"}})
    with plant.engine("find", Scripted(seconds=0.002)) as stays:
        for _ in range(3):
            plant.send_frames(40)
            with plant.engine("find", Scripted(seconds=0.002)) as comes:
                comes.wait_for_partitions(2)
                plant.send_frames(40)
            stays.wait_for_partitions(4)
        accounts = plant.wait_for_ends(40)
        wait_until(lambda: stays.engine.status().queued == 0, "the queue is empty")
    # the same 40 frames were sent six times: all but the first of each are duplicates
    assert sum(a.processed for a in accounts.values()) == 40


def test_a_graceful_stop_finishes_what_is_in_hand_and_hands_back_the_rest(
    transport: MemoryTransport,
) -> None:
    plant = Plant(transport)
    plant.send_frames(60)
    first = Scripted(seconds=0.01)
    with plant.engine("find", first) as running:
        wait_until(lambda: running.engine.status().processed >= 10, "some work is done")
    assert running.fault is None
    done = len(first.seen)
    assert 10 <= done < 60
    second = Scripted()
    with plant.engine("find", second):
        accounts = plant.wait_for_ends(60)
    # what was committed does not come again, what was not does
    assert len(second.seen) == 60 - done
    assert sum(a.duplicates for a in accounts.values()) == 0


def test_an_outcome_that_cannot_be_delivered_stops_the_replica_and_comes_again(
    transport: MemoryTransport,
) -> None:
    plant = Plant(transport)
    transport.fail_deliveries(plant.names.results("p"), 1)
    plant.send_frames(8)
    with plant.engine("find", Scripted()) as failing:
        wait_until(lambda: not failing.thread.is_alive(), "the replica stops")
    assert isinstance(failing.fault, DeliveryFailedError)
    with plant.engine("find", Scripted()):
        accounts = plant.wait_for_ends(8)
    assert sum(a.processed for a in accounts.values()) == 8


def test_a_hung_call_is_noticed_and_its_partitions_are_given_up(
    transport: MemoryTransport,
) -> None:
    plant = Plant(transport, find={"stall_limit": "300ms"})
    never = threading.Event()

    def hang(_: Item) -> list[Detection]:
        never.wait(DEADLINE)
        return []

    plant.send_frames(4)
    with plant.engine("find", Scripted(hang)) as hanging:
        wait_until(lambda: not hanging.thread.is_alive(), "the replica gives up")
        assert isinstance(hanging.fault, StalledError)
        with plant.engine("find", Scripted()) as heir:
            heir.wait_for_partitions(4)
            accounts = plant.wait_for_ends(4)
    never.set()
    assert sum(a.processed for a in accounts.values()) == 4


@pytest.mark.parametrize("change", ["assigned", "revoked", "lost"])
def test_a_hung_call_is_noticed_during_a_rebalance(transport: MemoryTransport, change: str) -> None:
    plant = Plant(transport, find={"stall_limit": "1s"})
    hung, never = threading.Event(), threading.Event()

    def hang(_: Item) -> list[Detection]:
        hung.set()
        never.wait(4 * DEADLINE)
        return []

    hanging = plant.engine("find", Scripted(hang), "hanging")
    other = plant.engine("find", Scripted(), "other")
    try:
        with hanging:
            if change == "assigned":
                with other:
                    hanging.wait_for_partitions(2)
                    other.wait_for_partitions(2)
                    plant.send_frames(80, cameras=16)
                    assert hung.wait(DEADLINE)
            else:
                hanging.wait_for_partitions(4)
                plant.send_frames(8)
                assert hung.wait(DEADLINE)
                if change == "lost":
                    transport.expel(hanging.engine._consumer)
                else:
                    other.thread.start()
            # Well before the deadline of a hand-over: it is cut short.
            wait_until(lambda: not hanging.thread.is_alive(), "the replica gives up", 15)
            assert isinstance(hanging.fault, StalledError)
    finally:
        never.set()
        if change == "revoked":
            other.stop()


def test_an_outage_delays_and_loses_nothing(transport: MemoryTransport) -> None:
    plant = Plant(transport)
    with plant.engine("find", Scripted(seconds=0.005)) as running:
        plant.send_frames(60)
        wait_until(lambda: running.engine.status().processed >= 5, "some work is done")
        transport.outage()
        processed = running.engine.status().processed
        wait_until(lambda: running.engine.status().processed > processed, "the queue goes on")
        transport.restore()
        accounts = plant.wait_for_ends(60)
        assert running.fault is None
    assert sum(a.processed for a in accounts.values()) == 60


def test_what_was_lost_to_another_member_is_not_committed(transport: MemoryTransport) -> None:
    plant = Plant(transport)
    plant.send_frames(40)
    with plant.engine("find", Scripted(seconds=0.005)) as running:
        wait_until(lambda: running.engine.status().processed >= 5, "some work is done")
        transport.expel(running.engine._consumer)
        running.wait_for_partitions(4)
        accounts = plant.wait_for_ends(40)
        assert running.fault is None
    assert sum(a.processed for a in accounts.values()) == 40


def street(step: int | None) -> bytes:
    """A textured road, on which a bright box stands at ``step``."""
    pixels = np.random.default_rng(3).integers(70, 110, (120, 160, 3)).astype(np.uint8)
    if step is not None:
        left = 10 + 8 * step
        pixels[40:80, left : left + 40] = np.random.default_rng(step).integers(
            200, 255, (40, 40, 3)
        )
    return encode_jpeg(pixels, quality=95)


class Spy:
    """Background subtraction that notes how many regions each frame had."""

    Params: ClassVar[type[FunctionParams]] = BackgroundSubtractionParams

    def __init__(self) -> None:
        self._inner = BackgroundSubtraction(
            BackgroundSubtractionParams(warmup_frames=10, min_area=0.01)
        )
        self.regions: dict[int, int] = {}

    def process(self, batch: Sequence[Item]) -> Sequence[Sequence[Detection]]:
        found = self._inner.process(batch)
        for item, detections in zip(batch, found, strict=True):
            self.regions[item.sequence] = len(detections)
        return found

    def snapshot(self, camera: str) -> bytes | None:
        return self._inner.snapshot(camera)

    def restore(self, camera: str, state: bytes) -> None:
        self._inner.restore(camera, state)

    def forget(self, camera: str) -> None:
        self._inner.forget(camera)

    def close(self) -> None:
        self._inner.close()


def test_a_cameras_background_follows_it_to_the_next_replica(transport: MemoryTransport) -> None:
    plant = Plant(transport, find={"stateful": True})
    with plant.engine("find", Spy()):
        plant.send(*(plant.item("cam", n, street(None)) for n in range(20)))
        plant.wait_for_ends(20)
    heir = Spy()
    with plant.engine("find", heir):
        plant.send(*(plant.item("cam", 20 + n, street(n)) for n in range(4)))
        wait_until(lambda: len(heir.regions) == 4, "the heir has seen four frames")
    assert all(count >= 1 for count in heir.regions.values()), heir.regions


def test_without_its_snapshot_a_camera_warms_up_anew(transport: MemoryTransport) -> None:
    plant = Plant(transport, find={"stateful": True})
    for partition in range(4):
        plant.producer.send(
            Record(
                topic=plant.names.snapshots("find"),
                key=b"cam",
                value=b"not a snapshot",
                partition=partition,
            )
        )
    assert plant.producer.flush(DEADLINE) == 0
    fresh = Spy()
    with plant.engine("find", fresh) as running:
        plant.send(*(plant.item("cam", n, street(n % 4)) for n in range(4)))
        wait_until(lambda: len(fresh.regions) == 4, "four frames were seen")
        assert running.fault is None
    assert not any(fresh.regions.values())
