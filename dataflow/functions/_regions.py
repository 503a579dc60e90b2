"""From a foreground mask to the rectangles of the things that move: pure functions on arrays."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

MERGE_OVERLAP = 0.35
"""Two rectangles are one thing when they share this part of the smaller one: a roof and the boot
below it overlap, two cars in neighbouring lanes touch at a corner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskRegion:
    """A connected region of a mask.

    Attributes:
        x: left edge, in pixels of the mask.
        y: top edge.
        w: width.
        h: height.
        pixels: foreground pixels within the rectangle.
    """

    x: int
    y: int
    w: int
    h: int
    pixels: int

    @property
    def fill(self) -> float:
        """Part of the rectangle that is foreground, in (0, 1]."""
        return min(1.0, self.pixels / (self.w * self.h))

    def union(self, other: MaskRegion) -> MaskRegion:
        """The rectangle around both; their pixels add up."""
        x, y = min(self.x, other.x), min(self.y, other.y)
        return MaskRegion(
            x=x,
            y=y,
            w=max(self.x + self.w, other.x + other.w) - x,
            h=max(self.y + self.h, other.y + other.h) - y,
            pixels=self.pixels + other.pixels,
        )

    def stacked(self, other: MaskRegion) -> bool:
        """Whether both are flat pieces of one thing, such as a bonnet and a roof.

        They lie one above the other, cover the same columns, the gap is smaller than either is
        high, at least one is flatter than a whole vehicle, and together they are not tall.
        """
        columns = min(self.x + self.w, other.x + other.w) - max(self.x, other.x)
        if columns < _STACK_COLUMNS * max(self.w, other.w):
            return False
        gap = max(self.y, other.y) - min(self.y + self.h, other.y + other.h)
        both = self.union(other)
        flat = max(self.w / self.h, other.w / other.h) > _FLAT_ASPECT
        return gap <= min(self.h, other.h) / 2 and flat and both.w >= both.h

    def shared(self, other: MaskRegion) -> float:
        """Intersection over the area of the smaller rectangle, in [0, 1]."""
        w = min(self.x + self.w, other.x + other.w) - max(self.x, other.x)
        h = min(self.y + self.h, other.y + other.h) - max(self.y, other.y)
        if w <= 0 or h <= 0:
            return 0.0
        return w * h / min(self.w * self.h, other.w * other.h)


def merge_overlapping(
    regions: Iterable[MaskRegion], *, overlap: float = MERGE_OVERLAP
) -> list[MaskRegion]:
    """Join rectangles until no two share ``overlap`` of the smaller one or are stacked pieces.

    The result does not depend on the order of the input, which is sorted first.
    """
    merged: list[MaskRegion] = []
    for region in sorted(regions, key=lambda r: (-r.pixels, r.x, r.y, r.w, r.h)):
        pending = region
        while True:
            partner = next(
                (m for m in merged if m.shared(pending) >= overlap or m.stacked(pending)), None
            )
            if partner is None:
                break
            merged.remove(partner)
            pending = pending.union(partner)
        merged.append(pending)
    return merged


_STACK_COLUMNS = 0.6
_FLAT_ASPECT = 1.8
_SPECK = 255 * 4 // 9
"""Mean of a 3 x 3 neighbourhood: at least 5 of its 9 pixels are foreground."""


def _disc(diameter: int) -> NDArray[np.uint8]:
    shape = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter))
    return np.asarray(shape, dtype=np.uint8)


def clean_mask(mask: NDArray[np.uint8], *, close_fraction: float) -> NDArray[np.uint8]:
    """Remove specks, and bridge the gaps that windows and stripes leave within one thing.

    Args:
        mask: uint8 [height, width], foreground where not 0.
        close_fraction: the widest gap to bridge, as a part of the longer side; 0 for none.

    Returns:
        uint8 [height, width], 0 or 255.
    """
    binary = np.where(mask > 0, 255, 0).astype(np.uint8)
    # Beyond the border there is nothing: without the frame of zeros the closing glues to it.
    diameter = round(max(mask.shape) * close_fraction) // 2 * 2 + 1
    edge = diameter // 2 + 1
    cleaned = cv2.copyMakeBorder(binary, edge, edge, edge, edge, cv2.BORDER_CONSTANT, value=0)
    # A pixel stays where most of its neighbourhood moves too, or at least a good part of it:
    # gentler than an opening, which would remove the thin parts before the closing joins them.
    density = cv2.boxFilter(cleaned, -1, (3, 3), borderType=cv2.BORDER_CONSTANT)
    cleaned = np.where((cleaned > 0) & (density > _SPECK), 255, 0).astype(np.uint8)
    if diameter >= 3:
        cleaned = cv2.morphologyEx(cleaned, cv2.MORPH_CLOSE, _disc(diameter))
    cleaned = cv2.morphologyEx(cleaned, cv2.MORPH_OPEN, _disc(max(3, diameter * 2 // 3 | 1)))
    return np.asarray(cleaned[edge:-edge, edge:-edge], dtype=np.uint8)


def find_regions(
    mask: NDArray[np.uint8], *, min_area_px: float, max_regions: int, close_fraction: float
) -> list[MaskRegion]:
    """Rectangles around the connected parts of a mask, largest first.

    Args:
        mask: uint8 [height, width], foreground where not 0.
        min_area_px: smallest number of foreground pixels that counts.
        max_regions: the largest so many are returned.
        close_fraction: see :func:`clean_mask`.
    """
    cleaned = clean_mask(mask, close_fraction=close_fraction)
    _, _, stats, _ = cv2.connectedComponentsWithStats(cleaned, connectivity=8)
    # A fragment well below the limit is noise; one just below it may be half of a vehicle.
    parts = (
        MaskRegion(x=int(x), y=int(y), w=int(w), h=int(h), pixels=int(area))
        for x, y, w, h, area in stats[1:]  # row 0 is the background
        if area >= min_area_px / 4
    )
    regions = [r for r in merge_overlapping(parts) if r.pixels >= min_area_px]
    regions.sort(key=lambda r: (-r.pixels, r.x, r.y))
    return regions[:max_regions]
