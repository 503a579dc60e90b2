"""Encoding and decoding of images, with the checks that keep a hostile record from hurting."""

from __future__ import annotations

import io

import cv2
import imagesize
import numpy as np
from numpy.typing import NDArray

from dataflow.errors import ImageError

MAX_PIXELS = 64_000_000
"""Largest image that is decoded, in pixels: an 8K frame has 33 million."""


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode JPEG, PNG or whatever else OpenCV reads.

    The size is read from the header first, so that a small record which claims to be a huge image
    costs nothing.

    Args:
        data: the encoded image.
        max_pixels: width x height above which the image is refused.

    Returns:
        uint8 [height, width, 3], BGR.

    Raises:
        ImageError: reason ``image-empty``, ``image-too-large`` or ``image-undecodable``.
    """
    if not data:
        raise ImageError("image-empty", "the record has no bytes")
    try:
        width, height = imagesize.get(io.BytesIO(data))
    except Exception as error:
        raise ImageError("image-undecodable", f"damaged image header ({error})") from error
    if width <= 0 or height <= 0:
        raise ImageError("image-undecodable", f"{len(data)} bytes that are not a known image")
    if width * height > max_pixels:
        raise ImageError(
            "image-too-large",
            f"{width}x{height} pixels; the limit is {max_pixels} pixels",
        )
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError("image-undecodable", str(error)) from error
    if pixels is None:
        raise ImageError("image-undecodable", f"OpenCV cannot decode these {len(data)} bytes")
    return np.asarray(pixels, dtype=np.uint8)


def encode_jpeg(pixels: NDArray[np.uint8], *, quality: int = 90) -> bytes:
    """Encode uint8 [height, width, 3] BGR (or [height, width] grey) pixels as JPEG.

    Raises:
        ImageError: reason ``image-unencodable``: wrong shape or dtype, or no pixels.
    """
    try:
        done, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    except cv2.error as error:
        raise ImageError("image-unencodable", str(error)) from error
    if not done:
        raise ImageError("image-unencodable", f"array of shape {pixels.shape} {pixels.dtype}")
    return encoded.tobytes()
