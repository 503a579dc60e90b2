"""Batching windows, forecasts of arrivals, and how busy placers are told that instances are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from roomie.control.batching import batching_window
from roomie.control.duties import LEAST, duties, duty_of, duty_of_next
from roomie.control.forecasts import arrivals_forecast
from tests.roomie.control.loads import instance, model

positive = st.floats(1e-3, 1e4)


@given(st.floats(0, 1e5), st.integers(1, 128), st.none() | positive, st.floats(0, 100))
def test_a_window_never_breaks_the_objective_nor_outlasts_the_filling(
    arrivals: float, batch: int, latency: float | None, compute: float
) -> None:
    window = batching_window(arrivals, batch, latency, compute)
    assert window >= 0
    if window:
        assert latency is not None
        assert window + compute <= latency * (1 + 1e-9)
        assert window * arrivals <= batch - 1 + 1e-6
        assert window * arrivals >= 1 - 1e-6 or batch == 1


def test_without_an_objective_nobody_waits() -> None:
    assert batching_window(100.0, 8, None, 0.05) == 0


def test_the_window_grows_with_the_arrivals_until_the_batch_fills_sooner() -> None:
    windows = [batching_window(rate, 8, 0.5, 0.1) for rate in (1, 20, 40, 60, 80, 200, 1000)]
    assert windows[0] == 0
    assert windows[1:4] == pytest.approx([0.1, 0.175, 7 / 60])
    assert windows[4:] == sorted(windows[4:], reverse=True)


def test_duties_are_shares_of_what_instances_serve() -> None:
    assert duty_of(instance(arrivals=40.0)) == pytest.approx(0.4)
    assert duty_of(instance(arrivals=40.0, pending=60.0)) == pytest.approx(0.7)
    assert duty_of(instance(arrivals=400.0)) == 1
    assert duty_of(instance()) == LEAST
    assert duty_of(instance(speed=0.0)) == 1
    two = model("a", instance("x", arrivals=20.0), instance("y", arrivals=50.0))
    assert duties([two]) == pytest.approx({"x": 0.2, "y": 0.5})


def test_a_new_instance_takes_its_part_of_the_work() -> None:
    load = model("a", instance("x", arrivals=120.0))
    assert duty_of_next(load) == pytest.approx(0.6)
    assert duty_of_next(load, 2) == pytest.approx(0.4)
    assert duty_of_next(model("a", instance("x", arrivals=120.0), coming=1)) == pytest.approx(0.4)
    assert duty_of_next(model("a", instance(), forecast=100.0, shortage=60.0)) == pytest.approx(0.8)
    assert duty_of_next(model("a")) == 1


def test_a_forecaster_is_asked_with_known_seconds_at_the_end_of_its_history() -> None:
    asked: list[NDArray[np.float32]] = []

    def forecast(histories: NDArray[np.float32]) -> NDArray[np.float32]:
        asked.append(histories)
        return np.full((1, 10), histories[0, -1] * 2, np.float32)

    expected = arrivals_forecast(forecast, slots=5)
    assert expected("m", [3.0, 4.0]) == 8
    assert asked[0].tolist() == [[0, 0, 0, 3, 4]]
    assert asked[0].dtype == np.float32
    assert expected("m", [float(n) for n in range(9)]) == 16
    assert asked[1].tolist() == [[4, 5, 6, 7, 8]]


@pytest.mark.parametrize(
    ("slot_s", "arrivals", "history"),
    [
        (2.0, [1.0, 2.0, 3.0, 4.0, 5.0], [0, 0, 1, 5, 9]),  # the oldest second is half a slot
        (0.5, [1.0, 2.0, 3.0, 4.0, 5.0], [1.5, 2, 2, 2.5, 2.5]),
        (1.5, [2.0, 3.0, 4.0, 2.0, 4.0], [0, 1, 4, 5, 5]),
    ],
)
def test_seconds_become_slots_of_the_forecasters_length(
    slot_s: float, arrivals: list[float], history: list[float]
) -> None:
    asked: list[NDArray[np.float32]] = []

    def forecast(histories: NDArray[np.float32]) -> NDArray[np.float32]:
        asked.append(histories)
        return np.full((1, 3), 6.0, np.float32)

    expected = arrivals_forecast(forecast, slots=5, slot_s=slot_s)
    assert expected("m", arrivals) == pytest.approx(6.0 / slot_s)
    assert asked[0][0] == pytest.approx(history)


@pytest.mark.parametrize("says", [float("nan"), float("inf"), -3.0])
def test_a_forecast_that_is_no_rate_is_none(says: float) -> None:
    expected = arrivals_forecast(lambda h: np.full((len(h), 4), says, np.float32))
    assert expected("m", [1.0]) is None


def test_of_a_model_that_nobody_has_called_nothing_is_forecast() -> None:
    def never(_: NDArray[np.float32]) -> NDArray[np.float32]:
        raise AssertionError("asked about nothing")

    assert arrivals_forecast(never)("m", []) is None
    assert arrivals_forecast(never)("m", [0.0, 0.0]) is None
