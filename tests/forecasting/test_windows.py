from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting import Window, carried_on, padded_history
from forecasting.errors import ForecasterSettingsError
from tests.forecasting.loads import SMALL


def test_the_thesis_cuts_windows_of_ten_seconds_and_looks_back_fifty() -> None:
    window = Window()
    assert (window.slot_seconds, window.slots, window.history) == (1.0, 10, 50)
    assert window.seconds == 10.0


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"slot_seconds": 0.0}, "slot_seconds"),
        ({"slots": 0}, "slots"),
        ({"slots": 10, "history": 9}, "history"),
    ],
)
def test_a_window_that_cannot_be_is_refused(settings: Any, key: str) -> None:
    with pytest.raises(ForecasterSettingsError) as caught:
        Window(**settings)
    assert caught.value.key == key


def test_a_short_history_is_padded_with_zeros_in_the_past() -> None:
    assert padded_history([1, 2], SMALL).tolist() == [0, 0, 0, 0, 1, 2]
    assert padded_history(range(10), SMALL).tolist() == [4, 5, 6, 7, 8, 9]
    assert padded_history([], SMALL).tolist() == [0] * 6


def test_a_history_goes_on_with_its_forecast_until_it_is_measured() -> None:
    history = padded_history([1, 2, 3, 4, 5, 6], SMALL)
    forecast = np.array([7, 8, 9], np.float32)
    assert carried_on(history, 0, forecast) is history
    assert carried_on(history, 2, forecast).tolist() == [3, 4, 5, 6, 7, 8]
    assert carried_on(history, 1, forecast, begun=2).tolist() == [2, 3, 4, 5, 6, 9]


def test_a_forecast_repeats_beyond_its_end() -> None:
    history = padded_history([1, 2, 3, 4, 5, 6], SMALL)
    forecast = np.array([7, 8, 9], np.float32)
    assert carried_on(history, 5, forecast).tolist() == [6, 7, 8, 9, 7, 8]
    assert carried_on(history, 100, forecast).tolist() == [7, 8, 9, 7, 8, 9]


@given(
    st.lists(st.integers(0, 9), min_size=6, max_size=6),
    st.lists(st.integers(0, 9), min_size=3, max_size=3),
    st.integers(0, 20),
    st.integers(0, 20),
)
def test_carrying_on_twice_is_carrying_on_once(
    history: list[int], forecast: list[int], first: int, second: int
) -> None:
    start, ahead = np.array(history, np.float32), np.array(forecast, np.float32)
    once = carried_on(start, first + second, ahead)
    if first + second <= 6:
        twice = carried_on(carried_on(start, first, ahead), second, ahead, begun=first)
        assert twice.tolist() == once.tolist()
    assert once.shape == (6,)
    assert once.dtype == np.float32
