"""A last layer for each camera, learned while it runs. Off unless a forecaster is wrapped in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecasting.errors import ForecasterSettingsError
from forecasting.guard import GuardedForecaster
from forecasting.naive import last_window
from forecasting.windows import Loads, known_loads

_MEMBERS = 3  # the forecaster, the last window, the newest slot k times


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneSettings:
    """How to learn.

    Attributes:
        prior: how many windows the forecaster as it is weighs: more learn more slowly, and follow
            chance less.
        memory: share of what is known that a window leaves to the next, in (0, 1].
        limit: most by which a window's sum is multiplied or divided.
    """

    prior: float = 20.0
    memory: float = 0.98
    limit: float = 2.0

    def __post_init__(self) -> None:
        if not self.prior > 0 or not 0 < self.memory <= 1 or not self.limit >= 1:
            raise ForecasterSettingsError(
                "a prior above 0, a memory in (0, 1] and a limit of 1 or more are expected",
                key="finetune",
                value=self,
            )


class _Layer:
    """Weights of the members for one replica: least squares with forgetting, drawn to a prior."""

    def __init__(self, settings: FinetuneSettings) -> None:
        self._settings = settings
        self._gram: NDArray[np.float64] = np.zeros((_MEMBERS, _MEMBERS))
        self._right: NDArray[np.float64] = np.zeros(_MEMBERS)
        self.weights: NDArray[np.float64] = np.eye(_MEMBERS)[0]

    def learn(self, members: NDArray[np.float64], came: float) -> None:
        unit = max(float(members.mean()), came / 2, 1.0)  # busy windows do not outweigh the others
        scaled = members / unit
        self._gram = self._settings.memory * self._gram + np.outer(scaled, scaled)
        self._right = self._settings.memory * self._right + scaled * (came / unit)
        prior = self._settings.prior * np.eye(_MEMBERS)
        self.weights = np.linalg.solve(
            self._gram + prior, self._right + prior @ np.eye(_MEMBERS)[0]
        )


class Finetuned:
    """Learns for each replica how to weigh the forecaster, the last window and the newest slot.

    The sum of a window is corrected, its shape is the forecaster's. A step costs microseconds, so
    it needs no thread of its own.

    Args:
        forecaster: what is corrected.
        settings: how to learn.
    """

    def __init__(
        self, forecaster: GuardedForecaster, settings: FinetuneSettings | None = None
    ) -> None:
        self.forecaster = forecaster
        self._settings = settings or FinetuneSettings()
        self._layers: dict[str, _Layer] = {}

    def forecast(self, histories: Loads, replicas: Sequence[str]) -> Loads:
        """As `GuardedForecaster.forecast`, corrected for the replicas that were observed.

        Args:
            histories: float [n, h].
            replicas: their names, in the same order.

        Raises:
            ForecasterSettingsError: not as many names as histories.
        """
        if len(replicas) != len(histories):
            raise ForecasterSettingsError(
                f"{len(histories)} histories need as many names",
                key="replicas",
                value=len(replicas),
            )
        forecasts = self.forecaster.forecast(histories)
        members = self._members(forecasts, histories)
        for row, name in enumerate(replicas):
            layer = self._layers.get(name)
            if layer is not None and members[row, 0] > 0:
                factor = float(layer.weights @ members[row]) / members[row, 0]
                limit = self._settings.limit
                forecasts[row] *= np.float32(min(max(factor, 1 / limit), limit))
        return forecasts

    def observe(self, replica: str, history: Loads, measured: Loads) -> None:
        """Learn from a window that ended.

        Args:
            replica: whose.
            history: float [h], as it was at the start of the window.
            measured: float [k], what came in it.
        """
        histories = known_loads(history)[None]
        members = self._members(self.forecaster.forecast(histories), histories)[0]
        came = float(known_loads(measured).sum())
        if members.any() or came:
            self._layers.setdefault(replica, _Layer(self._settings)).learn(members, came)

    def forget(self, replica: str) -> None:
        """The replica has left."""
        self._layers.pop(replica, None)

    def _members(self, forecasts: Loads, histories: Loads) -> NDArray[np.float64]:
        """Sums over the next window, float64 [n, members]."""
        slots = self.forecaster.window.slots
        last = last_window(known_loads(histories), slots)
        sums = (forecasts.sum(axis=1), last.sum(axis=1), last[:, -1] * slots)
        return np.stack(sums, axis=1).astype(np.float64)
