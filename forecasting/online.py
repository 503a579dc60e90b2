"""Notices that a forecaster does worse than the last window, and hands over. Pure: no clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from forecasting.guard import GuardedForecaster
from forecasting.naive import last_window
from forecasting.windows import Loads, known_loads


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineSettings:
    """When to hand over.

    Attributes:
        windows: over how many past windows errors are compared.
        least: windows that must have been compared before the first hand-over.
        worse: hand over when the forecaster's error is more than this many times that of the last
            window.
        better: take over again when it is less than this many times; below ``worse``, so that the
            two do not alternate.
    """

    windows: int = 12
    least: int = 4
    worse: float = 1.1
    better: float = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How the forecaster does of late; metrics.

    Attributes:
        compared: windows that the figures are about.
        error: its total absolute error of windows' sums over the total load; None before any load.
        baseline_error: the same of the last window.
        ratio: ``error`` over ``baseline_error``: above 1 the forecaster does harm. None before
            any error of the last window.
        bias: its total signed error over the total load: far from 0, the load is not what it was
            trained on. None before any load.
        handed_over: whether the last window forecasts at present.
        hand_overs: how often it was handed over.
        faults: forecasts that the guard replaced.
    """

    compared: int
    error: float | None
    baseline_error: float | None
    ratio: float | None
    bias: float | None
    handed_over: bool
    hand_overs: int
    faults: int


class OnlineForecaster:
    """A forecaster that is watched.

    At the end of each window tell it what came (`observe`), then ask for the next (`forecast`).
    What the forecaster would have said is compared with the last window, whichever is in charge,
    so it can take over again.

    Args:
        forecaster: the watched one.
        settings: when to hand over.
    """

    def __init__(
        self, forecaster: GuardedForecaster, settings: OnlineSettings | None = None
    ) -> None:
        self.forecaster = forecaster
        self.settings = settings or OnlineSettings()
        self._windows: deque[tuple[float, float, float]] = deque(maxlen=self.settings.windows)
        self._handed_over = False
        self._hand_overs = 0

    @property
    def levels(self) -> tuple[float, ...]:
        """As `GuardedForecaster.levels`."""
        return self.forecaster.levels

    def forecast(self, histories: Loads) -> Loads:
        """As `GuardedForecaster.forecast`, or the last window after a hand-over."""
        if self._handed_over:
            return known_loads(last_window(histories, self.forecaster.window.slots))
        return self.forecaster.forecast(histories)

    def window_quantiles(self, histories: Loads) -> Loads:
        """As `GuardedForecaster.window_quantiles`; they are the forecaster's own throughout."""
        return self.forecaster.window_quantiles(histories)

    def observe(self, histories: Loads, measured: Loads) -> None:
        """Compare with what came.

        Args:
            histories: float [n, h], measured, as they were at the start of the window that ended:
                of oneself, and of neighbours whose states have come.
            measured: float [n, k], what came in that window.
        """
        if not len(histories):
            return
        came = known_loads(measured).sum(axis=1, dtype=np.float64)
        said = self.forecaster.forecast(histories).sum(axis=1, dtype=np.float64)
        before = known_loads(last_window(histories, self.forecaster.window.slots))
        naive = before.sum(axis=1, dtype=np.float64)
        if not (came.any() or said.any() or naive.any()):
            return  # a camera that shows nothing says nothing about forecasters
        for own, other, real in zip(said, naive, came, strict=True):
            self._windows.append((own - real, other - real, real))
        self._decide()

    def _decide(self) -> None:
        if len(self._windows) < self.settings.least:
            return
        own, naive, _ = self._errors()
        if self._handed_over:
            # errors of 0 on both sides are no reason to stay away
            self._handed_over = own > self.settings.better * naive
        elif own > self.settings.worse * naive and own > 0:
            self._handed_over = True
            self._hand_overs += 1

    def _errors(self) -> tuple[float, float, float]:
        table = np.array(self._windows, np.float64).reshape(-1, 3)
        own, naive, real = np.abs(table).sum(axis=0)
        return float(own), float(naive), float(real)

    @property
    def drift(self) -> Drift:
        """Figures of the last windows."""
        own, naive, real = self._errors()
        signed = float(sum(entry[0] for entry in self._windows))
        return Drift(
            compared=len(self._windows),
            error=own / real if real else None,
            baseline_error=naive / real if real else None,
            ratio=own / naive if naive else None,
            bias=signed / real if real else None,
            handed_over=self._handed_over,
            hand_overs=self._hand_overs,
            faults=self.forecaster.faults,
        )
