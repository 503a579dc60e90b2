"""Where in an image the plates could be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from dataflow.errors import ModelError
from dataflow.functions.base import Box
from dataflow.functions.plate_ocr.characters import TextLine, find_lines, to_grey
from dataflow.functions.plate_ocr.network import MODELS, open_network

_SECOND = 0.4
"""The second scale: with it the network's range of 20 to 110 pixels reaches to 275."""


_SUITING_WIDTH = 64.0
"""Width in pixels of a plate that the network boxes well: the middle of what it was trained on."""

_LARGEST_ZOOM = 2.0
"""Beyond it, interpolation has nothing to show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A place that may hold a plate; ``score`` in [0, 1]."""

    box: Box
    score: float


class PlateLocator(Protocol):
    """Finds candidate plates."""

    def locate(self, image: NDArray[np.uint8]) -> list[Candidate]:
        """Candidates in uint8 [h, w, 3] BGR or [h, w] grey, best first, boxes in its pixels."""
        ...


def suppress(candidates: list[Candidate], *, overlap: float = 0.3) -> list[Candidate]:
    """Best first, without those that overlap a better one (IoU above ``overlap``)."""
    kept: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: c.score, reverse=True):
        if all(candidate.box.iou(other.box) <= overlap for other in kept):
            kept.append(candidate)
    return kept


class ClassicLocator:
    """Rows of characters at several scales; no training, no network.

    Args:
        longest_side: larger images are reduced to it first, pixels.
        limit: candidates returned at most.
    """

    _LINE_SHARE = 0.50
    """Height of the serial's characters over the plate's height: 0.45 to 0.55 on 2:1 plates."""

    def __init__(self, *, longest_side: int = 1280, limit: int = 5) -> None:
        self._longest = longest_side
        self._limit = limit

    def locate(self, image: NDArray[np.uint8]) -> list[Candidate]:
        """See ``PlateLocator.locate``."""
        grey = to_grey(image)
        if min(grey.shape) < 12:
            return []
        found: list[Candidate] = []
        fit = min(1.0, self._longest / max(grey.shape))
        # Doubled, small characters come apart; halved, large ones lose their texture.
        for scale in (2 * fit, fit, fit / 2):
            if max(grey.shape) * scale > 1600 or min(grey.shape) * scale < 24:
                continue
            method = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
            sized = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=method)
            lines = find_lines(np.asarray(sized, np.uint8), min_height=12, max_height=70)
            found += [self._candidate(line, 1 / scale) for line in lines]
        height, width = grey.shape
        inside = [Candidate(box=c.box.clipped(width, height), score=c.score) for c in found]
        return suppress([c for c in inside if c.box.area > 0])[: self._limit]

    def _candidate(self, line: TextLine, scale: float) -> Candidate:
        w = line.box.w + 1.0 * line.char_height
        h = line.box.h - line.char_height + line.char_height / self._LINE_SHARE
        x = line.box.x + line.box.w / 2 - w / 2
        y = line.box.y + line.box.h / 2 - h / 2
        # Plates carry five to eight characters; text on a sign or a grille rarely is that even.
        count = min(1.0, 0.4 + 0.15 * (line.count - 3)) if line.count <= 8 else 0.5
        slanted = max(0.0, 1 - 2 * abs(line.slope))
        box = Box(x=x * scale, y=y * scale, w=w * scale, h=h * scale)
        return Candidate(box=box, score=float(line.regularity * count * slanted))


class NetworkLocator:
    """The small heatmap network of ``evaluation/training/plate_finder_training.py``.

    Args:
        longest_side: larger images are reduced to it first, pixels; plates should come out 20 to
            110 pixels wide. A second, smaller scale is searched for those that fill the image.
        limit: candidates returned at most.
        min_score: of a heatmap peak.
        threads: intra-op threads of the ONNX Runtime session.
        model: the network; by default the one that is shipped.

    Raises:
        ModelError: the file is missing or not such a network.
    """

    _STRIDE = 8
    _MULTIPLE = 16

    def __init__(
        self,
        *,
        longest_side: int = 640,
        limit: int = 5,
        min_score: float = 0.1,
        threads: int = 1,
        model: Path | None = None,
    ) -> None:
        self._path = model or MODELS / "plate_finder.onnx"
        self._network = open_network(self._path, threads=threads)
        self._longest = longest_side
        self._limit = limit
        self._min_score = min_score

    def locate(self, image: NDArray[np.uint8]) -> list[Candidate]:
        """See ``PlateLocator.locate``."""
        height, width = image.shape[:2]
        if min(height, width) < 12:
            return []
        colour = image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        full = min(1.0, self._longest / max(height, width))  # enlarging would add no detail
        found = self._at(np.asarray(colour, np.uint8), full)
        if max(height, width) * full * _SECOND >= 64:
            found += self._at(np.asarray(colour, np.uint8), full * _SECOND)
        likely = suppress(found)[: self._limit]
        refined = [self._closer(np.asarray(colour, np.uint8), c) for c in likely]
        inside = [Candidate(box=c.box.clipped(width, height), score=c.score) for c in refined]
        return suppress([c for c in inside if c.box.area > 0])

    def _closer(self, image: NDArray[np.uint8], candidate: Candidate) -> Candidate:
        """The candidate after a second look at it alone, at the size that suits the network.

        A small plate's box is only known to a fraction of a cell, too coarsely to be read from.
        """
        box = candidate.box
        x, y, w, h = box.x, box.y, max(box.w, 4.0), max(box.h, 2.0)
        around = Box(x=x - w, y=y - 1.5 * h, w=3 * w, h=4 * h).clipped(
            image.shape[1], image.shape[0]
        )
        left, top = int(around.x), int(around.y)
        part = image[top : int(around.y + around.h) + 1, left : int(around.x + around.w) + 1]
        if min(part.shape[:2]) < 4:
            return candidate
        seen = [
            Candidate(box=c.box.shifted(left, top), score=c.score)
            for c in self._at(part, min(_LARGEST_ZOOM, _SUITING_WIDTH / w))
        ]
        same = [c for c in seen if c.box.iou(box) > 0.2]
        best = max(same, key=lambda c: c.score, default=None)
        if best is None:
            return Candidate(box=box, score=candidate.score / 2)
        return Candidate(box=best.box, score=(candidate.score + best.score) / 2)

    def _at(self, image: NDArray[np.uint8], scale: float) -> list[Candidate]:
        columns = max(8, round(image.shape[1] * scale))
        rows = max(8, round(image.shape[0] * scale))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        sized = cv2.resize(image, (columns, rows), interpolation=method)
        below, right = -rows % self._MULTIPLE, -columns % self._MULTIPLE
        below += 16 if rows + below < 32 else 0
        right += 16 if columns + right < 32 else 0
        padded = cv2.copyMakeBorder(sized, 0, below, 0, right, cv2.BORDER_REPLICATE)
        tensor = np.ascontiguousarray(padded.transpose(2, 0, 1)[None], dtype=np.float32)
        cells = self._network(tensor)
        if cells.ndim != 4 or cells.shape[1] != 5:
            raise ModelError(f"{self._path}: expected output [N, 5, h, w], got {cells.shape}")
        return self._decode(cells[0], scale)

    def _decode(self, cells: NDArray[np.float32], scale: float) -> list[Candidate]:
        """Peaks of the heatmap with their boxes, in pixels of the unscaled image."""
        heat = 1 / (1 + np.exp(-np.clip(cells[0], -30, 30)))
        highest = cv2.dilate(heat, np.ones((3, 3), np.uint8))
        rows, columns = np.nonzero((heat >= highest) & (heat >= self._min_score))
        found: list[Candidate] = []
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            dx, dy, log_w, log_h = (float(v) for v in cells[1:, row, column])
            unit = self._STRIDE / scale
            w, h = np.exp(min(log_w, 5.0)) * unit, np.exp(min(log_h, 5.0)) * unit
            x, y = (column + 0.5 + dx) * unit - w / 2, (row + 0.5 + dy) * unit - h / 2
            box = Box(x=float(x), y=float(y), w=float(w), h=float(h))
            found.append(Candidate(box=box, score=float(heat[row, column])))
        return found
