"""A last layer of one's own: learned from one replica's load while it runs. Off by default.

The network stays as it is; its last layer (thesis sec. 3.5.1: 512 -> 10) is learned anew from the
windows that have passed, close to the trained weights, and is used only while it would have done
better on the newest of them. Pure: whoever learns in the background owns the thread.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecasting.errors import ForecasterSettingsError
from forecasting.last_layer import Activations, LastLayer, Tail, Weights, answer, slope

_EXACT = 0.005
"""Relative error that is none: the layer computed apart rounds otherwise than the network, and how
differs from processor to processor."""
_STEPS = 4
"""Times that a bent tail is straightened anew; a linear one needs no second time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneSettings:
    """How to learn.

    Attributes:
        windows: how many past windows are learned from; a window may begin with any slot.
        least: windows before anything is learned.
        prior: how strongly the trained weights are kept, in windows' worth of evidence: more
            learns more slowly, and follows chance less.
        judged: share of the windows, the newest, that decide whether what was learned from the
            others is used.
        better: it is used when its error on those is below this many times the trained layer's.
        limit: most by which a window's sum is multiplied or divided.
    """

    windows: int = 240
    least: int = 60
    prior: float = 5.0
    judged: float = 0.25
    better: float = 0.97
    limit: float = 2.0

    def __post_init__(self) -> None:
        if not (
            2 <= self.least <= self.windows
            and self.prior > 0
            and 0 < self.judged < 1
            and 0 < self.better <= 1
            and self.limit >= 1
        ):
            raise ForecasterSettingsError(
                "2 <= least <= windows, a prior above 0, a judged share in (0, 1), better in "
                "(0, 1] and a limit of 1 or more are expected",
                key="finetune",
                value=self,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lessons:
    """Windows to learn from, oldest first.

    Attributes:
        given: what the last layer started from in each of the m.
        came: float64 [m], items that then came.
    """

    given: Activations
    came: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.came)

    def part(self, rows: slice) -> Lessons:
        """Some of them."""
        given = Activations(features=self.given.features[rows], base=self.given.base[rows])
        return Lessons(given=given, came=self.came[rows])


class Notebook:
    """The last windows of one replica.

    Args:
        settings: how many.
    """

    def __init__(self, settings: FinetuneSettings) -> None:
        self._settings = settings
        self._pages: deque[tuple[Activations, float]] = deque(maxlen=settings.windows)

    def __len__(self) -> int:
        return len(self._pages)

    def note(self, given: Activations, came: float) -> None:
        """A window has ended.

        Args:
            given: what the layer started from, m = 1.
            came: items that came in it; what is no number is passed over.
        """
        if np.isfinite(came) and came >= 0 and np.isfinite(given.features).all():
            self._pages.append((given, came))

    def lessons(self) -> Lessons | None:
        """All that is noted; None while it is too little."""
        if len(self._pages) < self._settings.least:
            return None
        return Lessons(
            given=Activations(
                features=np.concatenate([given.features for given, _ in self._pages]),
                base=np.concatenate([given.base for given, _ in self._pages]),
            ),
            came=np.array([came for _, came in self._pages]),
        )


def learn(layer: LastLayer, lessons: Lessons, settings: FinetuneSettings) -> Weights | None:
    """Learn the last layer anew.

    Ridge regression of the windows' sums, drawn to the trained weights, where a bent tail is
    straightened around the weights found so far (Gauss-Newton). It is solved in its dual, m x m,
    as a layer has more weights than there are windows.

    Args:
        layer: as it was trained.
        lessons: at least two windows.
        settings: how.

    Returns:
        Weights [k, f + 1] that did better than the trained ones on the newest windows, which they
        were not learned from; None where the trained ones are to be kept.
    """
    judged = max(1, round(settings.judged * len(lessons)))
    past, newest = lessons.part(slice(None, -judged)), lessons.part(slice(-judged, None))
    if not past.came.any():
        return None
    before = _error(layer.tail, layer.weights, newest, layer, settings)
    if before <= _EXACT * float(newest.came.sum()):
        return None
    found = _fit(layer, past, settings)
    if not np.isfinite(found).all():
        return None
    after = _error(layer.tail, found, newest, layer, settings)
    if not after < settings.better * before:
        return None
    everything = _fit(layer, lessons, settings)
    return everything if np.isfinite(everything).all() else None


def corrected(
    layer: LastLayer, weights: Weights, given: Activations, settings: FinetuneSettings
) -> NDArray[np.float64]:
    """Forecasts [m, k] with learned weights, kept within ``limit`` of the trained network's sums.

    Args:
        layer: as it was trained.
        weights: learned.
        given: what the layer starts from.
        settings: the limit.
    """
    trained = np.maximum(answer(layer.tail, layer.weights, given), 0.0)
    tuned = np.maximum(answer(layer.tail, weights, given), 0.0)
    usual, sums = trained.sum(axis=1), tuned.sum(axis=1)
    bounded = np.clip(sums, usual / settings.limit, usual * settings.limit)
    scale = np.divide(bounded, sums, out=np.zeros_like(sums), where=sums > 0)
    # a tuned layer that answers nothing at all has no shape to scale
    return np.where(sums[:, None] > 0, tuned * scale[:, None], trained)


def _fit(layer: LastLayer, lessons: Lessons, settings: FinetuneSettings) -> Weights:
    given, came = lessons.given, lessons.came
    unit = np.maximum(came, max(float(came.mean()), 1.0))  # busy windows do not outweigh the others
    alike = given.features @ given.features.T
    weights = layer.weights
    for _ in range(1 if layer.tail == "linear" else _STEPS):
        slopes = slope(layer.tail, weights, given) / unit[:, None]
        kernel = alike * (slopes @ slopes.T)
        said = answer(layer.tail, weights, given).sum(axis=1) / unit
        moved = np.einsum("mk,kf,mf->m", slopes, weights - layer.weights, given.features)
        strength = settings.prior * float(np.trace(kernel)) / len(came)
        ridge = kernel + max(strength, 1e-12) * np.eye(len(came))
        dual = np.linalg.solve(ridge, came / unit - said + moved)
        weights = layer.weights + (slopes * dual[:, None]).T @ given.features
    return weights


def _error(
    tail: Tail, weights: Weights, lessons: Lessons, layer: LastLayer, settings: FinetuneSettings
) -> float:
    """Total absolute error of the windows' sums."""
    if weights is layer.weights:
        said = np.maximum(answer(tail, weights, lessons.given), 0.0)
    else:
        said = corrected(layer, weights, lessons.given, settings)
    return float(np.abs(said.sum(axis=1) - lessons.came).sum())
