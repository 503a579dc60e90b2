from __future__ import annotations

import numpy as np
import pytest

from forecasting import Window, build_forecaster
from forecasting.errors import ForecasterSettingsError
from tests.forecasting.loads import SMALL, WINDOW, busy


def test_the_last_window_comes_again() -> None:
    forecaster = build_forecaster("last-window", SMALL)
    forecasts = forecaster.forecast(np.array([[1, 2, 3, 4, 5, 6]], np.float32))
    assert forecasts.tolist() == [[4, 5, 6]]


def test_ewma_weighs_what_is_known_only() -> None:
    forecaster = build_forecaster("ewma", SMALL, {"alpha": 0.5})
    forecasts = forecaster.forecast(np.array([[0, 0, 0, 0, 4, 8]], np.float32))
    assert forecasts == pytest.approx(np.full((1, 3), (8 + 4 * 0.5) / 1.5))


def test_ewma_of_a_steady_load_is_that_load_however_little_is_known() -> None:
    forecaster = build_forecaster("ewma", WINDOW, {"alpha": 0.1})
    histories = np.zeros((2, 50), np.float32)
    histories[0, -1:] = 7
    histories[1] = 7
    assert forecaster.forecast(histories) == pytest.approx(np.full((2, 10), 7.0))


def test_ewma_with_weight_one_repeats_the_newest_slot() -> None:
    forecaster = build_forecaster("ewma", SMALL, {"alpha": 1.0})
    assert forecaster.forecast(np.array([[9, 9, 9, 9, 9, 2]], np.float32)).tolist() == [[2, 2, 2]]


def test_a_season_comes_again_after_its_period() -> None:
    window = Window(slots=4, history=8)
    forecaster = build_forecaster("seasonal", window, {"period": 6})
    load = np.arange(1, 9, dtype=np.float32)
    assert forecaster.forecast(load[None]).tolist() == [[3, 4, 5, 6]]
    short = build_forecaster("seasonal", window, {"period": 3})
    assert short.forecast(load[None]).tolist() == [[6, 7, 8, 6]]


def test_a_season_that_was_not_seen_yet_gives_way_to_the_last_window() -> None:
    forecaster = build_forecaster("seasonal", SMALL, {"period": 6})
    assert forecaster.forecast(np.array([[0, 0, 1, 4, 5, 6]], np.float32)).tolist() == [[4, 5, 6]]


def test_a_period_longer_than_the_history_is_refused() -> None:
    with pytest.raises(ForecasterSettingsError, match="6 slots only"):
        build_forecaster("seasonal", SMALL, {"period": 7})


@pytest.mark.parametrize("name", ["last-window", "ewma", "seasonal"])
@pytest.mark.parametrize("count", [0, 1, 6])
def test_any_number_of_replicas_is_forecast_in_one_call(name: str, count: int) -> None:
    forecaster = build_forecaster(name, WINDOW)
    histories = busy(count)
    together = forecaster.forecast(histories)
    assert together.shape == (count, 10)
    assert together.dtype == np.float32
    for row in range(count):
        assert forecaster.forecast(histories[row : row + 1])[0] == pytest.approx(together[row])
