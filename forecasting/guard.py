"""A forecaster that does not fail while it runs."""

from __future__ import annotations

import logging

import numpy as np

from forecasting.base import Forecaster, RiskForecaster
from forecasting.errors import ForecasterSettingsError
from forecasting.naive import last_window
from forecasting.windows import Loads, Window, known_loads

_log = logging.getLogger("videojam.forecasting")

_LOG_EVERY = 100
"""Faults that pass between two warnings: a broken model fails in every window."""


class GuardedForecaster:
    """Checks what goes into a forecaster and what comes out of it.

    Loads that are unknown (below 0, or no number) become 0 before and after. Where the forecaster
    raises, or answers with the wrong shape or with what is no number, the last window stands in,
    and the fault is counted.

    Args:
        forecaster: what is guarded.
        window: how time is cut.
        name: of the forecaster, for messages and metrics.
        stands_in_for: the forecaster that was asked for and could not be made.
    """

    def __init__(
        self,
        forecaster: Forecaster,
        window: Window,
        *,
        name: str,
        stands_in_for: str | None = None,
    ) -> None:
        self.forecaster = forecaster
        self.window = window
        self.name = name
        self.stands_in_for = stands_in_for
        self.faults = 0
        """Forecasts of a replica that the last window had to replace, so far."""

    def forecast(self, histories: Loads) -> Loads:
        """The load of the window that follows each history.

        Args:
            histories: float [n, h], items a slot, oldest first.

        Returns:
            float32 [n, k]: finite, nothing below 0.

        Raises:
            ForecasterSettingsError: the histories are not [n, h]; that is the caller's mistake.
        """
        loads = self._checked(histories)
        stand_in = last_window(loads, self.window.slots)
        if not len(loads):
            return stand_in
        try:
            answer = np.asarray(self.forecaster.forecast(loads), np.float32)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; balancing goes on
            self._fault(len(loads), f"{type(error).__name__}: {error}")
            return stand_in
        if answer.shape != stand_in.shape:
            self._fault(len(loads), f"it answered {answer.shape} instead of {stand_in.shape}")
            return stand_in
        broken = np.logical_not(np.isfinite(answer).all(axis=1))
        if broken.any():
            self._fault(int(broken.sum()), "it answered what is no number")
            answer = np.where(broken[:, None], stand_in, answer)
        return known_loads(answer)

    @property
    def levels(self) -> tuple[float, ...]:
        """Probabilities that `window_quantiles` answers for; empty if the forecaster has none."""
        return self.forecaster.levels if isinstance(self.forecaster, RiskForecaster) else ()

    def window_quantiles(self, histories: Loads) -> Loads:
        """Quantiles of the sum over the next window.

        Args:
            histories: float [n, h].

        Returns:
            float32 [n, len(levels)], ascending; where the forecaster fails, the sum of the last
            window for each level.

        Raises:
            ForecasterSettingsError: the histories are not [n, h].
        """
        loads = self._checked(histories)
        stand_in = last_window(loads, self.window.slots).sum(axis=1, keepdims=True)
        stand_in = np.repeat(stand_in, len(self.levels), axis=1)
        if not stand_in.size or not isinstance(self.forecaster, RiskForecaster):
            return stand_in
        try:
            answer = np.asarray(self.forecaster.window_quantiles(loads), np.float32)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            self._fault(len(loads), f"{type(error).__name__}: {error}")
            return stand_in
        if answer.shape != stand_in.shape:
            self._fault(len(loads), f"it answered {answer.shape} instead of {stand_in.shape}")
            return stand_in
        broken = np.logical_not(np.isfinite(answer).all(axis=1))
        if broken.any():
            self._fault(int(broken.sum()), "it answered what is no number")
            answer = np.where(broken[:, None], stand_in, answer)
        # quantiles that are learned one by one may cross
        return np.maximum.accumulate(known_loads(answer), axis=1)

    def _checked(self, histories: Loads) -> Loads:
        shape = np.shape(histories)
        if len(shape) != 2 or shape[1] != self.window.history:
            raise ForecasterSettingsError(
                f"histories are [n, {self.window.history}]", key="histories", value=shape
            )
        return known_loads(histories)

    def _fault(self, count: int, why: str) -> None:
        if self.faults // _LOG_EVERY != (self.faults + count) // _LOG_EVERY or not self.faults:
            _log.warning(
                "the forecaster %s failed for %d replica(s), their last window stands in: %s",
                self.name,
                count,
                why,
            )
        self.faults += count
