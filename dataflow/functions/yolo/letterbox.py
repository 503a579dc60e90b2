"""Fitting a picture of any shape into the network's input, and boxes back out of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dataflow.functions.base import Box

STRIDE = 32
"""Input sides are multiples of this: the coarsest level of the usual detectors."""

_GREY = 114  # the padding that Ultralytics' networks, and ours, were trained with


@dataclass(frozen=True, slots=True, kw_only=True)
class Letterbox:
    """How a picture lies in the network's input.

    Attributes:
        scale: input pixels for each pixel of the picture, the same in both directions.
        left: columns of padding on the left.
        top: rows of padding above.
        width: of the input.
        height: of the input.
    """

    scale: float
    left: int
    top: int
    width: int
    height: int

    @classmethod
    def fit(cls, picture: tuple[int, int], target: tuple[int, int]) -> Letterbox:
        """Centre a picture in an input, as large as possible.

        Args:
            picture: width and height in pixels.
            target: width and height of the input.
        """
        scale = min(target[0] / picture[0], target[1] / picture[1])
        used = [max(1, round(side * scale)) for side in picture]
        return cls(
            scale=scale,
            left=(target[0] - used[0]) // 2,
            top=(target[1] - used[1]) // 2,
            width=target[0],
            height=target[1],
        )

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Scale and pad.

        Args:
            image: uint8 [h, w, 3].

        Returns:
            uint8 [height, width, 3].
        """
        height, width = image.shape[:2]
        size = (max(1, round(width * self.scale)), max(1, round(height * self.scale)))
        method = cv2.INTER_AREA if self.scale < 0.5 else cv2.INTER_LINEAR
        canvas = np.full((self.height, self.width, 3), _GREY, np.uint8)
        resized = (
            image if size == (width, height) else cv2.resize(image, size, interpolation=method)
        )
        canvas[self.top : self.top + size[1], self.left : self.left + size[0]] = resized
        return canvas

    def to_picture(self, left: float, top: float, width: float, height: float) -> Box:
        """A rectangle of the input, in pixels of the picture."""
        return Box(
            x=(left - self.left) / self.scale,
            y=(top - self.top) / self.scale,
            w=width / self.scale,
            h=height / self.scale,
        )

    def to_input(self, box: Box) -> Box:
        """A rectangle of the picture, in pixels of the input."""
        scaled = Box(
            x=box.x * self.scale, y=box.y * self.scale, w=box.w * self.scale, h=box.h * self.scale
        )
        return scaled.shifted(self.left, self.top)


def rectangle_for(pictures: list[tuple[int, int]], side: int) -> tuple[int, int]:
    """The smallest input that holds all pictures with their longer side scaled to ``side``.

    Args:
        pictures: widths and heights.
        side: the longer side of the input, a multiple of 32.

    Returns:
        Width and height, multiples of 32.
    """
    scaled = [(w * side / max(w, h), h * side / max(w, h)) for w, h in pictures]
    width, height = (
        max(STRIDE, math.ceil(round(max(sides), 3) / STRIDE) * STRIDE)
        for sides in zip(*scaled, strict=True)
    )
    return width, height
