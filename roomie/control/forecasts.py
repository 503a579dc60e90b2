"""What comes next, for scaling before it comes: any forecaster of loads, asked model by model.

ROOMIE knows none (`forecasting` is nobody's dependency here): whoever starts the controller hands
over a callable, for example `forecasting.base.Forecaster.forecast`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from roomie.control.scaling_types import ForecastArrivals

Loads = NDArray[np.float32]
Forecast = Callable[[Loads], Loads]
"""float32 [n, h], items a slot, oldest first, to float32 [n, k], items a slot."""


def arrivals_forecast(
    forecast: Forecast, *, slots: int = 50, slot_s: float = 1.0
) -> ForecastArrivals:
    """Ask a forecaster of loads for the arrivals of a model.

    Args:
        forecast: see there.
        slots: that it wants to see, its h; what is not known is 0, as VIDEOJAM's histories have it.
        slot_s: length of its slots in seconds.

    Returns:
        The mean over the forecast window, items a second; None where nothing has come yet, or what
        the forecaster says is no number or below 0.
    """

    def expected(model: str, arrivals: Sequence[float]) -> float | None:
        del model
        if not any(arrivals):
            return None
        # What had come by each moment, read off between the known seconds: slots of any length.
        by = np.concatenate(([0.0], np.cumsum(arrivals)))
        seconds = np.arange(-len(arrivals), 1)
        ends = slot_s * np.arange(-slots, 1)
        history = np.diff(np.interp(ends, seconds, by))[np.newaxis].astype(np.float32)
        mean = float(np.mean(np.asarray(forecast(history), np.float64))) / slot_s
        return mean if math.isfinite(mean) and mean >= 0 else None

    return expected
