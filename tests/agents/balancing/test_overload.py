"""Shedding: when, how much, and fair."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.balancing import Admission, CapacityEvent, Demand, Overload, Waiting, max_min, shed
from agents.balancing.overload import by_priority
from dataflow.errors import RecordError

cameras = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 100), max_size=8)


def demand(arriving: float, *, waiting: float = 0.0, **rates: float) -> Demand:
    return Demand(waiting=waiting, arriving=arriving, available=30.0, seconds=10.0, cameras=rates)


@given(cameras, st.floats(0, 500))
def test_shares_are_max_min_fair(demands: dict[str, float], capacity: float) -> None:
    """All is handed out, nobody gets more than asked, and whoever gets less has as much as any."""
    shares = max_min(demands, capacity)
    assert sum(shares.values()) == pytest.approx(min(capacity, sum(demands.values())))
    most = max(shares.values(), default=0.0)
    for name, wanted in demands.items():
        assert shares[name] <= wanted + 1e-9
        assert shares[name] >= wanted - 1e-9 or shares[name] == pytest.approx(most)


@given(cameras, st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 2)), st.floats(0, 500))
def test_a_lower_class_gets_only_what_the_higher_leave(
    demands: dict[str, float], priorities: dict[str, int], capacity: float
) -> None:
    shares = by_priority(demands, priorities, capacity)
    assert sum(shares.values()) == pytest.approx(min(capacity, sum(demands.values())))
    for low, high in ((low, high) for low in demands for high in demands):
        if priorities.get(low, 0) < priorities.get(high, 0) and shares[low] > 1e-9:
            assert shares[high] == pytest.approx(demands[high])


def test_there_is_no_overload_while_all_is_done_within_the_window() -> None:
    overload = Overload("ocr")
    assert overload.update(1.0, demand(20.0, waiting=100.0)) is None
    assert overload.since is None


def test_an_overload_is_announced_each_second_and_once_it_ends() -> None:
    overload = Overload("ocr")
    event = overload.update(1.0, demand(40.0, a=30.0, b=10.0))
    assert event is not None
    assert (event.function, event.since, event.ended) == ("ocr", 1.0, False)
    assert (event.needed, event.available) == (40.0, 30.0)
    assert overload.update(1.5, demand(40.0)) is None
    later = overload.update(2.0, demand(28.0))  # not below 0.9 of the capacity yet
    assert later is not None
    assert (later.since, later.ended) == (1.0, False)
    end = overload.update(2.1, demand(20.0, a=10.0, b=10.0))
    assert end is not None
    assert (end.since, end.ended, end.kept) == (1.0, True, {})
    assert overload.update(2.2, demand(20.0)) is None


def test_the_small_camera_is_spared_and_the_backlog_counts() -> None:
    event = Overload("ocr").update(1.0, demand(40.0, waiting=50.0, a=35.0, b=5.0))
    assert event is not None
    # 30 a second less 5 for what waits leaves 25: 5 for b, 20 of a's 35.
    assert event.kept == pytest.approx({"a": 20 / 35, "b": 1.0})


def test_cameras_of_low_priority_go_first() -> None:
    overload = Overload("ocr", priorities={"gate": 5})
    event = overload.update(1.0, demand(50.0, gate=25.0, yard=25.0))
    assert event is not None
    assert event.kept == pytest.approx({"gate": 1.0, "yard": 0.2})


def test_without_a_known_capacity_there_is_no_verdict() -> None:
    nobody = Demand(waiting=9, arriving=9, available=0, seconds=10, cameras={})
    assert Overload("ocr").update(1.0, nobody) is None


def event(kept: dict[str, float], function: str = "ocr", *, ended: bool = False) -> CapacityEvent:
    return CapacityEvent(
        function=function, at=1, since=1, ended=ended, needed=2, available=1, kept=kept
    )


@given(st.floats(0, 1), st.integers(1, 300))
def test_admission_keeps_the_fraction_evenly(fraction: float, frames: int) -> None:
    admission = Admission()
    admission.hear(0.0, event({"a": fraction}))
    passed = 0
    for number in range(1, frames + 1):
        passed += admission.admits(1.0, "a", ["ocr"])
        assert abs(passed - fraction * number) <= 1


def test_the_narrowest_function_decides_and_others_do_not_matter() -> None:
    admission = Admission()
    admission.hear(0.0, event({"a": 0.5}))
    admission.hear(0.0, event({"a": 0.25}, "yolo"))
    assert admission.kept(1.0, "a", ["yolo", "ocr"]) == 0.25
    assert admission.kept(1.0, "a", ["ocr"]) == 0.5
    assert admission.kept(1.0, "a", ["other"]) == admission.kept(1.0, "b", ["ocr"]) == 1


def test_an_announcement_is_forgotten_when_it_ends_or_is_not_repeated() -> None:
    admission = Admission()
    admission.hear(0.0, event({"a": 0.0}))
    assert not admission.admits(3.0, "a", ["ocr"])
    assert admission.admits(3.1, "a", ["ocr"])
    admission.hear(4.0, event({"a": 0.0}))
    admission.hear(4.5, event({}, ended=True))
    assert admission.admits(4.6, "a", ["ocr"])


def test_a_capacity_event_survives_the_wire_and_what_is_none_is_refused() -> None:
    sent = event({"a": 0.5})
    assert CapacityEvent.from_json(sent.model_dump_json().encode()) == sent
    for bad in (b"", b"{}", b'{"function":"f","at":1,"since":1,"needed":1,"available":-1}'):
        with pytest.raises(RecordError, match="bad-capacity-event"):
            CapacityEvent.from_json(bad)


@given(st.lists(st.sampled_from("abc"), max_size=40), st.integers(0, 45))
def test_the_oldest_are_shed_fairly_between_cameras(owners: list[str], keep: int) -> None:
    waiting = [Waiting(key=n, camera=camera) for n, camera in enumerate(owners)]
    gone = shed(waiting, keep)
    assert len(gone) == max(0, len(owners) - keep)
    assert list(gone) == sorted(gone)  # type: ignore[type-var] # keys are numbers here
    kept = [n for n in range(len(owners)) if n not in set(gone)]
    counts = Counter(owners[n] for n in kept)
    for camera in set(owners):
        own = [n for n, owner in enumerate(owners) if owner == camera]
        # The newest of each stay, and who lost any has at most one less than anybody else.
        assert [n for n in kept if owners[n] == camera] == own[len(own) - counts[camera] :]
        if counts[camera] < len(own):
            assert counts[camera] >= max(counts.values(), default=0) - 1


def test_shedding_spares_cameras_of_higher_priority() -> None:
    waiting = [Waiting(key=n, camera="gate" if n < 3 else "yard") for n in range(6)]
    assert shed(waiting, 4, priorities={"gate": 1}) == (3, 4)
