"""Rates and times over a sliding window."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.meter import Meter

batches = st.lists(
    st.tuples(
        st.floats(0, 10),  # pause before it
        st.integers(1, 64),
        st.floats(0, 20),
        st.floats(0, 1000),
    ),
    min_size=1,
    max_size=30,
)


def test_a_meter_without_batches_knows_no_times() -> None:
    meter = Meter()
    assert (meter.rate(3.0), meter.busy(3.0)) == (0.0, 0.0)
    assert meter.service_seconds(3.0) is None
    assert meter.response_seconds(3.0) is None


def test_a_steady_load_is_measured_as_it_is() -> None:
    meter = Meter(window=5.0)
    for number in range(100):  # a batch of 4 each half second, 0.2 s in the function
        meter.add(number * 0.5, items=4, busy=0.2, response=4 * 0.75)
    now = 99 * 0.5 + 0.25
    assert meter.rate(now) == pytest.approx(8.0)
    assert meter.busy(now) == pytest.approx(0.4)
    assert meter.service_seconds(now) == pytest.approx(0.05)
    assert meter.response_seconds(now) == pytest.approx(0.75)


def test_the_first_second_is_not_extrapolated() -> None:
    meter = Meter()
    meter.add(10.0, items=1, busy=0.001, response=0.1)
    assert meter.rate(10.0) == 1.0


def test_what_is_older_than_the_window_is_forgotten() -> None:
    meter = Meter(window=5.0)
    meter.add(10.0, items=3, busy=1.0, response=1.0)
    assert meter.rate(15.0) > 0
    assert meter.rate(15.1) == 0.0
    assert meter.service_seconds(15.1) is None


@given(batches, st.floats(0, 10), st.floats(1, 10))
def test_busy_is_a_fraction_and_means_lie_between_the_batches(
    history: list[tuple[float, int, float, float]], later: float, window: float
) -> None:
    meter = Meter(window=window)
    now = 100.0
    ends = []
    for pause, items, busy, response in history:
        now += pause
        meter.add(now, items=items, busy=busy, response=response)
        ends.append(now)
    now += later
    seen = [batch for at, batch in zip(ends, history, strict=True) if at >= now - window]
    assert 0.0 <= meter.busy(now) <= 1.0
    # A rate is never above that of all the items in a second, nor below that in a window.
    total = sum(items for _, items, _, _ in seen)
    assert total / window <= meter.rate(now) * (1 + 1e-9)
    assert meter.rate(now) <= total
    for mean, values in (
        (meter.service_seconds(now), [busy / items for _, items, busy, _ in seen]),
        (meter.response_seconds(now), [response / items for _, items, _, response in seen]),
    ):
        if not seen:
            assert mean is None
        else:
            assert mean is not None
            assert min(values) * (1 - 1e-9) - 1e-12 <= mean <= max(values) * (1 + 1e-9) + 1e-12
