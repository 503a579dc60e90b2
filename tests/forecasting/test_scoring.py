from __future__ import annotations

import numpy as np
import pytest

from forecasting.errors import TraceError
from forecasting.scoring import REGIMES, compare, examine, prepare, regimes, score
from forecasting.traces import Trace
from tests.forecasting.loads import SMALL, WINDOW, steady


def test_errors_are_those_of_the_formulas() -> None:
    targets = np.array([[1, 2, 3], [4, 4, 4]], np.float32)
    forecasts = np.array([[2, 2, 2], [4, 4, 10]], np.float32)
    found = score(forecasts, targets, step=0.5)
    assert found.windows == 2
    assert found.mae == pytest.approx((1 + 0 + 1 + 0 + 0 + 6) / 6)
    assert found.rmse == pytest.approx(np.sqrt((1 + 1 + 36) / 6))
    assert found.mase == pytest.approx(found.mae / 0.5)
    assert found.sum_error == pytest.approx((0 + 6) / (6 + 12))
    assert found.sum_relative == pytest.approx((0 + 6 / 12) / 2)
    assert found.sum_rmse == pytest.approx(np.sqrt(36 / 2) / 9)
    assert found.bias == pytest.approx(6 / 18)
    assert found.off == 0.5


def test_a_street_without_vehicles_can_be_scored() -> None:
    zero = np.zeros((3, 3), np.float32)
    found = score(zero, zero, step=0.0)
    assert (found.mae, found.sum_error, found.sum_relative, found.off) == (0, 0, 0, 0)


def test_regimes_tell_what_the_last_window_did() -> None:
    slots = np.arange(10)
    last = np.stack(
        [
            np.full(10, 60.0),
            60.0 + slots * 6,
            120.0 - slots * 6,
            np.where(slots % 2, 5.0, 100.0),
            np.zeros(10),
        ]
    ).astype(np.float32)
    histories = np.concatenate([np.zeros((5, 40), np.float32), last], axis=1)
    expected = ["quiet", "rising", "falling", "bursty", "quiet"]
    assert regimes(histories, 10).tolist() == expected
    assert regimes(histories * 100, 10).tolist() == expected


def test_a_perfect_forecaster_has_no_error_in_any_group() -> None:
    rng = np.random.default_rng(3)
    trace = Trace(name="t", vehicles=rng.integers(0, 9, 1200).astype(np.float32), fps=10.0)
    exam = prepare([trace], WINDOW, fps=20.0)
    found = examine(lambda _: exam.windows.targets, exam, WINDOW)
    assert found["all"].windows == found["settled"].windows + found["start-up"].windows == 101
    assert sum(found[name].windows for name in REGIMES if name in found) == 101
    assert all(entry.sum_error == 0 and entry.mae == 0 for entry in found.values())
    assert found["start-up"].windows == 40


def test_forecasters_are_compared_on_the_same_windows() -> None:
    traces = [steady("short", 3), steady("long", 20, vehicles=2)]
    found = compare(
        {"last": lambda h: h[:, -3:], "twice": lambda h: 2 * h[:, -3:]}, traces, SMALL, fps=15.0
    )
    assert found["last"]["all"].sum_error == 0
    assert found["twice"]["all"].sum_error == pytest.approx(1.0)
    assert found["twice"]["all"].bias == pytest.approx(1.0)


def test_what_is_no_number_counts_as_no_load() -> None:
    exam = prepare([steady("long", 20)], SMALL, fps=15.0)
    found = examine(lambda h: np.full((len(h), 3), np.nan, np.float32), exam, SMALL)
    assert found["all"].sum_error == pytest.approx(1.0)


def test_traces_that_are_too_short_are_refused_with_their_length() -> None:
    with pytest.raises(TraceError, match="lasts 19 s, and a forecast needs 20 s"):
        prepare([steady("a", 12), steady("b", 19)], WINDOW, fps=15.0)
