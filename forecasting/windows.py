"""Slots, windows and histories. Pure.

Time is cut into slots of ``slot_seconds``; ``slots`` of them make a window, and a forecaster looks
back over ``history`` slots (thesis sec. 3.4.3: delta, k, h). The load of a slot is the number of
items that came from upstream in it, those dropped included and those offloaded by neighbours left
out, so that a forecast is about the demand and not about what balancing made of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forecasting.errors import ForecasterSettingsError

Loads = NDArray[np.float32]
"""Items a slot; the last axis is time, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How time is cut. The defaults are the thesis' (Table 3.1).

    Attributes:
        slot_seconds: length of a slot in seconds, delta.
        slots: slots in a window, k: as many are forecast.
        history: slots that a forecaster sees, h >= k.

    Raises:
        ForecasterSettingsError: a value is out of range.
    """

    slot_seconds: float = 1.0
    slots: int = 10
    history: int = 50

    def __post_init__(self) -> None:
        if not self.slot_seconds > 0:
            raise ForecasterSettingsError(
                "a slot lasts longer than 0 seconds", key="slot_seconds", value=self.slot_seconds
            )
        if self.slots < 1:
            raise ForecasterSettingsError(
                "a window has at least one slot", key="slots", value=self.slots
            )
        if self.history < self.slots:
            raise ForecasterSettingsError(
                f"the history holds at least one window ({self.slots} slots)",
                key="history",
                value=self.history,
                remedy="a multiple of the window, such as 5 windows",
            )

    @property
    def seconds(self) -> float:
        """Length of a window in seconds."""
        return self.slot_seconds * self.slots


def known_loads(values: ArrayLike) -> Loads:
    """Loads as forecasters take and give them: what is unknown (below 0, or no number) is 0."""
    loads = np.asarray(values, np.float32)
    return np.where(np.isfinite(loads) & (loads > 0), loads, np.float32(0.0))


def padded_history(loads: Sequence[float] | NDArray[np.generic], window: Window) -> Loads:
    """The newest h slots of a load, 0 where it is shorter: what a replica knows at start-up.

    Args:
        loads: items a slot, oldest first.
        window: how time is cut.

    Returns:
        float32 [h].
    """
    history = np.zeros(window.history, np.float32)
    newest = np.asarray(loads, np.float32)[-window.history :]
    if len(newest):
        history[-len(newest) :] = newest
    return history


def carried_on(history: Loads, missing: int, forecast: Loads, begun: int = 0) -> Loads:
    """A history whose newest slots have not been measured: forecasts stand in their place.

    So a neighbour's history runs on its forecasts until its next state (baselines.md sec. 1).

    Args:
        history: float32 [h], measured, oldest first.
        missing: slots that have passed since it ended.
        forecast: float32 [k], perhaps simply what came lately.
        begun: slots of the forecast that had passed when the history ended.

    Returns:
        float32 [h]; the oldest slots fall out. Beyond its end a forecast repeats, as that of a
        window like the last would.
    """
    if missing <= 0:
        return history
    missing = min(missing, len(history))
    places = np.arange(begun, begun + missing) % len(forecast)
    return np.concatenate([history, forecast[places]])[-len(history) :]
