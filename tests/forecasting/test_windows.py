from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting import LoadBook, SlotCounter, Window, padded_history
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


def test_arrivals_are_counted_in_the_slot_they_come_in() -> None:
    counter = SlotCounter(Window(slot_seconds=2.0, slots=3, history=6), started=100.0)
    counter.count(100.0)
    counter.count(101.99, items=2)
    counter.count(104.0)
    assert counter.ends == 106.0
    assert counter.close().tolist() == [3, 0, 1]
    counter.count(106.5)
    assert counter.close().tolist() == [1, 0, 0]


def test_arrivals_around_the_end_of_a_window_are_not_lost() -> None:
    counter = SlotCounter(SMALL, started=0.0)
    counter.count(-0.1)
    counter.count(3.2)  # the window is closed a little late
    assert counter.close().tolist() == [1, 0, 1]


def test_what_was_measured_overwrites_what_had_been_forecast() -> None:
    book = LoadBook(SMALL)
    book.measured("me", [1, 2, 3])
    book.roll(np.array([[7, 7, 7]], np.float32))
    assert book.history("me").tolist() == [1, 2, 3, 7, 7, 7]
    assert book.expected("me").tolist() == [7, 7, 7]
    book.measured("me", [4, 5, 6])
    assert book.histories().tolist() == [[1, 2, 3, 4, 5, 6]]


def test_a_neighbour_runs_on_its_forecasts_until_its_next_state() -> None:
    book = LoadBook(SMALL)
    assert book.neighbour_state("other", [1, 1, 1, 2, 2, 2], at=10.0)
    for forecast in (3, 4):
        book.roll(np.full((1, 3), forecast, np.float32))
    assert book.history("other").tolist() == [3, 3, 3, 4, 4, 4]
    assert book.neighbour_state("other", [5, 5, 5, 6, 6, 6], at=10.5)
    assert book.history("other").tolist() == [5, 5, 5, 6, 6, 6]


def test_what_a_neighbour_said_itself_is_kept_apart_from_what_we_forecast_for_it() -> None:
    book = LoadBook(SMALL)
    assert book.state("other") is None
    book.neighbour_state("other", [1, 1, 1, 2, 2, 2], at=10.0)
    book.roll(np.full((1, 3), 9, np.float32))
    said = book.state("other")
    assert said is not None
    assert (said[0], said[1].tolist()) == (10.0, [1, 1, 1, 2, 2, 2])
    book.forget("other")
    assert book.state("other") is None


def test_a_state_that_is_not_newer_is_left() -> None:
    book = LoadBook(SMALL)
    assert book.neighbour_state("other", [1] * 6, at=10.0)
    assert not book.neighbour_state("other", [2] * 6, at=10.0)
    assert not book.neighbour_state("other", [2] * 6, at=9.0)
    assert book.history("other").tolist() == [1] * 6


def test_what_is_unknown_is_zero() -> None:
    book = LoadBook(SMALL)
    book.measured("me", [-1, np.nan, 3])
    assert book.history("me").tolist() == [0, 0, 0, 0, 0, 3]
    book.roll(np.array([[-5, np.inf, 2]], np.float32))
    assert book.expected("me").tolist() == [0, 0, 2]


def test_who_has_left_is_forgotten_and_comes_back_unknown() -> None:
    book = LoadBook(SMALL)
    for number, name in enumerate("abc", start=1):
        book.neighbour_state(name, [number] * 6, at=1.0)
    book.forget("b")
    book.forget("nobody")
    assert book.replicas == ("a", "c")
    assert "b" not in book
    assert book.histories()[:, 0].tolist() == [1, 3]
    assert book.neighbour_state("b", [9] * 6, at=0.5)  # it has begun anew, with a clock of its own
    assert book.histories()[:, 0].tolist() == [1, 3, 9]


def test_a_replica_with_another_window_is_refused() -> None:
    book = LoadBook(SMALL)
    with pytest.raises(ForecasterSettingsError, match="one window"):
        book.neighbour_state("other", [1] * 50, at=1.0)
    with pytest.raises(ForecasterSettingsError):
        book.measured("me", [1])
    assert len(book) == 0
    book.measured("me", [1, 2, 3])
    with pytest.raises(ForecasterSettingsError, match="1 replicas"):
        book.roll(np.zeros((2, 3), np.float32))


def test_changing_a_copy_changes_nothing() -> None:
    book = LoadBook(SMALL)
    book.measured("me", [1, 2, 3])
    book.histories()[:] = 9
    book.history("me")[:] = 9
    assert book.history("me").tolist() == [0, 0, 0, 1, 2, 3]


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcdefgh"),
            st.sampled_from(["measured", "state", "forget", "roll"]),
            st.integers(0, 9),
        ),
        max_size=40,
    )
)
def test_the_table_holds_for_each_replica_what_was_said_about_it(
    events: list[tuple[str, str, int]],
) -> None:
    book, model = LoadBook(SMALL), dict[str, list[float]]()
    for time, (name, event, value) in enumerate(events):
        if event == "measured":
            book.measured(name, [value] * 3)
            model[name] = model.get(name, [0.0] * 6)[:3] + [float(value)] * 3
        elif event == "state":
            book.neighbour_state(name, [value] * 6, at=time)
            model[name] = [float(value)] * 6
        elif event == "forget":
            book.forget(name)
            model.pop(name, None)
        else:
            forecasts = np.arange(len(book), dtype=np.float32)[:, None] + np.zeros(3, np.float32)
            forecast_of = dict(zip(book.replicas, forecasts.tolist(), strict=True))
            book.roll(forecasts)
            model = {key: row[3:] + forecast_of[key] for key, row in model.items()}
        assert set(book.replicas) == set(model)
        assert book.histories().shape == (len(model), 6)
        for key, row in model.items():
            assert book.history(key).tolist() == row


def test_a_short_history_is_padded_with_zeros_in_the_past() -> None:
    assert padded_history([1, 2], SMALL).tolist() == [0, 0, 0, 0, 1, 2]
    assert padded_history(range(10), SMALL).tolist() == [4, 5, 6, 7, 8, 9]
    assert padded_history([], SMALL).tolist() == [0] * 6
