"""Reads plates with the small network that the project trains on rendered plates."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
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


def best_path(log_probabilities: NDArray[np.float32]) -> str:
    """Greedy CTC decoding of [T, 37] (class 0 is the blank)."""
    runs = groupby(log_probabilities.argmax(axis=1).tolist())
    return "".join(ALPHABET[cls - 1] for cls, _ in runs if cls)


def log_likelihood(log_probabilities: NDArray[np.float32], text: str) -> NDArray[np.float64]:
    """How probable ``text`` is, over all alignments: CTC's forward recursion (Graves et al. 2006).

    Args:
        log_probabilities: [V, T, 37], class 0 the blank.
        text: A-Z0-9, at least one character.

    Returns:
        Natural logarithms [V], one per view.
    """
    labels = np.zeros(2 * len(text) + 1, np.int64)
    labels[1::2] = [ALPHABET.index(char) + 1 for char in text]
    emitted = log_probabilities[:, :, labels].astype(np.float64)
    # A blank may be jumped over between two different characters.
    jump = np.zeros(len(labels), bool)
    jump[3::2] = labels[3::2] != labels[1:-2:2]
    forward = np.full((len(emitted), len(labels)), -np.inf)
    forward[:, :2] = emitted[:, 0, :2]
    for step in range(1, emitted.shape[1]):
        one, two = np.full_like(forward, -np.inf), np.full_like(forward, -np.inf)
        one[:, 1:] = forward[:, :-1]
        two[:, 2:] = np.where(jump[2:], forward[:, :-2], -np.inf)
        forward = np.logaddexp(np.logaddexp(forward, one), two) + emitted[:, step]
    return np.asarray(np.logaddexp(forward[:, -1], forward[:, -2]), np.float64)


def consensus(views: NDArray[np.float32]) -> tuple[str, float]:
    """One text out of several views of a plate, [V, T, 37].

    Each view proposes its best path; the proposal that all views together hold most probable wins.

    Returns:
        The text, and the geometric mean over views and characters of its probability.
    """
    proposals = sorted({text for view in views if (text := best_path(view))})
    if not proposals:
        return "", 0.0
    means = [float(log_likelihood(views, text).mean()) for text in proposals]
    best = int(np.argmax(means))
    return proposals[best], float(min(1.0, np.exp(means[best] / len(proposals[best]))))
