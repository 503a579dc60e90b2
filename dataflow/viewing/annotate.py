"""Drawing results on frames."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from dataflow.images import decode_image
from dataflow.results import ResultBox
from dataflow.viewing.join import JoinedFrame

Image = NDArray[np.uint8]

_VEHICLE = (80, 220, 60)
_PLATE = (0, 220, 255)
_INK = (20, 20, 20)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def annotate(joined: JoinedFrame) -> Image:
    """The frame's picture with its vehicles and plates drawn on it.

    Args:
        joined: with a picture.

    Returns:
        uint8 [height, width, 3], BGR.

    Raises:
        ImageError: there is no picture, or it cannot be decoded.
    """
    image = decode_image(joined.picture or b"").copy()
    # Lines and letters that are as large on a 320 pixels wide picture as on a 4K one.
    unit = max(0.4, image.shape[1] / 1280)
    for vehicle in joined.vehicles:
        _frame(image, vehicle.box, _VEHICLE, unit)
        _tag(
            image, vehicle.box, f"{vehicle.label or 'vehicle'} {vehicle.score:.2f}", _VEHICLE, unit
        )
    for plate in joined.plates:
        _frame(image, plate.box, _PLATE, unit)
        _tag(image, plate.box, f"{plate.text} {plate.confidence:.2f}", _PLATE, unit, below=True)
    caption = (
        f"{joined.frame.camera} #{joined.frame.sequence}  {joined.pipeline}  "
        f"{joined.response_seconds * 1000:.0f} ms"
    )
    _text(image, caption, (int(8 * unit), int(24 * unit)), (255, 255, 255), unit)
    return image


def contact_sheet(images: Sequence[Image], *, columns: int = 4, width: int = 480) -> Image:
    """Pictures side by side, scaled to ``width`` pixels each and padded to a grid.

    Raises:
        ValueError: no pictures.
    """
    if not images:
        raise ValueError("a contact sheet needs at least one picture")
    heights = [round(image.shape[0] * width / image.shape[1]) for image in images]
    height = max(heights)
    rows = math.ceil(len(images) / columns)
    sheet = np.full((rows * height, columns * width, 3), 24, np.uint8)
    for index, (image, own) in enumerate(zip(images, heights, strict=True)):
        top, left = (index // columns) * height, (index % columns) * width
        small = cv2.resize(image, (width, own), interpolation=cv2.INTER_AREA)
        sheet[top : top + own, left : left + width] = small
    return sheet


def _frame(image: Image, box: ResultBox, colour: tuple[int, int, int], unit: float) -> None:
    start = (round(box.x), round(box.y))
    end = (round(box.x + box.w), round(box.y + box.h))
    cv2.rectangle(image, start, end, colour, max(1, round(2 * unit)), cv2.LINE_AA)


def _tag(
    image: Image,
    box: ResultBox,
    text: str,
    colour: tuple[int, int, int],
    unit: float,
    *,
    below: bool = False,
) -> None:
    scale, thick = 0.6 * unit, max(1, round(1.5 * unit))
    (width, height), base = cv2.getTextSize(text, _FONT, scale, thick)
    tall = height + base + 2
    x = min(max(0, round(box.x)), max(0, image.shape[1] - width))
    y = round(box.y + box.h) if below else round(box.y) - tall
    y = min(max(0, y), max(0, image.shape[0] - tall))
    cv2.rectangle(image, (x, y), (x + width, y + tall), colour, cv2.FILLED)
    cv2.putText(image, text, (x, y + height + 1), _FONT, scale, _INK, thick, cv2.LINE_AA)


def _text(
    image: Image, text: str, at: tuple[int, int], colour: tuple[int, int, int], unit: float
) -> None:
    for ink, thick in ((_INK, 4), (colour, 1.5)):
        cv2.putText(
            image, text, at, _FONT, 0.65 * unit, ink, max(1, round(thick * unit)), cv2.LINE_AA
        )
