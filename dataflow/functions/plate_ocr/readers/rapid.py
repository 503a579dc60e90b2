"""Reads plates with RapidOCR: PaddleOCR's networks on ONNX Runtime, shipped inside its wheel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dataflow.errors import MissingDependencyError
from dataflow.functions.plate_ocr.readers.base import clean


class RapidReader:
    """RapidOCR's text detector and recogniser on an enlarged crop.

    Args:
        threads: intra-op threads of each ONNX Runtime session.

    Raises:
        MissingDependencyError: the package ``rapidocr`` is not installed.
    """

    name = "rapidocr"

    def __init__(self, *, threads: int = 1) -> None:
        try:
            from rapidocr import RapidOCR  # noqa: PLC0415 - an optional package, of the extra
        except ImportError as error:
            raise MissingDependencyError(
                "the rapidocr reader needs a package that is not installed\n"
                "  remedy: pip install 'videojam[rapidocr]' (or choose another reader)"
            ) from error
        self._engine: Any = RapidOCR(
            params={
                "Global.log_level": "error",
                "Global.use_cls": False,
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
                "Det.limit_side_len": 320,
                "Det.limit_type": "max",
            }
        )

    def read(self, images: Sequence[NDArray[np.uint8]]) -> list[tuple[str, float]]:
        """See ``PlateReader.read``."""
        return [self._read_one(image) for image in images]

    def _read_one(self, image: NDArray[np.uint8]) -> tuple[str, float]:
        if min(image.shape[:2]) < 6:
            return "", 0.0
        colour = image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        scale = min(8.0, 130 / colour.shape[0])
        big = cv2.resize(colour, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        found = self._engine(big, use_det=True, use_cls=False, use_rec=True)
        if found is None or found.txts is None or found.boxes is None:
            return "", 0.0
        return _serial(np.asarray(found.boxes, np.float64), found.txts, found.scores)


def _serial(
    boxes: NDArray[np.float64], texts: Sequence[str], scores: Sequence[float]
) -> tuple[str, float]:
    """Joins the pieces of the tallest row, left to right.

    Args:
        boxes: [n, 4, 2] corners.
        texts: n texts.
        scores: n confidences.
    """
    pieces = [
        (float(box[:, 0].min()), float(box[:, 1].mean()), _height(box), clean(text), float(score))
        for box, text, score in zip(boxes, texts, scores, strict=True)
        if clean(text)
    ]
    if not pieces:
        return "", 0.0
    tallest = max(pieces, key=lambda piece: piece[2] * len(piece[3]) ** 0.5)
    row = sorted(
        piece
        for piece in pieces
        if abs(piece[1] - tallest[1]) < 0.4 * tallest[2] and piece[2] > 0.6 * tallest[2]
    )
    letters = sum(len(piece[3]) for piece in row)
    confidence = sum(piece[4] * len(piece[3]) for piece in row) / letters
    return "".join(piece[3] for piece in row), confidence


def _height(corners: NDArray[np.float64]) -> float:
    """Mean length of a quadrilateral's left and right side."""
    left, right = corners[3] - corners[0], corners[2] - corners[1]
    return float(np.linalg.norm(left) + np.linalg.norm(right)) / 2
