"""A pinhole camera over a flat world: X to the right, Y along the road, Z up, in metres."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

NEAR_M = 0.3  # points nearer than this are projected as if they lay here: far outside the frame
FAR_PX = 20_000.0  # pixel coordinates are limited to this, which OpenCV's rasteriser can hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinhole:
    """Where a camera stands and how it looks.

    Attributes:
        position: X, Y, Z of the optical centre in metres.
        yaw: heading in radians, 0 along +Y, positive to the right.
        pitch: radians below the horizon.
        focal_px: focal length in pixels.
        width: image width in pixels.
        height: image height in pixels.
    """

    position: tuple[float, float, float]
    yaw: float
    pitch: float
    focal_px: float
    width: int
    height: int

    @property
    def axes(self) -> NDArray[np.float64]:
        """Rows: the camera's right, down and forward directions in the world, float64 [3, 3]."""
        return _axes(self.yaw, self.pitch)

    def project(
        self, points: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Project world points.

        Args:
            points: float64 [n, 3], metres.

        Returns:
            Pixel coordinates float64 [n, 2], and depths along the optical axis float64 [n].
        """
        local = (points - self.position) @ self.axes.T
        depth = local[:, 2]
        scale = self.focal_px / np.maximum(depth, NEAR_M)
        pixels = local[:, :2] * scale[:, None]
        pixels += (self.width / 2, self.height / 2)
        np.minimum(np.maximum(pixels, -FAR_PX, out=pixels), FAR_PX, out=pixels)
        return pixels, depth

    def rays(self) -> NDArray[np.float32]:
        """Direction of each pixel's ray, float32 [height, width, 3], not normalised."""
        columns = (np.arange(self.width) + 0.5 - self.width / 2) / self.focal_px
        rows = (np.arange(self.height) + 0.5 - self.height / 2) / self.focal_px
        grid = np.ones((self.height, self.width, 3))
        grid[..., 0] = columns[None, :]
        grid[..., 1] = rows[:, None]
        return (grid @ self.axes).astype(np.float32)


@lru_cache(maxsize=64)
def _axes(yaw: float, pitch: float) -> NDArray[np.float64]:
    sin_y, cos_y = math.sin(yaw), math.cos(yaw)
    sin_p, cos_p = math.sin(pitch), math.cos(pitch)
    return np.array(
        [
            [cos_y, -sin_y, 0.0],
            [-sin_y * sin_p, -cos_y * sin_p, -cos_p],
            [sin_y * cos_p, cos_y * cos_p, -sin_p],
        ]
    )
