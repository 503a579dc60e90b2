"""Frames as they go on the wire: JPEG."""

from __future__ import annotations

import io
from dataclasses import dataclass

import cv2
import imagesize
import numpy as np
from numpy.typing import NDArray

from dataflow.camera.sources import Image
from dataflow.errors import ConfigError
from dataflow.images import decode_image, encode_jpeg

_JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameEncoder:
    """Encodes frames.

    Attributes:
        quality: JPEG quality, 1 to 100.
        max_width: wider frames are scaled down to this many pixels, keeping their shape; None
            leaves them as they are.
    """

    quality: int = 90
    max_width: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise ConfigError("must be 1 to 100", key="jpeg_quality", value=self.quality)
        if self.max_width is not None and self.max_width < 16:
            raise ConfigError("must be at least 16 pixels", key="max_width", value=self.max_width)

    def encode(self, image: Image) -> bytes:
        """JPEG of a frame. What is JPEG already, and not too wide, is passed on untouched.

        Args:
            image: uint8 [height, width, 3] BGR, uint8 [height, width] grey, or encoded.

        Raises:
            ImageError: it can be neither decoded nor encoded.
        """
        if isinstance(image, bytes):
            if image.startswith(_JPEG) and not self._too_wide(image):
                return image
            image = decode_image(image)
        return encode_jpeg(self._scale(image), quality=self.quality)

    def _too_wide(self, jpeg: bytes) -> bool:
        if self.max_width is None:
            return False
        try:
            width, _ = imagesize.get(io.BytesIO(jpeg))
        except Exception:  # noqa: BLE001 - whatever a damaged header causes, decoding names it
            return True
        return int(width) > self.max_width or width <= 0

    def _scale(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = image.shape[:2]
        if self.max_width is None or width <= self.max_width:
            return image
        size = (self.max_width, max(1, round(height * self.max_width / width)))
        # INTER_AREA averages what it merges: thin strokes of plates survive better than they do
        # with the default, which samples.
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
