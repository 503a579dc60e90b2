"""Pictures into a detector's input, and what it found out of its output: wherever it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dataflow.functions.base import Box
from dataflow.functions.yolo import layouts
from dataflow.functions.yolo.layouts import Layout
from dataflow.functions.yolo.letterbox import Letterbox

Image = NDArray[np.uint8]
Found = tuple[str, float, Box]
"""Label, score, and box in pixels of the picture."""


def to_inputs(
    images: Sequence[Image], target: tuple[int, int], *, rgb: bool
) -> tuple[list[NDArray[np.float32]], list[Letterbox]]:
    """Scale, pad and turn pictures into planes of 0..1.

    Args:
        images: uint8 [h, w, 3], BGR.
        target: width and height of the input.
        rgb: whether the planes are in the order red, green, blue.

    Returns:
        Inputs, float32 [1, 3, height, width] each, and how each picture lies in its own.
    """
    letterboxes = [Letterbox.fit((image.shape[1], image.shape[0]), target) for image in images]
    inputs = [
        np.asarray(cv2.dnn.blobFromImage(box.apply(image), 1 / 255.0, swapRB=rgb), np.float32)
        for box, image in zip(letterboxes, images, strict=True)
    ]
    return inputs, letterboxes


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputReader:
    """Reads a detector's output.

    Attributes:
        layout: of the output.
        names: of the classes.
        score_threshold: least score.
        iou_threshold: for non-maximum suppression.
    """

    layout: Layout
    names: tuple[str, ...]
    score_threshold: float
    iou_threshold: float

    def read(
        self, output: NDArray[np.float32], letterbox: Letterbox, size: tuple[int, int]
    ) -> list[Found]:
        """Objects in one picture, best first.

        Args:
            output: the network's output for this picture, without the batch axis.
            letterbox: how the picture lies in the input.
            size: width and height of the picture.
        """
        candidates = layouts.suppress(
            layouts.decode(
                self.layout, output, (letterbox.width, letterbox.height), self.score_threshold
            ),
            score_threshold=self.score_threshold,
            iou_threshold=self.iou_threshold,
            # our own network gives one score to a vehicle, whatever its label
            by_class=self.layout != "builtin",
        )
        found = []
        for box, score, label in zip(
            candidates.boxes.tolist(), candidates.scores.tolist(), candidates.classes, strict=True
        ):
            placed = letterbox.to_picture(*box).clipped(*size)
            if placed.area > 0:
                found.append((self.names[label], min(score, 1.0), placed))
        return found
