"""Forecasters that need no training."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from forecasting.base import ForecasterParams
from forecasting.errors import ForecasterSettingsError
from forecasting.windows import Loads, Window


def known_slots(histories: Loads) -> NDArray[np.bool_]:
    """Which slots are known: all from the first load on. Zeros before it are taken as unknown.

    Args:
        histories: float32 [n, h].

    Returns:
        bool [n, h].
    """
    known: NDArray[np.bool_] = np.logical_or.accumulate(histories > 0, axis=1)
    return known


def last_window(histories: Loads, slots: int) -> Loads:
    """The newest ``slots`` of each history, float32 [n, slots]."""
    return np.array(histories[:, -slots:], np.float32)


class LastWindow:
    """The thesis' "identity": the next window is like the last.

    Args:
        window: how time is cut.
        params: none.
    """

    Params: ClassVar[type[ForecasterParams]] = ForecasterParams

    def __init__(self, window: Window, params: ForecasterParams) -> None:
        del params
        self._slots = window.slots

    def forecast(self, histories: Loads) -> Loads:
        """See `forecasting.base.Forecaster`."""
        return last_window(histories, self._slots)


class EwmaParams(ForecasterParams):
    """Parameters of `ewma`."""

    alpha: Annotated[float, Field(gt=0.0, le=1.0)] = 0.8
    """Weight of the newest slot; each older one weighs 1 - alpha times as much."""


class Ewma:
    """Exponentially weighted mean of what is known, for every slot of the window.

    Args:
        window: how time is cut.
        params: its smoothing.
    """

    Params: ClassVar[type[ForecasterParams]] = EwmaParams

    def __init__(self, window: Window, params: EwmaParams) -> None:
        self._slots = window.slots
        ages = np.arange(window.history)[::-1]
        # 1 - alpha underflows to 0 for old slots, which is what they weigh
        self._weights = ((1.0 - params.alpha) ** ages).astype(np.float32)

    def forecast(self, histories: Loads) -> Loads:
        """See `forecasting.base.Forecaster`."""
        weights = self._weights * known_slots(histories)
        total = np.maximum(weights.sum(axis=1), np.float32(1e-30))
        level = (histories * weights).sum(axis=1) / total
        return np.repeat(level[:, None], self._slots, axis=1).astype(np.float32)


class SeasonalParams(ForecasterParams):
    """Parameters of `seasonal`."""

    period: Annotated[int, Field(ge=1)] = 30
    """Slots after which the load repeats: the cycle of a traffic light, say."""


class Seasonal:
    """What came one period ago; the last window where that is not known.

    Args:
        window: how time is cut.
        params: the period.

    Raises:
        ForecasterSettingsError: the period is longer than the history.
    """

    Params: ClassVar[type[ForecasterParams]] = SeasonalParams

    def __init__(self, window: Window, params: SeasonalParams) -> None:
        if params.period > window.history:
            raise ForecasterSettingsError(
                f"the history holds {window.history} slots only",
                key="period",
                value=params.period,
                remedy="choose a shorter period, or a longer history",
            )
        self._slots = window.slots
        self._source = window.history - params.period + np.arange(window.slots) % params.period

    def forecast(self, histories: Loads) -> Loads:
        """See `forecasting.base.Forecaster`."""
        known = known_slots(histories)[:, self._source[0]]
        repeated = histories[:, self._source]
        return np.where(known[:, None], repeated, last_window(histories, self._slots))
