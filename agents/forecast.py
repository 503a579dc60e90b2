"""The forecaster of a replica, watched: it hands over to the last window while it does worse."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from agents.balancing.values import Histories
from dataflow.config import Config
from dataflow.errors import ConfigError
from forecasting import DEFAULT, Drift, OnlineForecaster, Window, build_forecaster
from forecasting.errors import ForecastingError


class WatchedForecast:
    """What a balancer calls: forecasts, and compares its own replica's with what came.

    Args:
        forecaster: the watched one.
        clock: seconds since the epoch.
    """

    def __init__(
        self, forecaster: OnlineForecaster, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._forecaster = forecaster
        self._window = forecaster.forecaster.window
        self._clock = clock
        self._begun: tuple[int, Histories] | None = None

    @property
    def name(self) -> str:
        """Of the forecaster."""
        return self._forecaster.forecaster.name

    def current_drift(self) -> Drift:
        """How it did in the last windows."""
        return self._forecaster.drift

    def __call__(self, histories: Histories) -> Histories:
        """Arrivals of the next window.

        Args:
            histories: float32 [n, h], the replica's own first.

        Returns:
            float32 [n, k].
        """
        self._compare(histories[:1])
        return self._forecaster.forecast(histories)

    def _compare(self, own: Histories) -> None:
        slot = math.floor(self._clock() / self._window.slot_seconds)
        if self._begun is not None:
            passed = slot - self._begun[0]
            if passed < self._window.slots:
                return
            if passed == self._window.slots:
                self._forecaster.observe(self._begun[1], own[:, -self._window.slots :])
        self._begun = (slot, own.copy())


def declared_forecast(config: Config, function: str) -> WatchedForecast | None:
    """The forecaster that topics.yaml names for a function; None if its balancer needs none.

    Raises:
        ConfigError: there is no such forecaster, or it cannot be made.
    """
    settings = config.functions[function]
    if settings.balancing_policy != "videojam":
        return None
    balancing = settings.balancing
    try:
        forecaster = build_forecaster(
            balancing.forecaster or DEFAULT,
            Window(),
            balancing.forecaster_parameters,
            when_broken=balancing.forecaster_broken,
        )
    except ForecastingError as error:
        key = f"functions.{function}.balancing"
        raise ConfigError(
            error.message,
            file=error.file,
            line=error.line,
            key=key if error.key is None else f"{key}.{error.key}",
            value=error.value,
            remedy=error.remedy,
        ) from error
    return WatchedForecast(OnlineForecaster(forecaster))
