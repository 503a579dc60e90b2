"""What a replica measures about itself."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.balancing import Monitor, Rate


def rate_of(batches: list[tuple[float, int, float]]) -> float | None:
    rate = Rate()
    for at, items, seconds in batches:
        rate.add(at, items, seconds)
    return rate.value


def test_mu_is_the_median_of_the_last_ten_rates() -> None:
    seconds = [0.1, 0.11, 0.09, 0.1, 0.12, 0.08, 0.1, 0.1, 0.11, 0.09]
    assert rate_of([(n / 10, 1, s) for n, s in enumerate(seconds)]) == pytest.approx(10)


def test_small_batches_say_nothing_about_what_full_ones_reach() -> None:
    full = [(n / 2, 8, 0.4) for n in range(5)]  # 20 a second
    small = [(3 + n / 10, 1, 0.1) for n in range(20)]  # 10 a second
    assert rate_of(full + small) == 20
    assert rate_of(small) == 10


def test_larger_batches_replace_what_smaller_ones_said() -> None:
    small = [(n / 10, 1, 0.1) for n in range(10)]
    assert rate_of([*small, (2.0, 8, 0.4)]) == 20


def test_a_small_batch_that_is_faster_counts_because_the_replica_did_reach_it() -> None:
    full = [(n / 2, 8, 0.8) for n in range(3)]  # 10 a second
    faster = [(2 + n / 10, 4, 0.1) for n in range(9)]  # 40 a second
    assert rate_of(full + faster) == 40


def test_a_largest_batch_that_never_comes_again_does_not_freeze_mu() -> None:
    once = [(0.0, 16, 0.4)]  # 40 a second
    then = [(1.0 + n, 4, 0.4) for n in range(14)]  # 10 a second, below the largest
    assert rate_of(once + then[:5]) == 40
    assert rate_of(once + then) == 10


def test_a_function_that_became_slower_shows_after_four_batches() -> None:
    before = [(n / 10, 1, 0.1) for n in range(10)]
    after = [(1 + n / 4, 1, 0.25) for n in range(4)]
    assert rate_of(before + after[:3]) == 10
    assert rate_of(before + after) == 4


def test_a_function_that_became_faster_shows_after_four_batches() -> None:
    before = [(n / 4, 1, 0.25) for n in range(10)]
    after = [(3 + n / 10, 1, 0.1) for n in range(4)]
    assert rate_of(before + after) == 10


@pytest.mark.parametrize(
    ("items", "seconds"), [(0, 1.0), (-1, 1.0), (1, 0.0), (1, -1.0), (1, math.nan), (1, math.inf)]
)
def test_batches_without_items_or_duration_are_ignored(items: int, seconds: float) -> None:
    assert rate_of([(0.0, items, seconds)]) is None


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.integers(1, 8), st.floats(0.01, 2)), min_size=1, max_size=60
    )
)
def test_mu_is_always_one_that_was_reached(steps: list[tuple[float, int, float]]) -> None:
    rate, now, rates = Rate(), 0.0, []
    for pause, items, seconds in steps:
        now += pause
        rate.add(now, items, seconds)
        rates.append(items / seconds)
        value = rate.value
        assert value is not None
        assert min(rates) - 1e-9 <= value <= max(rates) + 1e-9


def test_arrivals_are_counted_in_slots_that_are_aligned_to_the_clock() -> None:
    monitor = Monitor(100.7)
    monitor.arrived(100.8, 3)
    monitor.arrived(101.0, 2)
    monitor.arrived(101.99, 1)
    monitor.advance(104.5)
    assert (monitor.slot, monitor.history) == (104, (3, 3, 0, 0))


def test_the_first_slot_is_left_out_when_it_was_cut_short_and_empty() -> None:
    monitor = Monitor(100.9)
    monitor.arrived(101.5, 4)
    monitor.advance(102.0)
    assert monitor.history == (4,)


def test_a_clock_that_goes_backwards_closes_nothing() -> None:
    monitor = Monitor(100.0)
    monitor.arrived(100.5, 1)
    assert monitor.advance(101.0)
    assert not monitor.advance(99.0)
    monitor.arrived(99.5, 2)
    monitor.advance(102.0)
    assert monitor.history == (1, 2)


def test_a_leap_of_the_clock_costs_no_more_than_the_history_is_long() -> None:
    monitor = Monitor(0.0, history=50)
    monitor.arrived(0.0, 1)
    monitor.advance(1e15)
    assert monitor.history == (0,) * 50


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 20)), max_size=40))
def test_every_arrival_is_counted_once(steps: list[tuple[float, int]]) -> None:
    monitor, now = Monitor(0.0, history=1000), 0.0
    for pause, items in steps:
        now += pause
        monitor.arrived(now, items)
    assert sum(monitor.history) + monitor.counting == sum(items for _, items in steps)


def test_cameras_have_rates_over_the_last_slots_and_the_busiest_are_kept() -> None:
    monitor = Monitor(0.0)
    for second in range(20):
        monitor.arrived(second, 3, cameras=["a", "a", "b"])
    monitor.arrived(20, 1, cameras=["c"])
    monitor.advance(21.0)
    assert monitor.cameras(3) == {"a": 1.8, "b": 0.9, "c": 0.1}
    assert monitor.cameras(1) == {"a": 1.8}


def test_the_mean_size_follows_what_arrives() -> None:
    monitor = Monitor(0.0)
    assert monitor.item_bytes == 0
    monitor.arrived(0.0, 1, 1000)
    assert monitor.item_bytes == 1000
    monitor.arrived(0.1, 100, 200_000)
    assert 1900 < monitor.item_bytes <= 2000
