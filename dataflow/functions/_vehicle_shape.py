"""What a crop of a moving region shows: pure functions that tell vehicles by shape and structure.

No network and no background picture: the rim of the crop, which the margin around the region
leaves free, says what the road looks like, and what differs from it is the thing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

ANALYSIS_SIDE = 96
"""Longest side, in pixels, of the picture that is analysed: enough for windows and wheels."""

_RIM_PARTS = 3
_MIN_COLOUR_DISTANCE = 10.0
_ODD_SIDE_DISTANCE = 25.0
_EDGE = 16
_ORIENTATIONS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One thing in a crop, as the analysis sees it.

    Attributes:
        x: left edge, in pixels of the crop.
        y: top edge.
        w: width.
        h: height.
        fill: part of the rectangle that differs from the road, in [0, 1].
        contrast: how much it differs: mean colour distance in CIE Lab, 0 to about 150.
        edge_density: part of the rectangle's pixels that lie on an edge, in [0, 1].
        structure: part of the edges' strength in the strongest direction and the one at right
            angles to it: 0.25 for foliage and noise, 0.4 and more for made things.
    """

    x: float
    y: float
    w: float
    h: float
    fill: float
    contrast: float
    edge_density: float
    structure: float

    @property
    def aspect(self) -> float:
        """Width over height."""
        return self.w / self.h


def _rim_palette(lab: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colours of the rim, float32 [n, 3]: the median of each third of each side.

    A side whose colours are far from those of all others is left out, for there the thing is cut
    by the edge of the frame; but at least two sides stay.
    """
    height, width = lab.shape[:2]
    depth = max(1, round(min(height, width) * 0.04))
    sides = [
        lab[:depth],
        lab[-depth:],
        lab[:, :depth].swapaxes(0, 1),
        lab[:, -depth:].swapaxes(0, 1),
    ]
    palettes = [
        np.array(
            [
                np.median(part.reshape(-1, 3), axis=0)
                for part in np.array_split(side, _RIM_PARTS, axis=1)
            ]
        )
        for side in sides
    ]
    oddness = []
    for index, palette in enumerate(palettes):
        others = np.concatenate([p for i, p in enumerate(palettes) if i != index])
        distances = np.linalg.norm(palette[:, None] - others[None], axis=2).min(axis=1)
        oddness.append(float(np.median(distances)))
    order = sorted(range(4), key=oddness.__getitem__)
    kept = [i for rank, i in enumerate(order) if rank < 2 or oddness[i] < _ODD_SIDE_DISTANCE]
    return np.concatenate([palettes[i] for i in kept]).astype(np.float32)


def _shrunk(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The crop at the resolution of the analysis; never enlarged."""
    height, width = crop.shape[:2]
    scale = min(1.0, ANALYSIS_SIDE / max(height, width))
    size = (max(4, round(width * scale)), max(4, round(height * scale)))
    return np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _colour_distance(crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Distance of each pixel from the nearest colour of the rim, CIE Lab units."""
    lab = np.asarray(
        cv2.cvtColor(crop.astype(np.float32) / 255, cv2.COLOR_BGR2LAB), dtype=np.float32
    )
    palette = _rim_palette(lab)
    pixels = lab.reshape(-1, 3)
    # |a - b|^2 = |a|^2 - 2 a b + |b|^2, so that all pixels meet all colours in one product.
    squared = (
        (pixels**2).sum(axis=1)[:, None] - 2 * pixels @ palette.T + (palette**2).sum(axis=1)[None]
    )
    nearest = np.sqrt(np.maximum(squared.min(axis=1), 0))
    return np.asarray(nearest.reshape(lab.shape[:2]), dtype=np.float32)


def _foreground(distance: NDArray[np.float32], strength: NDArray[np.float32]) -> NDArray[np.bool_]:
    """What differs from the rim by its colour, or is full of edges as lamps and windows are."""
    levels = np.clip(distance, 0, 255).astype(np.uint8)
    otsu, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    # Otsu splits a two-coloured vehicle in two when the road is a small part of the crop.
    threshold = max(_MIN_COLOUR_DISTANCE, min(float(otsu), 2 * _MIN_COLOUR_DISTANCE))
    mask = np.where((distance > threshold) | (strength > 2 * _EDGE), 255, 0).astype(np.uint8)
    size = max(3, max(mask.shape) // 16 | 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel), dtype=np.uint8)
    return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, _cross()), dtype=np.uint8) > 0


def _cross() -> NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)), dtype=np.uint8)


def _extent(profile: NDArray[np.float64], *, share: float, max_trim: float) -> tuple[int, int]:
    """First and one past the last place where the profile exceeds a share of its maximum."""
    limit = int(len(profile) * max_trim)
    inside = np.flatnonzero(profile > share * profile.max()) if profile.max() > 0 else np.array([])
    if not inside.size:
        return 0, len(profile)
    return min(int(inside[0]), limit), max(int(inside[-1]) + 1, len(profile) - limit)


def _gradients(crop: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Strength (grey levels a pixel) and direction (radians, modulo pi) of the edges."""
    grey = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
    along_x = cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=0.25)
    along_y = cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=0.25)
    strength = np.hypot(along_x, along_y).astype(np.float32)
    return strength, np.mod(np.arctan2(along_y, along_x), np.pi).astype(np.float32)


def _structure(strength: NDArray[np.float32], direction: NDArray[np.float32]) -> float:
    """See :class:`Shape`; bins of 22.5 degrees, centred on the picture's axes."""
    bins = np.rint(direction * (_ORIENTATIONS / np.pi)).astype(np.intp) % _ORIENTATIONS
    weights = np.where(strength > _EDGE / 2, strength, 0)
    histogram = np.bincount(bins.ravel(), weights=weights.ravel(), minlength=_ORIENTATIONS)
    total = float(histogram.sum())
    if total <= 0:
        return 0.0
    half = _ORIENTATIONS // 2
    return float((histogram[:half] + histogram[half:]).max()) / total


def analyse_crop(crop: NDArray[np.uint8], *, max_trim: float) -> Shape:
    """Find the one thing that a crop shows.

    Args:
        crop: uint8 [height, width, 3] BGR, at least 4 pixels each way.
        max_trim: the most that is cut off on each side, as a part of that side; in [0, 0.5).
    """
    height, width = crop.shape[:2]
    small = _shrunk(crop)
    distance = _colour_distance(small)
    strength, direction = _gradients(small)
    mask = _foreground(distance, strength)
    left, right = _extent(mask.mean(axis=0), share=0.2, max_trim=max_trim)
    top, bottom = _extent(mask.mean(axis=1), share=0.2, max_trim=max_trim)
    inside = (slice(top, bottom), slice(left, right))
    scale_x, scale_y = width / small.shape[1], height / small.shape[0]
    return Shape(
        x=left * scale_x,
        y=top * scale_y,
        w=(right - left) * scale_x,
        h=(bottom - top) * scale_y,
        fill=float(mask[inside].mean()),
        contrast=float(distance[inside].mean()),
        edge_density=float((strength[inside] > _EDGE).mean()),
        structure=_structure(strength[inside], direction[inside]),
    )


def split_column(crop: NDArray[np.uint8], *, max_valley: float) -> int | None:
    """Where two vehicles side by side touch: the column of a deep valley between two bodies.

    Args:
        crop: uint8 [height, width, 3] BGR.
        max_valley: height of the valley, as a part of the lower of the two bodies.

    Returns:
        The column, in pixels of the crop, or None when the crop shows one thing.
    """
    width = crop.shape[1]
    small = _shrunk(crop)
    mask = _foreground(_colour_distance(small), _gradients(small)[0])
    profile = np.convolve(mask.mean(axis=0), np.ones(3) / 3, mode="same")
    start, stop = len(profile) // 4, len(profile) - len(profile) // 4
    valley = start + int(np.argmin(profile[start:stop]))
    bodies = min(float(profile[:valley].max()), float(profile[valley + 1 :].max()))
    if bodies <= 0.3 or profile[valley] > max_valley * bodies:
        return None
    column = round((valley + 0.5) * width / small.shape[1])
    return int(min(width - 1, max(1, column)))


def shifted(shape: Shape, dx: float, dy: float) -> Shape:
    """The same shape seen from an origin that lies (-dx, -dy) away."""
    return replace(shape, x=shape.x + dx, y=shape.y + dy)
