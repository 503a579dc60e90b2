"""Small rendered scenes: a road, cars, people and leaves, as items of a camera."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dataflow.functions.base import Box, Item
from dataflow.images import encode_jpeg

Picture = NDArray[np.uint8]


def road(rng: np.random.Generator, *, width: int = 480, height: int = 270) -> Picture:
    """Grey asphalt with slow mottle, grain and a lane marking."""
    mottle = cv2.resize(rng.normal(0, 5, (6, 10)), (width, height), interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(0, 2, (height, width))
    picture = np.clip(110 + mottle + grain, 0, 255).astype(np.uint8)
    picture[height // 3 : height // 3 + 3, :: max(1, width // 200)] = 200
    return np.repeat(picture[..., None], 3, axis=2)


def add_car(
    picture: Picture, *, x: int, y: int, w: int = 80, h: int = 56, colour: tuple[int, int, int]
) -> Box:
    """Draw the back of a car: body, window, lamps, plate and wheels; parts outside are cut off."""
    body = tuple(int(c) for c in colour)
    cv2.rectangle(picture, (x, y + h // 3), (x + w - 1, y + h - h // 8), body, -1)
    cv2.rectangle(picture, (x + w // 8, y), (x + w - w // 8, y + h // 3), body, -1)
    glass = (60, 45, 40)
    cv2.rectangle(picture, (x + w // 5, y + h // 12), (x + w - w // 5, y + h // 3 - 2), glass, -1)
    for lamp_x in (x + 2, x + w - w // 8):
        cv2.rectangle(
            picture, (lamp_x, y + h // 2), (lamp_x + w // 9, y + h // 2 + h // 8), (20, 20, 200), -1
        )
    cv2.rectangle(
        picture,
        (x + w // 3, y + 5 * h // 8),
        (x + 2 * w // 3, y + 6 * h // 8),
        (230, 230, 230),
        -1,
    )
    for wheel_x in (x + w // 10, x + w - w // 4):
        cv2.rectangle(
            picture, (wheel_x, y + h - h // 8), (wheel_x + w // 6, y + h - 1), (15, 15, 15), -1
        )
    return Box(x=x, y=y, w=w, h=h)


def item(picture: Picture, sequence: int, *, camera: str = "cam", rate: float = 10.0) -> Item:
    """A frame as a camera would send it."""
    return Item(
        camera=camera,
        sequence=sequence,
        captured_at=sequence / rate,
        data=encode_jpeg(picture, quality=95),
    )


def grainy(rng: np.random.Generator, picture: Picture) -> Picture:
    """The picture with a camera's noise of one frame."""
    noise = rng.normal(0, 1.5, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def empty_frames(
    rng: np.random.Generator, background: Picture, *, count: int, start: int = 0
) -> Iterator[Item]:
    """Frames in which nothing moves."""
    for sequence in range(start, start + count):
        yield item(grainy(rng, background), sequence)


def need(path: Path) -> Path:
    """The path, or a loud skip where the real data is not there."""
    if not path.exists():
        pytest.skip(f"REAL DATA ABSENT: {path} (set VIDEOJAM_SHARED_DATA to its folder)")
    return path
