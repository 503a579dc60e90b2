"""Reads plates with the small network that the project trains on rendered plates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dataflow.functions.plate_ocr.characters import to_grey
from dataflow.functions.plate_ocr.network import MODELS, open_network
from dataflow.functions.plate_ocr.readers.base import ALPHABET

_WIDTH, _HEIGHT = 144, 48
_VIEWS = (
    (0.0, 0.0, 0.0, 0.0),
    (0.04, 0.06, 0.04, 0.06),
    (0.0, 0.08, 0.0, 0.0),
    (0.05, 0.0, 0.0, 0.08),
    (0.0, 0.0, 0.05, 0.04),
)
"""What is trimmed off a crop's left, top, right and bottom, as shares of its size, per view."""


class CrnnReader:
    """Convolutions and CTC (``evaluation/training/plate_reader.py``); no other package needed.

    Args:
        views: how often each plate is read, each time cut a little differently; the text that the
            views together hold most probable wins. 1 to 5.
        threads: intra-op threads of the ONNX Runtime session.
        model: the network; by default the one that is shipped.

    Raises:
        ModelError: the file is missing or not such a network.
    """

    name = "crnn"

    def __init__(self, *, views: int = 3, threads: int = 1, model: Path | None = None) -> None:
        self._network = open_network(model or MODELS / "plate_reader.onnx", threads=threads)
        self._views = _VIEWS[: max(1, views)]

    def read(self, images: Sequence[NDArray[np.uint8]]) -> list[tuple[str, float]]:
        """See ``PlateReader.read``."""
        if not images:
            return []
        views = [trim(to_grey(image), *view) for image in images for view in self._views]
        log_probabilities = self._network(np.stack([scaled(view) for view in views])[:, None])
        per_image = log_probabilities.reshape(len(images), len(self._views), -1, len(ALPHABET) + 1)
        return [consensus(one) for one in per_image]


def trim(
    grey: NDArray[np.uint8], left: float, top: float, right: float, bottom: float
) -> NDArray[np.uint8]:
    """``grey`` without those shares of its width and height; never empty."""
    rows, columns = grey.shape
    if min(rows, columns) < 8:
        return grey
    return grey[
        int(top * rows) : rows - int(bottom * rows),
        int(left * columns) : columns - int(right * columns),
    ]


def scaled(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The network's input, float32 [48, 144]: stretched to that size, values 0..255."""
    shrink = grey.shape[1] > _WIDTH
    method = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
    return cv2.resize(grey, (_WIDTH, _HEIGHT), interpolation=method).astype(np.float32)


def best_path(log_probabilities: NDArray[np.float32]) -> tuple[str, float]:
    """Greedy CTC decoding of [T, 37] (class 0 is the blank).

    Returns:
        The text, and the product over its characters of each one's highest probability.
    """
    classes = log_probabilities.argmax(axis=1)
    peaks = log_probabilities.max(axis=1)
    text: list[str] = []
    logs: list[float] = []
    previous = 0
    for cls, peak in zip(classes.tolist(), peaks.tolist(), strict=True):
        if cls and cls == previous:
            logs[-1] = max(logs[-1], peak)
        elif cls:
            text.append(ALPHABET[cls - 1])
            logs.append(peak)
        previous = cls
    return "".join(text), float(np.exp(sum(logs))) if logs else 0.0


def consensus(views: NDArray[np.float32]) -> tuple[str, float]:
    """One text out of several views' outputs [V, T, 37]: votes weighted by confidence."""
    votes: dict[str, float] = {}
    for view in views:
        text, confidence = best_path(view)
        if text:
            votes[text] = votes.get(text, 0.0) + confidence
    if not votes:
        return "", 0.0
    best = max(votes, key=lambda text: votes[text])
    return best, min(1.0, votes[best] / len(views))
