"""The forecaster of a replica, as topics.yaml declares it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.balancing.values import Histories
from agents.forecast import WatchedForecast, declared_forecast
from dataflow.config import Config
from dataflow.errors import ConfigError
from forecasting import FinetuneSettings, OnlineForecaster, Window, build_forecaster
from forecasting.errors import MissingExtraError
from forecasting.tuned import TunedNetwork


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


def test_a_wrong_parameter_is_named_with_its_key() -> None:
    with pytest.raises(ConfigError, match="'alpha'") as caught:
        declared_forecast(declare(forecaster="ewma", forecaster_parameters={"alhpa": 0.5}), "find")
    assert caught.value.key == "functions.find.balancing.forecaster_parameters.alhpa"


def test_a_corrupt_model_is_an_error_or_the_last_window_as_declared(tmp_path: Path) -> None:
    model = tmp_path / "broken.tflite"
    model.write_bytes(b"no model")
    broken = {"forecaster": "dense", "forecaster_parameters": {"model": str(model)}}
    with pytest.raises(ConfigError, match=str(model)) as caught:
        declared_forecast(declare(**broken), "find")
    assert caught.value.key == "functions.find.balancing.forecaster_parameters.model"
    forecast = declared_forecast(declare(**broken, forecaster_broken="last-window"), "find")
    assert forecast is not None
    assert forecast(histories(7.0)).tolist() == [[7.0] * 10]


def test_what_is_no_fault_of_the_model_is_not_blamed_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacks(**_: object) -> None:
        raise MissingExtraError("LiteRT is not installed", remedy="pip install ai-edge-litert")

    monkeypatch.setattr("agents.forecast.build_forecaster", lacks)
    declared = declare(
        forecaster="dense", forecaster_parameters={"model": str(tmp_path / "own.tflite")}
    )
    with pytest.raises(ConfigError, match="LiteRT") as caught:
        declared_forecast(declared, "find")
    assert caught.value.key == "functions.find.balancing.forecaster"


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


def street(slot: int) -> float:
    """A traffic light of 40 s: the shipped networks have seen its like, but not this one."""
    return 80.0 if slot % 40 < 15 else 16.0


def drive(forecast: WatchedForecast, clock: list[float], slots: int) -> None:
    for _ in range(slots):
        slot = int(clock[0])
        own = [street(each) for each in range(slot - 50, slot)]
        forecast(np.array([own, [5.0] * 50], np.float32))
        clock[0] += 1.0


def wait_for_learning() -> None:
    for thread in threading.enumerate():
        if thread.name == "finetune":
            thread.join(30)


def test_a_replica_tunes_its_last_layer_in_the_background() -> None:
    clock = [100_000.0]
    settings = FinetuneSettings(windows=120, least=60)
    guarded = build_forecaster("dense", Window(), finetune=settings)
    forecast = WatchedForecast(OnlineForecaster(guarded), clock=lambda: clock[0])
    drive(forecast, clock, 60)
    wait_for_learning()
    assert not forecast.current_state().tuned
    for _ in range(10):  # it learns again while it forecasts
        drive(forecast, clock, 12)
        wait_for_learning()
    assert forecast.current_state().tuned
    assert guarded.faults == 0


def test_gaps_teach_nothing_wrong() -> None:
    clock = [100_000.0]
    guarded = build_forecaster("dense", Window(), finetune=FinetuneSettings(windows=60, least=2))
    network = guarded.forecaster
    assert isinstance(network, TunedNetwork)
    forecast = WatchedForecast(OnlineForecaster(guarded), clock=lambda: clock[0])
    for _ in range(6):
        drive(forecast, clock, 1)
        clock[0] += 14.0  # no forecast was asked for when the window ended
    drive(forecast, clock, 5)
    clock[0] -= 3.0  # the clock was set back
    drive(forecast, clock, 1)
    assert network.prepare() is None


def test_fine_tuning_is_declared_in_topics_yaml_and_off_without_it() -> None:
    for declared, tunable in (({}, False), ({"forecaster_finetune": True}, True)):
        forecast = declared_forecast(declare(**declared), "find")
        assert forecast is not None
        assert (forecast.tunable, forecast.current_state().tuned) == (tunable, False)


def test_what_has_no_last_layer_cannot_be_declared_as_tuned() -> None:
    with pytest.raises(ConfigError, match="no last layer") as caught:
        declared_forecast(declare(forecaster="linear", forecaster_finetune=True), "find")
    assert caught.value.key == "functions.find.balancing.forecaster_finetune"
