from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pytest

from forecasting import (
    ForecasterParams,
    GuardedForecaster,
    Loads,
    OnlineForecaster,
    OnlineSettings,
)
from tests.forecasting.loads import SMALL

QUICK = OnlineSettings(windows=4, least=2, worse=1.1, better=0.95)


class Scaled:
    """The last window times a factor that the test changes."""

    Params: ClassVar[type[ForecasterParams]] = ForecasterParams

    def __init__(self) -> None:
        self.factor = 1.0

    def forecast(self, histories: Loads) -> Loads:
        return histories[:, -3:] * np.float32(self.factor)


def watched() -> tuple[Scaled, OnlineForecaster]:
    inner = Scaled()
    return inner, OnlineForecaster(GuardedForecaster(inner, SMALL, name="scaled"), QUICK)


def window(load: float) -> Loads:
    return np.full((1, 3), load, np.float32)


def history(load: float) -> Loads:
    return np.full((1, 6), load, np.float32)


def handed_over(online: OnlineForecaster) -> bool:
    return online.drift.handed_over


def grow(online: OnlineForecaster, times: int, factor: float) -> None:
    """The load grows by ``factor`` from each window to the next."""
    for _ in range(times):
        online.observe(history(10), window(10 * factor))


def test_a_forecaster_that_does_better_stays_in_charge() -> None:
    inner, online = watched()
    inner.factor = 2.0
    grow(online, 10, factor=2.0)
    assert not handed_over(online)
    assert online.drift.ratio == 0.0
    assert online.forecast(history(5)).tolist() == [[10, 10, 10]]


def test_a_forecaster_that_does_worse_hands_over_to_the_last_window() -> None:
    inner, online = watched()
    inner.factor = 0.2
    grow(online, 1, factor=1.1)
    assert not handed_over(online), "one window is no evidence"
    grow(online, 1, factor=1.1)
    assert handed_over(online)
    assert online.drift.hand_overs == 1
    assert online.forecast(history(5)).tolist() == [[5, 5, 5]]


def test_it_takes_over_again_when_it_does_better_again() -> None:
    inner, online = watched()
    inner.factor = 0.2
    grow(online, 4, factor=1.1)
    inner.factor = 1.1
    grow(online, 2, factor=1.1)
    assert handed_over(online), "older errors still count"
    grow(online, 2, factor=1.1)
    assert not handed_over(online)
    assert online.forecast(history(10))[0] == pytest.approx([11, 11, 11])


def test_it_does_not_alternate_between_the_two_thresholds() -> None:
    inner, online = watched()
    inner.factor = 0.2
    grow(online, 4, factor=1.1)
    inner.factor = 1.0  # as good as the last window: not better
    grow(online, 20, factor=1.1)
    assert handed_over(online)
    assert online.drift.hand_overs == 1


def test_drift_reports_errors_relative_to_the_load_and_their_sign() -> None:
    inner, online = watched()
    inner.factor = 1.5
    grow(online, 4, factor=2.0)
    drift = online.drift
    assert drift.compared == 4
    assert drift.error == pytest.approx(0.25)
    assert drift.baseline_error == pytest.approx(0.5)
    assert drift.ratio == pytest.approx(0.5)
    assert drift.bias == pytest.approx(-0.25)


def test_nothing_is_reported_before_anything_was_seen() -> None:
    _, online = watched()
    online.observe(np.zeros((0, 6), np.float32), np.zeros((0, 3), np.float32))
    for _ in range(5):
        online.observe(history(0), window(0))
    drift = online.drift
    assert (drift.compared, drift.error, drift.ratio, drift.bias) == (0, None, None, None)
    assert not drift.handed_over


@pytest.mark.parametrize("factor", [0.0, 5.0])
def test_a_load_that_ends_or_begins_is_no_crash(factor: float) -> None:
    inner, online = watched()
    inner.factor = factor
    change: list[Callable[[], None]] = [
        lambda: online.observe(history(0), window(8)),
        lambda: online.observe(history(8), window(0)),
    ]
    for step in change * 4:
        step()
    assert np.isfinite(online.forecast(history(3))).all()
    assert online.drift.compared == 4
