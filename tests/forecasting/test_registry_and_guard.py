from __future__ import annotations

import logging
import re
from importlib.metadata import EntryPoint
from typing import Any, ClassVar

import numpy as np
import pytest

from forecasting import (
    ForecasterParams,
    GuardedForecaster,
    Loads,
    Window,
    build_forecaster,
    check_forecaster,
)
from forecasting import registry as registry_module
from forecasting.errors import ForecasterModelError, ForecasterSettingsError
from forecasting.registry import GROUP, available, load_forecaster
from tests.forecasting.loads import SMALL, busy

HERE = "tests.forecasting.test_registry_and_guard"


class Plugin:
    """A forecaster of a third party: everything is 5."""

    class Params(ForecasterParams):
        level: float = 5.0

    def __init__(self, window: Window, params: Params) -> None:
        self._window, self._level = window, params.level

    def forecast(self, histories: Loads) -> Loads:
        return np.full((len(histories), self._window.slots), self._level, np.float32)


class Missing(Plugin):
    """Its model is not there."""

    def __init__(self, *_: object) -> None:
        raise ForecasterModelError("there is no model")


class Crashing(Plugin):
    """Its constructor has a fault."""

    def __init__(self, *_: object) -> None:
        raise ZeroDivisionError("by zero")


class Narrow(Plugin):
    """Answers one slot, whatever the window."""

    def forecast(self, histories: Loads) -> Loads:
        return super().forecast(histories)[:, :1]


class OneForAll(Plugin):
    """Answers for one replica only."""

    def forecast(self, histories: Loads) -> Loads:
        return super().forecast(histories)[:1]


class Failing(Plugin):
    """Cannot forecast."""

    def forecast(self, histories: Loads) -> Loads:
        raise ValueError(f"not from {len(histories)}")


class Unsure(Plugin):
    """Answers what is no number."""

    def forecast(self, histories: Loads) -> Loads:
        return super().forecast(histories) * np.float32("nan")


class Answers:
    """Answers what it is told to."""

    Params: ClassVar[type[ForecasterParams]] = ForecasterParams

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.levels = (0.1, 0.9)

    def forecast(self, histories: Loads) -> Any:
        del histories
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    window_quantiles = forecast


def install(monkeypatch: pytest.MonkeyPatch, **points: str) -> None:
    entries = [EntryPoint(name, value, GROUP) for name, value in points.items()]
    monkeypatch.setattr(registry_module, "entry_points", lambda **_: entries)


def test_what_ships_is_found_by_name() -> None:
    shipped = {"dense", "ewma", "last-window", "linear", "mixture", "seasonal"}
    assert shipped <= set(available())


def test_a_forecaster_of_a_third_party_is_built_by_its_entry_point(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, theirs=f"{HERE}:Plugin")
    forecaster = build_forecaster("theirs", SMALL, {"level": 2})
    assert forecaster.forecast(busy(2, SMALL)).tolist() == [[2] * 3] * 2


def test_two_packages_with_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [EntryPoint("a", "one:A", GROUP), EntryPoint("a", "two:A", GROUP)]
    monkeypatch.setattr(registry_module, "entry_points", lambda **_: entries)
    with pytest.raises(ForecasterSettingsError, match="two installed packages"):
        available()


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ForecasterSettingsError, match="did you mean 'ewma'"):
        load_forecaster("emwa")


@pytest.mark.parametrize(
    ("target", "message"),
    [("no.such.module:X", "cannot be loaded"), ("pathlib:Path", "is no forecaster")],
)
def test_what_is_registered_wrongly_is_refused(
    monkeypatch: pytest.MonkeyPatch, target: str, message: str
) -> None:
    install(monkeypatch, theirs=target)
    with pytest.raises(ForecasterSettingsError, match=message):
        load_forecaster("theirs")


@pytest.mark.parametrize("name", sorted(available()))
def test_all_that_ship_pass_the_check(name: str) -> None:
    check_forecaster(name)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("Missing", "there is no model"),
        ("Crashing", "theirs cannot be made: ZeroDivisionError: by zero"),
        ("Narrow", r"theirs answers \(1, 1\) to \(1, 6\) where \(1, 3\) is wanted"),
        ("OneForAll", r"theirs answers \(1, 3\) to \(3, 6\) where \(3, 3\) is wanted"),
        ("Failing", r"cannot forecast from \(1, 6\): ValueError: not from 1"),
        ("Unsure", "no number"),
    ],
)
def test_a_forecaster_is_checked_before_it_is_needed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str, said: str
) -> None:
    install(monkeypatch, theirs=f"{HERE}:{kind}")
    with pytest.raises(ForecasterModelError, match=said):
        check_forecaster("theirs", SMALL)
    with caplog.at_level(logging.WARNING, "videojam.forecasting"):
        check_forecaster("theirs", SMALL, when_broken="last-window")
    assert re.search(said, caplog.text)


def test_a_wrong_parameter_is_named_with_the_nearest() -> None:
    with pytest.raises(ForecasterSettingsError, match="did you mean 'alpha'") as caught:
        build_forecaster("ewma", SMALL, {"alhpa": 0.5})
    assert caught.value.key == "forecaster_parameters.alhpa"
    with pytest.raises(ForecasterSettingsError) as caught:
        build_forecaster("ewma", SMALL, {"alpha": 3})
    assert caught.value.value == 3


def test_a_missing_model_is_an_error_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, theirs=f"{HERE}:Missing")
    with pytest.raises(ForecasterModelError, match="there is no model"):
        build_forecaster("theirs", SMALL)


def test_a_missing_model_gives_way_to_the_last_window_if_configured(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(monkeypatch, theirs=f"{HERE}:Missing")
    with caplog.at_level(logging.WARNING):
        forecaster = build_forecaster("theirs", SMALL, when_broken="last-window")
    assert forecaster.name == "last-window"
    assert forecaster.stands_in_for == "theirs"
    assert "there is no model" in caplog.text
    assert forecaster.forecast(busy(2, SMALL)).tolist() == busy(2, SMALL)[:, -3:].tolist()


def test_a_wrong_parameter_is_an_error_even_so(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, theirs=f"{HERE}:Plugin")
    with pytest.raises(ForecasterSettingsError):
        build_forecaster("theirs", SMALL, {"lvel": 1}, when_broken="last-window")


@pytest.mark.parametrize(
    "answer",
    [
        RuntimeError("out of memory"),
        np.zeros((2, 4), np.float32),
        np.full((2, 3), np.nan, np.float32),
        np.full((2, 3), np.inf, np.float32),
        "nonsense",
    ],
)
def test_a_forecaster_that_fails_while_it_runs_gives_way_to_the_last_window(
    answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    forecaster = GuardedForecaster(Answers(answer), SMALL, name="broken")
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            assert forecaster.forecast(busy(2, SMALL)).tolist() == busy(2, SMALL)[:, -3:].tolist()
    assert forecaster.faults == 10
    assert caplog.text.count("their last window stands in") == 1
    quantiles = forecaster.window_quantiles(busy(2, SMALL))
    sums = busy(2, SMALL)[:, -3:].sum(axis=1)
    assert quantiles == pytest.approx(np.stack([sums, sums], axis=1))
    assert forecaster.faults == 12


def test_only_the_replicas_whose_forecast_is_no_number_are_replaced() -> None:
    answer = np.array([[1, 2, 3], [1, np.nan, 3]], np.float32)
    forecaster = GuardedForecaster(Answers(answer), SMALL, name="broken")
    forecasts = forecaster.forecast(busy(2, SMALL))
    assert forecasts[0].tolist() == [1, 2, 3]
    assert forecasts[1].tolist() == busy(2, SMALL)[1, -3:].tolist()
    assert forecaster.faults == 1


def test_nothing_below_zero_goes_in_or_comes_out() -> None:
    forecaster = GuardedForecaster(Answers(np.full((1, 3), -2.0)), SMALL, name="negative")
    assert forecaster.forecast(np.full((1, 6), -1.0, np.float32)).tolist() == [[0, 0, 0]]
    last = build_forecaster("last-window", SMALL)
    unknown = np.array([[1, 1, 1, -1, np.nan, np.inf]], np.float32)
    assert last.forecast(unknown).tolist() == [[0, 0, 0]]


def test_quantiles_that_cross_are_put_in_order() -> None:
    forecaster = GuardedForecaster(Answers(np.array([[9.0, 4.0]])), SMALL, name="crossing")
    assert forecaster.window_quantiles(busy(1, SMALL)).tolist() == [[9, 9]]


def test_a_forecaster_without_quantiles_has_none() -> None:
    forecaster = build_forecaster("last-window", SMALL)
    assert forecaster.levels == ()
    assert forecaster.window_quantiles(busy(2, SMALL)).shape == (2, 0)


@pytest.mark.parametrize("shape", [(6,), (2, 5), (1, 2, 6)])
def test_histories_of_another_shape_are_the_callers_mistake(shape: tuple[int, ...]) -> None:
    forecaster = build_forecaster("last-window", SMALL)
    with pytest.raises(ForecasterSettingsError, match=r"\[n, 6\]"):
        forecaster.forecast(np.zeros(shape, np.float32))
