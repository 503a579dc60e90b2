"""The forecaster of a replica, as topics.yaml declares it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.balancing.values import Histories
from agents.forecast import WatchedForecast, declared_forecast
from dataflow.config import Config
from dataflow.errors import ConfigError
from forecasting import OnlineForecaster, Window, build_forecaster


def declare(**balancing: Any) -> Config:
    return Config.model_validate(
        {
            "version": 1,
            "functions": {"find": {"balancing": balancing}},
            "pipelines": {"p": {"cameras": ["any"], "steps": [{"function": "find"}]}},
        }
    )


def histories(*rates: float) -> Histories:
    return np.repeat(np.array(rates, np.float32)[:, None], 50, axis=1)


def test_the_shipped_forecaster_is_the_default() -> None:
    forecast = declared_forecast(declare(), "find")
    assert forecast is not None
    assert forecast.name == "mixture"
    answer = forecast(histories(3.0, 40.0))
    assert answer.shape == (2, 10)
    assert answer.sum(axis=1) == pytest.approx([30, 400], rel=0.2)


def test_a_balancer_that_needs_none_gets_none() -> None:
    assert declared_forecast(declare(policy="wrr"), "find") is None


def test_an_unknown_forecaster_is_named_with_its_key_and_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="mixture") as caught:
        declared_forecast(declare(forecaster="mixtur"), "find")
    assert caught.value.key == "functions.find.balancing.forecaster"


def test_a_corrupt_model_is_an_error_or_the_last_window_as_declared(tmp_path: Path) -> None:
    model = tmp_path / "broken.tflite"
    model.write_bytes(b"no model")
    broken = {"forecaster": "dense", "forecaster_parameters": {"model": str(model)}}
    with pytest.raises(ConfigError, match=str(model)):
        declared_forecast(declare(**broken), "find")
    forecast = declared_forecast(declare(**broken, forecaster_broken="last-window"), "find")
    assert forecast is not None
    assert forecast(histories(7.0)).tolist() == [[7.0] * 10]


def test_each_window_is_compared_with_what_came() -> None:
    now = 1000.0
    online = OnlineForecaster(build_forecaster("last-window", Window()))
    forecast = WatchedForecast(online, clock=lambda: now)
    for _ in range(31):
        forecast(histories(5.0, 99.0))
        now += 1.0
    assert forecast.current_drift().compared == 3
    assert forecast.current_drift().error == 0


def test_a_gap_longer_than_a_window_is_not_compared() -> None:
    now = 1000.0
    online = OnlineForecaster(build_forecaster("last-window", Window()))
    forecast = WatchedForecast(online, clock=lambda: now)
    for pause in (0.0, 25.0, 10.0):
        now += pause
        forecast(histories(5.0))
    assert forecast.current_drift().compared == 1
