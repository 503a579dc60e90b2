"""The ledger and the buffer: one outcome for each frame, limits kept."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow.accounting import CameraReport, parse_report
from dataflow.camera.buffer import BufferConfig, FrameBuffer, WhenFull
from dataflow.camera.ledger import MAX_DROPS, Ledger
from dataflow.errors import ConfigError


def make_ledger(pipelines: tuple[str, ...] = ("p",)) -> Ledger:
    return Ledger(camera="c", stream="s", kind="fixed", pipelines=pipelines)


def test_the_first_outcome_stands() -> None:
    ledger = make_ledger()
    sequence = ledger.capture()
    assert ledger.ack(sequence, "p")
    assert not ledger.drop(sequence, "delivery-failed")
    assert not ledger.ack(sequence, "p")
    totals = ledger.totals()
    assert (totals.acked, totals.dropped, totals.open) == (1, {}, 0)


def test_each_pipeline_has_its_own_outcome() -> None:
    ledger = make_ledger(("p", "q"))
    sequence = ledger.capture()
    ledger.ack(sequence, "p")
    assert ledger.totals().open == 1
    assert not ledger.wait_settled(0.0)
    ledger.drop(sequence, "refused", "q")
    assert ledger.wait_settled(0.0)
    one, two = ledger.reports(at=1.0, closed=True)
    assert (one.pipeline, one.acked, one.dropped) == ("p", 1, ())
    assert (two.pipeline, two.acked, [d.reason for d in two.dropped]) == ("q", 0, ["refused"])


@given(
    outcomes=st.lists(st.sampled_from(["ack", "drop", "report", "lose", "open"]), max_size=60),
    final=st.booleans(),
)
def test_reports_list_each_drop_once_and_sum_to_what_was_produced(
    outcomes: list[str], final: bool
) -> None:
    ledger = make_ledger()
    published: list[CameraReport] = []
    for outcome in outcomes:
        if outcome == "report":
            published += ledger.reports(at=0.0, closed=False)
        elif outcome == "lose":  # this report never reaches the broker
            for report in ledger.reports(at=0.0, closed=False):
                ledger.relist(report)
        else:
            sequence = ledger.capture()
            if outcome == "ack":
                ledger.ack(sequence, "p")
            elif outcome == "drop":
                ledger.drop(sequence, "buffer-full")
    still_open = ledger.totals().open
    if final:
        assert ledger.drop_open("delivery-failed") == still_open
    published += ledger.reports(at=1.0, closed=final)
    listed = [d.sequence for report in published for d in report.dropped]
    assert len(listed) == len(set(listed))
    last = published[-1]
    expected_open = 0 if final else still_open
    assert last.produced == last.acked + len(listed) + expected_open
    assert last.closed == final


def test_many_drops_are_spread_over_several_records_and_only_the_last_is_closed() -> None:
    ledger = make_ledger()
    for _ in range(2 * MAX_DROPS + 1):
        ledger.drop(ledger.capture(), "buffer-full")
    reports = ledger.reports(at=5.0, closed=True)
    assert [len(r.dropped) for r in reports] == [MAX_DROPS, MAX_DROPS, 1]
    assert [r.closed for r in reports] == [False, False, True]
    assert all(len(r.model_dump_json()) < 1_000_000 for r in reports)
    assert parse_report(reports[0].model_dump_json().encode()) == reports[0]


def picture_of(size: int) -> bytes:
    return bytes(size)


@given(
    sizes=st.lists(st.integers(1, 50), max_size=60),
    gets=st.lists(st.booleans(), min_size=60, max_size=60),
    policy=st.sampled_from(["drop-oldest", "drop-newest"]),
    frames=st.integers(1, 8),
    limit=st.integers(1, 120),
)
def test_limits_are_kept_and_every_frame_is_sent_waiting_or_dropped(
    sizes: list[int], gets: list[bool], policy: WhenFull, frames: int, limit: int
) -> None:
    ledger = make_ledger()
    buffer = FrameBuffer(BufferConfig(frames=frames, bytes=limit, when_full=policy), ledger)
    got: list[int] = []
    held: dict[int, int] = {}
    for size, get in zip(sizes, gets, strict=False):
        sequence = buffer.put(picture_of(size), 0.0)
        assert sequence is not None
        held[sequence] = size
        if get and (frame := buffer.get(0.0)) is not None:
            got.append(frame.sequence)
            ledger.ack(frame.sequence, "p")
    assert len(buffer) <= frames
    buffer.close()
    assert buffer.put(picture_of(1), 0.0) is None
    rest = []
    while (frame := buffer.get(0.0)) is not None:
        rest.append(frame.sequence)
    assert sum(held[s] for s in rest) <= limit or len(rest) == 1
    assert buffer.drained
    order = got + rest
    assert order == sorted(order)  # never out of order
    totals = ledger.totals()
    assert totals.captured == len(sizes) == len(order) + totals.dropped.get("buffer-full", 0)


@pytest.mark.parametrize(("policy", "left"), [("drop-oldest", [2, 3]), ("drop-newest", [0, 1])])
def test_the_policy_chooses_who_goes(policy: WhenFull, left: list[int]) -> None:
    buffer = FrameBuffer(BufferConfig(frames=2, when_full=policy), make_ledger())
    for _ in range(4):
        buffer.put(b"x", 0.0)
    frames = [buffer.get(0.0) for _ in range(2)]
    assert [frame.sequence for frame in frames if frame] == left


def test_arrays_count_their_bytes() -> None:
    buffer = FrameBuffer(BufferConfig(bytes=100, when_full="drop-oldest"), make_ledger())
    for _ in range(3):
        buffer.put(np.zeros((5, 10), np.uint8), 0.0)
    assert len(buffer) == 2


def test_one_frame_is_held_however_large() -> None:
    ledger = make_ledger()
    buffer = FrameBuffer(BufferConfig(bytes=10, when_full="drop-newest"), ledger)
    buffer.put(bytes(1000), 0.0)
    assert len(buffer) == 1
    assert not ledger.totals().dropped


def test_block_waits_for_room_and_loses_nothing() -> None:
    ledger = make_ledger()
    buffer = FrameBuffer(BufferConfig(frames=1, when_full="block"), ledger)

    def produce() -> None:
        for _ in range(50):
            buffer.put(b"x", 0.0)
        buffer.close()

    thread = threading.Thread(target=produce)
    thread.start()
    sequences = []
    while not buffer.drained:
        frame = buffer.get(10.0)
        if frame is not None:
            sequences.append(frame.sequence)
    thread.join()
    assert sequences == list(range(50))


def test_closing_wakes_who_waits_for_room_and_does_not_take_the_frame() -> None:
    ledger = make_ledger()
    buffer = FrameBuffer(BufferConfig(frames=1, when_full="block"), ledger)
    buffer.put(b"x", 0.0)
    results: list[int | None] = []
    thread = threading.Thread(target=lambda: results.append(buffer.put(b"y", 0.0)))
    thread.start()
    buffer.close()
    thread.join()
    assert results == [None]
    assert ledger.totals().captured == 1


def test_limits_must_be_positive() -> None:
    with pytest.raises(ConfigError, match=r"buffer\.frames: must be at least 1"):
        BufferConfig(frames=0)
    with pytest.raises(ConfigError, match=r"buffer\.bytes"):
        BufferConfig(bytes=0)
    with pytest.raises(ConfigError, match=r"buffer\.in_flight"):
        BufferConfig(in_flight=-1)
