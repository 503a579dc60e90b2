"""Plates drawn with OpenCV's own lettering, and scenes to hide them in."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dataflow.functions.base import Box, Detection, Item
from dataflow.images import encode_jpeg

Pixels = NDArray[np.uint8]


def plate_picture(text: str, *, height: int = 96, dark: bool = False) -> Pixels:
    """A plate of aspect 2:1 with a border and a small heading, uint8 [height, 2 height, 3]."""
    paper, ink = ((70, 30, 20), (240, 240, 240)) if dark else ((235, 240, 240), (40, 20, 20))
    big = np.full((192, 384, 3), paper, np.uint8)
    cv2.rectangle(big, (6, 6), (377, 185), ink, 3)
    cv2.putText(big, "NOWHERE", (140, 36), cv2.FONT_HERSHEY_SIMPLEX, 0.75, ink, 2, cv2.LINE_AA)
    (width, rise), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 2.6, 7)
    line = np.full((rise + 24, width + 16, 3), paper, np.uint8)
    spot = (8, rise + 10)
    cv2.putText(line, text, spot, cv2.FONT_HERSHEY_SIMPLEX, 2.6, ink, 7, cv2.LINE_AA)
    big[58:168, 22:362] = cv2.resize(line, (340, 110), interpolation=cv2.INTER_AREA)
    small = cv2.resize(big, (2 * height, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)


def car_picture(plate: Pixels | None, rng: np.random.Generator) -> tuple[Pixels, Box]:
    """The rear of a car, uint8 [400, 500, 3], and where its plate is (or would be)."""
    scene = np.full((400, 500, 3), (120, 125, 130), np.uint8)
    cv2.rectangle(scene, (40, 40), (460, 360), (90, 40, 30), -1)
    cv2.rectangle(scene, (90, 60), (410, 160), (60, 60, 55), -1)
    cv2.ellipse(scene, (85, 220), (30, 20), 0, 0, 360, (40, 40, 200), -1)
    cv2.ellipse(scene, (415, 220), (30, 20), 0, 0, 360, (40, 40, 200), -1)
    cv2.rectangle(scene, (40, 310), (460, 340), (35, 35, 35), -1)
    height, width = (96, 192) if plate is None else plate.shape[:2]
    x, y = 250 - width // 2, 240 - height // 2
    if plate is not None:
        scene[y : y + height, x : x + width] = plate
    noisy = scene + rng.normal(0, 3, scene.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), Box(x=x, y=y, w=width, h=height)


def item_of(pixels: Pixels, *detections: Detection) -> Item:
    """An item as the worker makes it."""
    data = encode_jpeg(pixels, quality=95)
    return Item(camera="test", sequence=1, captured_at=0.0, data=data, detections=detections)
