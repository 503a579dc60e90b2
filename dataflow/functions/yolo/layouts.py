"""Output layouts of detectors, and how candidates are read out of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from dataflow.errors import ModelError

Floats = NDArray[np.float32]
Layout = Literal["builtin", "yolov8", "yolov5", "fastestdet"]

BUILTIN_MARK = "videojam-detector-1"
"""Value of the ONNX metadata key ``layout`` in our own networks."""

_STRIDES = (8, 16, 32)
_ANCHORS = 3  # boxes a cell in YOLOv5
_FASTEST_STRIDE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Boxes that a network proposes for one picture.

    Attributes:
        boxes: left, top, width, height in pixels of the network's input, float32 [n, 4].
        scores: 0..1, float32 [n].
        classes: class numbers, int64 [n].
    """

    boxes: Floats
    scores: Floats
    classes: NDArray[np.int64]

    def chosen(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> Candidates:
        """Some of them."""
        return Candidates(
            boxes=self.boxes[which], scores=self.scores[which], classes=self.classes[which]
        )


def recognise(shape: tuple[int, ...], size: tuple[int, int], mark: str | None) -> Layout:
    """Tell the layout from the shape of the output.

    Args:
        shape: of the output for a batch of one.
        size: width and height of the input that gave it.
        mark: the metadata value ``layout``, or None.

    Raises:
        ModelError: no known layout has this shape. The caller adds the file's name.
    """
    width, height = size
    cells = sum((width // stride) * (height // stride) for stride in _STRIDES)
    if mark == BUILTIN_MARK and len(shape) == 3 and shape[1] == cells:
        return "builtin"
    if len(shape) == 4 and shape[1] > 5:
        grid = (height // _FASTEST_STRIDE, width // _FASTEST_STRIDE)
        if shape[2:] == grid:
            return "fastestdet"
    if len(shape) == 3 and shape[2] == cells and shape[1] > 4:
        return "yolov8"
    if len(shape) == 3 and shape[1] == _ANCHORS * cells and shape[2] > 5:
        return "yolov5"
    hint = ""
    if len(shape) == 3 and shape[2] == 6:
        hint = " (it looks like an export with built-in suppression: export with nms=False)"
    raise ModelError(
        f"output of shape {list(shape)} for an input of {width}x{height} is no layout we know{hint}"
        f"\n  remedy: export it as YOLOv8/11 [1, 4+classes, {cells}], YOLOv5 "
        f"[1, {_ANCHORS * cells}, 5+classes] or FastestDet [1, 5+classes, "
        f"{height // _FASTEST_STRIDE}, {width // _FASTEST_STRIDE}], "
        "or name its layout with the parameter `layout`"
    )


def class_count(layout: Layout, shape: tuple[int, ...]) -> int:
    """Number of classes in an output of a layout.

    Raises:
        ModelError: an output of this shape cannot have this layout.
    """
    axis, fixed, rank = {
        "builtin": (2, 5, 3),
        "yolov8": (1, 4, 3),
        "yolov5": (2, 5, 3),
        "fastestdet": (1, 5, 4),
    }[layout]
    if len(shape) != rank or shape[axis] <= fixed:
        raise ModelError(
            f"output of shape {list(shape)} cannot have the layout {layout}\n"
            "  remedy: leave the parameter `layout` at auto, or export the network again"
        )
    return shape[axis] - fixed


def decode(layout: Layout, output: Floats, size: tuple[int, int], threshold: float) -> Candidates:
    """Candidates of one picture with a score of at least ``threshold``.

    Args:
        layout: of the output.
        output: the network's output for this picture, without the batch axis.
        size: width and height of the input.
        threshold: least score.
    """
    candidates = _DECODERS[layout](output, size)
    keep = (candidates.scores >= threshold) & np.isfinite(candidates.boxes).all(axis=1)
    return candidates.chosen(keep)


def suppress(
    candidates: Candidates, *, score_threshold: float, iou_threshold: float, by_class: bool
) -> Candidates:
    """Non-maximum suppression, best first.

    Args:
        candidates: of one picture.
        score_threshold: least score.
        iou_threshold: of two boxes that overlap more, only the better one stays.
        by_class: whether boxes of different classes leave each other alone.
    """
    if not len(candidates.scores):
        return candidates
    classes = candidates.classes if by_class else np.zeros_like(candidates.classes)
    kept = cv2.dnn.NMSBoxesBatched(
        candidates.boxes.tolist(),
        candidates.scores.tolist(),
        classes.astype(int).tolist(),
        score_threshold,
        iou_threshold,
    )
    order = np.asarray(kept, np.int64).reshape(-1)
    order = order[np.argsort(-candidates.scores[order], kind="stable")]
    return candidates.chosen(order)


def _from_centres(centres: Floats, scores: Floats, classes: NDArray[np.int64]) -> Candidates:
    boxes = np.concatenate([centres[:, :2] - centres[:, 2:4] / 2, centres[:, 2:4]], axis=1)
    return Candidates(
        boxes=boxes.astype(np.float32),
        scores=scores.astype(np.float32),
        classes=classes.astype(np.int64),
    )


def _builtin(output: Floats, _: tuple[int, int]) -> Candidates:
    """[cells, 5 + C]: cx, cy, w, h, score, shares of the labels."""
    return _from_centres(output, output[:, 4], output[:, 5:].argmax(axis=1))


def _yolov8(output: Floats, _: tuple[int, int]) -> Candidates:
    """[4 + C, cells]: cx, cy, w, h, class scores (Ultralytics YOLOv8, YOLO11)."""
    rows = output.T
    return _from_centres(rows, rows[:, 4:].max(axis=1), rows[:, 4:].argmax(axis=1))


def _yolov5(output: Floats, _: tuple[int, int]) -> Candidates:
    """[3 cells, 5 + C]: cx, cy, w, h, objectness, class scores given an object (YOLOv5)."""
    scores = output[:, 4] * output[:, 5:].max(axis=1)
    return _from_centres(output, scores, output[:, 5:].argmax(axis=1))


def _fastestdet(output: Floats, size: tuple[int, int]) -> Candidates:
    """[5 + C, rows, columns]: objectness, dx, dy, w, h, class scores (FastestDet).

    Objectness and class scores come activated; offsets are to pass through tanh, sizes through the
    logistic function. The score is objectness^0.6 * class^0.4, as in FastestDet's own code.
    """
    rows, columns = output.shape[1:]
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    width, height = size
    boxes = np.stack(
        [
            (x + np.tanh(output[1])) * width / columns,
            (y + np.tanh(output[2])) * height / rows,
            _logistic(output[3]) * width,
            _logistic(output[4]) * height,
        ],
        axis=-1,
    ).reshape(-1, 4)
    shares = output[5:].reshape(output.shape[0] - 5, -1)
    objectness = np.clip(output[0].reshape(-1), 0, 1)
    scores = objectness**0.6 * np.clip(shares.max(axis=0), 0, 1) ** 0.4
    return _from_centres(boxes, scores, shares.argmax(axis=0))


def _logistic(values: Floats) -> Floats:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * values)), np.float32)


_DECODERS: dict[Layout, Callable[[Floats, tuple[int, int]], Candidates]] = {
    "builtin": _builtin,
    "yolov8": _yolov8,
    "yolov5": _yolov5,
    "fastestdet": _fastestdet,
}
