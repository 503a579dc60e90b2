"""The forecaster of a replica, watched: it hands over to the last window while it does worse."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypedDict

import numpy as np

from agents.balancing.values import Histories
from agents.declaration import balancing_settings
from agents.state import ForecasterState
from dataflow.config import Config, FunctionConfig
from dataflow.errors import ConfigError
from forecasting import (
    DEFAULT,
    Drift,
    FinetuneSettings,
    OnlineForecaster,
    WhenBroken,
    Window,
    build_forecaster,
    check_forecaster,
)
from forecasting.errors import ForecasterModelError, ForecastingError
from forecasting.finetune import Lessons
from forecasting.tuned import TunedNetwork

_log = logging.getLogger("videojam.forecasting")

_LEARN_EVERY = 30
"""Slots between two times that the last layer is learned: it changes as slowly as a camera's view
does, and learning takes some ten milliseconds."""


class BackgroundTuner:
    """Learns a network's last layer in a thread of its own, from the replica's own windows.

    Args:
        network: what is tuned; used by the caller's thread meanwhile.
        window: how time is cut.
    """

    def __init__(self, network: TunedNetwork, window: Window) -> None:
        self._network = network
        self._window = window
        self._histories: deque[tuple[int, Histories]] = deque()
        self._slots = 0
        self._thread: threading.Thread | None = None

    def observe(self, slot: int, own: Histories) -> None:
        """A slot has ended.

        Args:
            slot: the slot that follows it.
            own: float32 [h], the replica's own load, measured.
        """
        slots = self._window.slots
        if self._histories and slot <= self._histories[-1][0]:
            return
        while self._histories and self._histories[0][0] <= slot - slots:
            begun, history = self._histories.popleft()
            if begun == slot - slots:  # an older one lacks the slots that nobody asked for
                self._network.note(history, float(own[-slots:].sum()))
                self._slots += 1
        self._histories.append((slot, own.copy()))
        if self._slots >= _LEARN_EVERY and (self._thread is None or not self._thread.is_alive()):
            lessons = self._network.prepare()
            if lessons is not None:
                self._slots = 0
                self._thread = threading.Thread(
                    target=self._learn, args=(lessons,), name="finetune", daemon=True
                )
                self._thread.start()

    def _learn(self, lessons: Lessons) -> None:
        try:
            weights = self._network.learn_from(lessons)
        except np.linalg.LinAlgError:  # forecasts go on as they are
            _log.exception("the forecaster's last layer could not be learned")
            return
        if (weights is not None) != self._network.tuned:
            _log.info(
                "the forecaster's last layer is %s", "trained" if weights is None else "tuned"
            )
        self._network.adopt(weights)


class WatchedForecast:
    """What a balancer calls: forecasts, and compares its own replica's with what came.

    Args:
        forecaster: the watched one; where it wraps a `TunedNetwork`, that learns too.
        clock: seconds since the epoch.
    """

    def __init__(
        self, forecaster: OnlineForecaster, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._forecaster = forecaster
        self._window = forecaster.forecaster.window
        self._clock = clock
        self._begun: tuple[int, Histories] | None = None
        network = forecaster.forecaster.forecaster
        self._network = network if isinstance(network, TunedNetwork) else None
        self._tuner = (
            None if self._network is None else BackgroundTuner(self._network, self._window)
        )

    @property
    def name(self) -> str:
        """Of the forecaster."""
        return self._forecaster.forecaster.name

    def current_drift(self) -> Drift:
        """How it did in the last windows."""
        return self._forecaster.drift

    @property
    def tunable(self) -> bool:
        """Whether its last layer is learned."""
        return self._network is not None

    def current_state(self) -> ForecasterState:
        """How it did in the last windows, as the replica reports it."""
        state = ForecasterState.model_validate(self.current_drift())
        return state.model_copy(update={"tuned": self._network is not None and self._network.tuned})

    def __call__(self, histories: Histories) -> Histories:
        """Arrivals of the next window.

        Args:
            histories: float32 [n, h], the replica's own first.

        Returns:
            float32 [n, k].
        """
        slot = math.floor(self._clock() / self._window.slot_seconds)
        self._compare(slot, histories[:1])
        if self._tuner is not None:
            self._tuner.observe(slot, histories[0])
        return self._forecaster.forecast(histories)

    def _compare(self, slot: int, own: Histories) -> None:
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
    if not _forecasts(config, function):
        return None
    with _faults_of(config, function):
        forecaster = build_forecaster(**_wanted(config.functions[function]))
    return WatchedForecast(OnlineForecaster(forecaster))


def check_declared_forecast(config: Config, function: str) -> None:
    """See that the forecaster of a function can be made, and forecasts; as `declared_forecast`.

    Raises:
        ConfigError: it cannot, or its forecasts do not fit the balancer.
    """
    if _forecasts(config, function):
        with _faults_of(config, function):
            check_forecaster(**_wanted(config.functions[function]))


class _Wanted(TypedDict):
    name: str
    window: Window
    parameters: Mapping[str, object]
    when_broken: WhenBroken
    finetune: FinetuneSettings | None


def _forecasts(config: Config, function: str) -> bool:
    return config.functions[function].balancing_policy == "videojam"


def _wanted(function: FunctionConfig) -> _Wanted:
    settings, balancing = balancing_settings(function), function.balancing
    return {
        "name": balancing.forecaster or DEFAULT,
        "window": Window(
            slot_seconds=settings.slot, slots=settings.slots, history=settings.history
        ),
        "parameters": balancing.forecaster_parameters,
        "when_broken": balancing.forecaster_broken,
        "finetune": FinetuneSettings() if balancing.forecaster_finetune else None,
    }


@contextmanager
def _faults_of(config: Config, function: str) -> Iterator[None]:
    """Turns errors of forecasting into errors of topics.yaml."""
    try:
        yield
    except ForecastingError as error:
        balancing = config.functions[function].balancing
        key = error.key or ("forecaster" if balancing.forecaster else None)
        of_a_model = isinstance(error, ForecasterModelError)
        if error.key is None and of_a_model and "model" in balancing.forecaster_parameters:
            key = "forecaster_parameters.model"
        where = f"functions.{function}.balancing"
        raise ConfigError(
            error.message if error.file is None else f"{error.file}: {error.message}",
            key=where if key is None else f"{where}.{key}",
            value=error.value,
            remedy=error.remedy,
        ) from error
