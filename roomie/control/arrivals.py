"""What came of each model, second by second: what a forecaster of arrivals is asked with.

The forecaster comes from outside: a callable from histories [n, h] to what is expected [n, k], as
`forecasting.base.Forecaster.forecast` is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float32]
Forecast = Callable[[Counts], Counts]
"""float32 [n, h], items a slot, oldest first, to float32 [n, k], items a slot."""


class ArrivalHistory:
    """Counts arrivals by model in slots of time; reads no clock.

    Args:
        slots: that are remembered, the h of a forecaster.
        slot_s: length of a slot in seconds.
    """

    def __init__(self, *, slots: int = 50, slot_s: float = 1.0) -> None:
        self._slots = slots
        self._slot_s = slot_s
        self._counts: dict[str, dict[int, float]] = {}

    def count(self, model: str, now: float, items: float) -> None:
        """Items came."""
        counts = self._counts.setdefault(model, {})
        slot = self._slot(now)
        counts[slot] = counts.get(slot, 0.0) + items
        for old in [known for known in counts if known < slot - self._slots]:
            del counts[old]

    def histories(self, now: float) -> tuple[tuple[str, ...], Counts]:
        """Models, sorted, and what came of each in the slots that have ended; float32 [n, h]."""
        models = tuple(sorted(self._counts))
        end = self._slot(now)
        rows = [
            [self._counts[model].get(slot, 0.0) for slot in range(end - self._slots, end)]
            for model in models
        ]
        return models, np.array(rows, np.float32).reshape(len(models), self._slots)

    def expected(self, now: float, forecast: Forecast) -> Mapping[str, float]:
        """Items a second that are expected of each model: the mean over the forecast window.

        What a forecaster says that is no number, or below 0, counts as no forecast.
        """
        models, histories = self.histories(now)
        if not models:
            return {}
        means = np.asarray(forecast(histories), np.float64).mean(axis=1) / self._slot_s
        return {
            model: float(rate)
            for model, rate in zip(models, means, strict=True)
            if math.isfinite(rate) and rate >= 0
        }

    def _slot(self, now: float) -> int:
        return math.floor(now / self._slot_s + 1e-9)
