"""The engine on the in-memory transport: outcomes, order, limits and bad input."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence

import pytest

from agents.outbox import Outbox
from dataflow.functions.base import Box, Detection, Item
from dataflow.results import Result
from dataflow.transport.memory import MemoryTransport
from tests.agents.plant import Plant, Scripted, jpeg, vehicle, wait_until


@pytest.fixture
def transport() -> Iterator[MemoryTransport]:
    with MemoryTransport() as transport:
        yield transport


def test_frames_pass_two_functions_and_end_as_results(transport: MemoryTransport) -> None:
    plant = Plant(transport)
    plate = Detection(kind="plate", box=Box(x=2, y=3, w=9, h=4), score=0.8, text="AB12")
    finds, reads = Scripted(lambda _: [vehicle(x=10, y=6)]), Scripted(lambda _: [plate])
    with plant.engine("find", finds, "find-0"), plant.engine("read", reads, "read-0"):
        plant.send_frames(12)
        accounts = plant.wait_for_ends(12)
    assert {a.processed for a in accounts.values()} == {3}
    results = [Result.from_json(r.value) for r in plant.read_all(plant.names.results("p"))]
    assert len({r.id for r in results}) == 12
    for result in results:
        assert [s.replica for s in result.stages] == ["find-0", "read-0"]
        assert (result.vehicles[0].box.x, result.vehicles[0].box.y) == (10, 6)
        # found at (2, 3) in a crop whose corner lies at (10, 6) of the frame
        assert (result.plates[0].box.x, result.plates[0].box.y) == (12, 9)
        assert result.plates[0].text == "AB12"
    assert {item.image.shape for item in reads.seen} == {(16, 20, 3)}
    assert finds.closed
    assert reads.closed


def test_each_cameras_items_keep_their_order(transport: MemoryTransport) -> None:
    plant = Plant(transport, find={"batch": {"max": 4}})
    finds = Scripted()
    with plant.engine("find", finds):
        plant.send_frames(80)
        plant.wait_for_ends(80)
    for camera in {item.camera for item in finds.seen}:
        numbers = [item.sequence for item in finds.seen if item.camera == camera]
        assert numbers == sorted(numbers)


def test_batches_hold_one_to_the_declared_maximum(transport: MemoryTransport) -> None:
    plant = Plant(transport, find={"batch": {"max": 4, "wait": "20ms"}})
    finds = Scripted(seconds=0.02)
    plant.send_frames(30)
    with plant.engine("find", finds):
        plant.wait_for_ends(30)
    sizes = [len(batch) for batch in finds.batches]
    assert max(sizes) == 4
    assert sum(sizes) == 30


def test_an_incomplete_batch_does_not_wait_for_more_than_its_limit(
    transport: MemoryTransport,
) -> None:
    plant = Plant(transport, find={"batch": {"max": 64, "wait": "10ms"}})
    finds = Scripted()
    with plant.engine("find", finds):
        plant.send_frames(1)
        plant.wait_for_ends(1)
    assert [len(batch) for batch in finds.batches] == [1]


def test_drop_oldest_reports_each_drop_and_keeps_the_newest(transport: MemoryTransport) -> None:
    plant = Plant(transport, find={"queue": {"items": 5}, "partitions": 1})
    plant.send_frames(60, cameras=1)
    finds = Scripted(seconds=0.02)
    with plant.engine("find", finds):
        accounts = plant.wait_for_ends(60)
    account = accounts["cam-0"]
    assert account.dropped.total() > 0
    assert set(account.dropped) == {"queue-full at find"}
    assert account.processed + account.dropped.total() == 60
    assert finds.seen[-1].sequence == 59
    # drops are committed too: nothing comes again
    again = Scripted()
    with plant.engine("find", again) as running:
        running.wait_for_partitions(1)
        plant.send(plant.item("cam-0", 60))
        wait_until(lambda: again.seen, "the frame after")
    assert [item.sequence for item in again.seen] == [60]


def test_block_drops_nothing_and_keeps_the_queue_within_its_limit(
    transport: MemoryTransport,
) -> None:
    plant = Plant(transport, find={"queue": {"items": 6, "when_full": "block"}})
    plant.send_frames(120)
    longest = 0
    with plant.engine("find", Scripted(seconds=0.003)) as running:

        def ended() -> bool:
            nonlocal longest
            status = running.engine.status()
            longest = max(longest, status.queued)
            return status.processed == 120

        wait_until(ended, "120 frames processed")
        accounts = plant.wait_for_ends(120)
    assert sum(a.processed for a in accounts.values()) == 120
    assert longest <= 6


def test_one_failing_item_does_not_fail_its_batch(transport: MemoryTransport) -> None:
    plant = Plant(transport, find={"batch": {"max": 8, "wait": "50ms"}, "attempts": 3})

    def find(item: Item) -> list[Detection]:
        if item.sequence == 2:
            raise ZeroDivisionError("the test says so")
        return []

    finds = Scripted(find)
    plant.send_frames(6, cameras=1)
    with plant.engine("find", finds):
        accounts = plant.wait_for_ends(6)
    assert accounts["cam-0"].processed == 5
    assert accounts["cam-0"].dead == {"function-error at find": 1}
    assert sum(batch[0].sequence == 2 for batch in finds.batches if len(batch) == 1) == 3
    record = plant.read_all(plant.names.dead("find"))[0]
    assert b"the test says so" in dict(record.headers)["vj_dead_detail"]
    assert record.value == jpeg()


def test_a_wrong_number_of_results_kills_the_item_not_the_worker(
    transport: MemoryTransport,
) -> None:
    class Short(Scripted):
        def process(self, batch: Sequence[Item]) -> Sequence[Sequence[Detection]]:
            return [()] * (len(batch) - 1)

    plant = Plant(transport)
    with plant.engine("find", Short()):
        plant.send_frames(2)
        plant.wait_for_ends(2)
    assert plant.dead() == {"function-error": 2}


def _huge_png() -> bytes:
    """A picture of 60,000 x 60,000 pixels by its header, of a few bytes by its content."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    )


def test_bad_records_become_dead_letters_with_their_reason(transport: MemoryTransport) -> None:
    plant = Plant(transport, find={"attempts": 1})
    finds = Scripted(lambda item: [vehicle()] * (item.image.size == 0))
    good = plant.item("cam", 0).headers()

    def changed(**values: str | None) -> list[tuple[str, bytes]]:
        kept = [(k, v) for k, v in good if k not in values]
        return kept + [(k, v.encode()) for k, v in values.items() if v is not None]

    cases = [
        (b"this is no picture", good, "image-undecodable"),
        (jpeg()[:120], good, "image-undecodable"),
        (_huge_png(), good, "image-too-large"),
        (b"", good, "image-empty"),
        (None, good, "image-empty"),
        (jpeg(), [], "bad-header"),
        (jpeg(), changed(vj_sequence=None), "bad-header"),
        (jpeg(), changed(ce_time="yesterday"), "bad-header"),
        (jpeg(), changed(vj_detections="[[1"), "bad-header"),
        (jpeg(), [*changed(vj_camera=None), ("vj_camera", b"\xff\xfe")], "bad-header"),
        (jpeg(), changed(vj_version="99"), "unknown-version"),
        (jpeg(), changed(vj_pipeline="elsewhere"), "unknown-pipeline"),
        (jpeg(), changed(vj_step="read"), "unknown-step"),
    ]
    expected: dict[str, int] = {}
    for value, headers, reason in cases:
        plant.send_record(value, headers)
        expected[reason] = expected.get(reason, 0) + 1
    with plant.engine("find", finds) as running:
        wait_until(lambda: sum(plant.dead().values()) == len(cases), "all are dead")
        plant.send(plant.item("after", 1))
        wait_until(lambda: any(i.camera == "after" for i in finds.seen), "the worker goes on")
        assert running.fault is None
    assert plant.dead() == expected


@pytest.mark.parametrize(
    "found",
    [
        Detection(kind="vehicle", box=Box(x=float("nan"), y=0, w=4, h=4), score=0.5),
        Detection(kind="vehicle", box=Box(x=0, y=0, w=4, h=4), score=float("inf")),
    ],
)
def test_detections_that_are_no_numbers_are_dead(
    transport: MemoryTransport, found: Detection
) -> None:
    plant = Plant(transport)
    with plant.engine("find", Scripted(lambda _: [found])):
        plant.send_frames(1)
        plant.wait_for_ends(1)
    assert plant.dead() == {"bad-detection": 1}


def test_a_record_that_the_broker_calls_too_large_is_dead_not_tried_for_ever(
    transport: MemoryTransport,
) -> None:
    plant = Plant(transport)
    admin = transport.admin()
    admin.set_configs(plant.names.work("read"), {"max.message.bytes": "600"})
    with plant.engine("find", Scripted(lambda _: [vehicle(w=50, h=40)])) as running:
        plant.send_frames(1)
        plant.wait_for_ends(1)
        assert running.fault is None
    assert plant.dead() == {"too-large": 1}


def test_status_counts_what_happened(transport: MemoryTransport) -> None:
    plant = Plant(transport)
    with plant.engine("find", Scripted()) as running:
        plant.send_frames(10)
        plant.wait_for_ends(10)
        status = running.engine.status()
    assert (status.processed, status.dropped, status.dead, status.queued) == (10, 0, 0, 0)
    assert status.partitions == (0, 1, 2, 3)
    assert status.rate > 0
    assert status.response_seconds is not None


def test_spread_deals_one_cameras_objects_over_partitions(transport: MemoryTransport) -> None:
    plant = Plant(transport, read={"partitioning": "spread", "partitions": 8})
    outbox = Outbox(plant.producer, plant.config, "find", "r")
    partitions = set()
    for sequence in range(64):
        item = plant.item("cam", sequence)
        record = outbox.work(
            type(item)(frame=item.frame, pipeline="p", step="read", captured_at=0.0, data=item.data)
        )
        partitions.add(record.partition)
    assert partitions == set(range(8))
