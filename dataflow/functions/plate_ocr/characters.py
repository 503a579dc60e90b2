"""Finds rows of characters by classic vision: strokes, connected components, grouping."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dataflow.functions.base import Box


@dataclass(frozen=True, slots=True, kw_only=True)
class TextLine:
    """A row of character-like components.

    Attributes:
        box: around all of them, in pixels of the image searched.
        members: each component, left to right.
        char_height: their median height, pixels.
        slope: rise of the row, pixels down per pixel right.
        regularity: 0..1; 1 where heights and spacing are all alike.
    """

    box: Box
    members: tuple[Box, ...]
    char_height: float
    slope: float
    regularity: float

    @property
    def count(self) -> int:
        """How many components."""
        return len(self.members)


def to_grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Uint8 [h, w] from uint8 [h, w], [h, w, 1] or [h, w, 3] BGR."""
    if image.ndim == 2:
        return image
    if image.shape[2] == 1:
        return image[:, :, 0]
    return np.asarray(cv2.cvtColor(image[:, :, :3], cv2.COLOR_BGR2GRAY), dtype=np.uint8)


def find_lines(
    grey: NDArray[np.uint8],
    *,
    min_height: float = 8,
    max_height: float = 120,
    min_characters: int = 4,
) -> list[TextLine]:
    """Rows of at least ``min_characters`` components of like height, in both polarities.

    Args:
        grey: uint8 [h, w].
        min_height: of a character, pixels.
        max_height: of a character, pixels.
        min_characters: in a row.
    """
    lines: list[TextLine] = []
    if min(grey.shape) < min_height:
        return lines
    # The window must be wider than a stroke and not much wider than a plate is high.
    for block in sorted({_odd(min_height * 1.6), _odd(min(max_height, 4 * min_height))}):
        for inverted in (True, False):
            binary = cv2.adaptiveThreshold(
                grey,
                255,
                cv2.ADAPTIVE_THRESH_MEAN_C,
                cv2.THRESH_BINARY_INV if inverted else cv2.THRESH_BINARY,
                block,
                9 if inverted else -9,
            )
            boxes = _components(np.asarray(binary, np.uint8), min_height, max_height)
            lines += _group(boxes, min_characters)
    return lines


def _odd(value: float) -> int:
    return max(3, int(value) | 1)


def _components(
    binary: NDArray[np.uint8], min_height: float, max_height: float
) -> NDArray[np.float64]:
    """Bounding boxes [n, 4] (x, y, w, h) of what could be one character."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(binary, connectivity=8)
    boxes = stats[1:].astype(np.float64)
    if not len(boxes):
        return np.empty((0, 4))
    w, h, area = boxes[:, 2], boxes[:, 3], boxes[:, 4]
    fill = area / (w * h)
    keep = (h >= min_height) & (h <= max_height) & (w >= 0.08 * h) & (w <= 1.3 * h)
    keep &= (fill > 0.15) & (fill < 0.97)
    return boxes[keep, :4]


def _group(boxes: NDArray[np.float64], min_characters: int) -> list[TextLine]:
    """Chain each component to its nearest right neighbour of like height and level."""
    n = len(boxes)
    if n < min_characters:
        return []
    boxes = boxes[np.argsort(boxes[:, 0])]
    x, y, w, h = boxes.T
    middle = y + h / 2
    parent = list(range(n))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i in range(n):
        # A gap between groups (a dash, a sticker) is at most about one and a half heights wide.
        end = int(np.searchsorted(x, x[i] + w[i] + 1.5 * h[i], side="right"))
        others = np.arange(i + 1, end)
        if not len(others):
            continue
        like = (np.abs(h[others] - h[i]) < 0.22 * h[i]) & (
            np.abs(middle[others] - middle[i]) < 0.3 * h[i] + 0.2 * (x[others] - x[i])
        )
        like &= x[others] > x[i] + 0.5 * w[i]
        for j in others[like][:2]:
            parent[root(int(j))] = root(i)
    roots = np.array([root(i) for i in range(n)])
    lines = [boxes[roots == r] for r in np.unique(roots)]
    return [_describe(part) for part in lines if min_characters <= len(part) <= 14]


def _describe(part: NDArray[np.float64]) -> TextLine:
    x, y, w, h = part.T
    left, top = float(x.min()), float(y.min())
    centres = x + w / 2
    slope = float(np.polyfit(centres, y + h / 2, 1)[0]) if float(np.ptp(centres)) > 0 else 0.0
    steps = np.diff(centres)
    heights = float(h.std() / h.mean())
    spacing = float(np.median(np.abs(steps - np.median(steps))) / max(1.0, float(np.median(steps))))
    return TextLine(
        box=Box(x=left, y=top, w=float((x + w).max()) - left, h=float((y + h).max()) - top),
        members=tuple(Box(x=a, y=b, w=c, h=d) for a, b, c, d in part.tolist()),
        char_height=float(np.median(h)),
        slope=slope,
        regularity=float(np.exp(-4 * heights - spacing)),
    )
