"""Invariants of the account, for ends and reports in any order, each any number of times."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow.accounting import (
    Account,
    CameraReport,
    DroppedFrame,
    DropReport,
    End,
    Ledger,
    Outcome,
    PartTree,
)
from dataflow.messages import FrameId, Part

PROCESSED = End(Outcome.PROCESSED)
DROPPED = End(Outcome.DROPPED, "queue-full at look")
DEAD = End(Outcome.DEAD, "image-empty at look")
ENDS = (PROCESSED, DROPPED, DEAD)

Event = tuple[FrameId, Part, End]


def frame(sequence: int, camera: str = "gate", stream: str = "run") -> FrameId:
    return FrameId(camera=camera, stream=stream, sequence=sequence)


def report(produced: int, *dropped: int, closed: bool = False) -> CameraReport:
    return CameraReport(
        camera="gate",
        stream="run",
        pipeline="fixed",
        kind="fixed",
        produced=produced,
        acked=0,
        dropped=tuple(DroppedFrame(sequence=s, reason="buffer-full") for s in dropped),
        closed=closed,
        at=0.0,
    )


def ledger_of(*events: Event) -> Ledger:
    ledger = Ledger()
    for frame_, part, end in events:
        ledger.end("fixed", frame_, part, end)
    return ledger


def only(ledger: Ledger) -> Account:
    (account,) = ledger.accounts()
    return account


def sums_up(account: Account) -> bool:
    ended = account.processed + account.dropped.total() + account.dead.total()
    return account.produced == ended + account.open and account.open >= 0


ends = st.sampled_from(ENDS) | st.builds(
    End, st.sampled_from(Outcome), st.sampled_from(["a", "b", ""])
)
paths = st.lists(
    st.integers(1, 3).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))), max_size=3
).map(lambda cuts: Part(tuple(cuts)))
frames = st.builds(
    FrameId,
    camera=st.sampled_from(["gate", "yard"]),
    stream=st.sampled_from(["monday", "tuesday"]),
    sequence=st.integers(0, 4),
)
events = st.tuples(frames, paths, ends)
reports = st.builds(
    report,
    st.integers(0, 6),
    *([st.integers(0, 8)] * 2),
    closed=st.booleans(),
)


@st.composite
def cut_frames(draw: st.DrawFn, part: Part = Part(), depth: int = 3) -> list[tuple[Part, End]]:  # noqa: B008 - a constant
    """The ends of one delivery of a frame, cut at random: together they are all of it."""
    count = draw(st.integers(0, 3)) if depth else 0
    if count == 0:
        return [(part, draw(st.sampled_from(ENDS)))]
    return [end for i in range(count) for end in draw(cut_frames(part.child(i, count), depth - 1))]


def outcomes(ledger: Ledger) -> list[Account]:
    return [replace(account, duplicates=0) for account in ledger.accounts()]


@given(st.lists(events | reports, max_size=25))
def test_produced_is_processed_and_dropped_and_dead_and_open_at_every_moment(
    history: list[Event | CameraReport],
) -> None:
    ledger = Ledger()
    for what in history:
        if isinstance(what, CameraReport):
            ledger.camera(what)
        else:
            ledger.end("fixed", *what)
        assert all(sums_up(account) for account in ledger.accounts())
        open_frames = Counter((p, f.camera) for p, f in ledger.open_frames())
        assert open_frames == Counter(
            {(a.pipeline, a.camera): a.open for a in ledger.accounts() if a.open}
        )


@given(st.data(), st.lists(events | reports, max_size=12))
def test_no_order_and_no_repetition_changes_how_frames_ended(
    data: st.DataObject, history: list[Event | CameraReport]
) -> None:
    again = (
        [*history, *data.draw(st.lists(st.sampled_from(history), max_size=5))] if history else []
    )
    shuffled = data.draw(st.permutations(again))
    ledgers = []
    for order in (history, shuffled):
        ledger = Ledger()
        for what in order:
            if isinstance(what, CameraReport):
                ledger.camera(what)
            else:
                ledger.end("fixed", *what)
        ledgers.append(ledger)
    assert outcomes(ledgers[0]) == outcomes(ledgers[1])


@given(cut_frames(), st.data())
def test_a_frame_ends_with_the_last_of_its_parts_and_as_the_worst_of_them(
    delivery: list[tuple[Part, End]], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(delivery))
    ledger = Ledger()
    for part, end in shuffled[:-1]:
        ledger.end("fixed", frame(0), part, end)
        assert only(ledger).open == 1
    ledger.end("fixed", frame(0), *shuffled[-1])
    account = only(ledger)
    worst = max(end.outcome for _, end in delivery)
    assert account.balanced
    assert (account.processed, account.dropped.total(), account.dead.total()) == tuple(
        int(worst is outcome) for outcome in Outcome
    )
    assert account.duplicates == 0


@given(cut_frames(), cut_frames(), st.data())
def test_a_frame_delivered_twice_counts_once_and_as_its_better_delivery(
    first: list[tuple[Part, End]], second: list[tuple[Part, End]], data: st.DataObject
) -> None:
    """Also when the second delivery is cut into other parts, and the two are interleaved."""
    ledger = Ledger()
    for part, end in data.draw(st.permutations(first + second)):
        ledger.end("fixed", frame(0), part, end)
    account = only(ledger)
    assert account.produced == 1
    assert account.balanced
    best = min(max(e.outcome for _, e in delivery) for delivery in (first, second))
    ended = (account.processed, account.dropped.total(), account.dead.total())
    # Parts that both deliveries have may mix to something better, never to something worse.
    assert ended.index(1) <= best


@given(cut_frames(), st.integers(1, 3))
def test_each_repeated_end_is_one_duplicate_and_changes_nothing_else(
    delivery: list[tuple[Part, End]], times: int
) -> None:
    ledger = Ledger()
    for part, end in delivery:
        ledger.end("fixed", frame(0), part, end)
    before = outcomes(ledger)
    for part, end in delivery * times:
        ledger.end("fixed", frame(0), part, end)
    assert outcomes(ledger) == before
    assert only(ledger).duplicates == len(delivery) * times


@pytest.mark.parametrize(
    ("worse", "better"), [(DEAD, DROPPED), (DEAD, PROCESSED), (DROPPED, PROCESSED)]
)
@pytest.mark.parametrize("better_first", [True, False])
def test_processed_beats_dropped_beats_dead(worse: End, better: End, *, better_first: bool) -> None:
    pair = [better, worse] if better_first else [worse, better]
    account = only(ledger_of(*((frame(0), Part(), end) for end in pair)))
    assert account.duplicates == 1
    assert (account.processed, account.dropped.total(), account.dead.total()) == tuple(
        int(better.outcome is outcome) for outcome in Outcome
    )


def test_parts_of_different_cuts_do_not_add_up() -> None:
    ledger = ledger_of(
        (frame(0), Part(((0, 2),)), PROCESSED),
        (frame(0), Part(((0, 3),)), PROCESSED),
        (frame(0), Part(((1, 3),)), PROCESSED),
    )
    assert only(ledger).open == 1
    ledger.end("fixed", frame(0), Part(((1, 2),)), PROCESSED)
    assert only(ledger).processed == 1


def test_a_frame_that_is_only_known_by_its_end_was_produced_with_all_before_it() -> None:
    ledger = ledger_of((frame(3), Part(), PROCESSED))
    assert only(ledger).produced == 4
    assert [f.sequence for _, f in ledger.open_frames()] == [0, 1, 2]


def test_a_report_that_lists_a_drop_beyond_its_count_still_adds_up() -> None:
    ledger = Ledger()
    ledger.camera(report(0, 5))
    assert only(ledger).produced == 6
    assert sums_up(only(ledger))


def test_an_older_report_takes_nothing_back() -> None:
    ledger = Ledger()
    ledger.camera(report(10, 2, closed=True))
    ledger.camera(report(4))
    account = only(ledger)
    assert (account.produced, account.dropped, account.closed) == (10, {"buffer-full": 1}, True)


def test_a_camera_is_closed_when_all_its_streams_are() -> None:
    ledger = Ledger()
    ledger.camera(report(1, closed=True))
    assert only(ledger).closed
    ledger.end("fixed", frame(0, stream="later"), Part(), PROCESSED)
    assert not only(ledger).closed


def test_streams_and_pipelines_are_counted_apart_and_cameras_sorted() -> None:
    ledger = Ledger()
    for pipeline, camera in (("mobile", "yard"), ("fixed", "yard"), ("fixed", "gate")):
        for stream in ("monday", "tuesday"):
            ledger.end(pipeline, frame(0, camera, stream), Part(), PROCESSED)
    assert [(a.pipeline, a.camera, a.processed, a.duplicates) for a in ledger.accounts()] == [
        ("fixed", "gate", 2, 0),
        ("fixed", "yard", 2, 0),
        ("mobile", "yard", 2, 0),
    ]


def test_a_replicas_drop_is_of_the_part_it_names() -> None:
    ledger = ledger_of((frame(0), Part(((0, 2),)), PROCESSED))
    drop = DropReport(
        id="gate/run/0/1/2",
        pipeline="fixed",
        camera="gate",
        stream="run",
        sequence=0,
        part="1/2",
        function="read",
        replica="read-0",
        reason="queue-full",
        at=0.0,
    )
    ledger.drop(drop)
    assert only(ledger).dropped == {"queue-full at read": 1}
    assert only(ledger).duplicates == 0


def test_an_orphan_touches_no_account() -> None:
    ledger = Ledger()
    ledger.orphan("bad-header")
    ledger.orphan("bad-header")
    assert ledger.unattributed == {"bad-header": 2}
    assert list(ledger.accounts()) == []


@given(st.lists(st.tuples(paths, ends), max_size=10))
def test_more_ends_never_make_a_frame_worse(history: list[tuple[Part, End]]) -> None:
    tree, last = PartTree(), None
    for part, end in history:
        node = tree.at(part)
        node.end = end if node.end is None else min(node.end, end)
        result = tree.result()
        if last is not None:
            assert result is not None
            assert result <= last
        last = result
