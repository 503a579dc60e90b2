"""Number plates: random texts and their pictures."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

WIDTH_M, HEIGHT_M = 0.52, 0.12  # the European single-line plate, a little taller than 0.11 m
_LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"  # no I, O, Q: most authorities leave them out
_DIGITS = "0123456789"
_PATTERNS = ("LLDDLLL", "LLDDDLL", "LLLDDDD", "DLLLDDD")
_GROUPS = {"LLDDLLL": (4,), "LLDDDLL": (2, 5), "LLLDDDD": (3,), "DLLLDDD": (1, 4)}


def random_text(rng: np.random.Generator) -> tuple[str, str]:
    """A plate's characters, and the same with the spaces it is printed with."""
    pattern = str(rng.choice(_PATTERNS))
    characters = [str(rng.choice(list(_LETTERS if kind == "L" else _DIGITS))) for kind in pattern]
    printed = list(characters)
    for position in reversed(_GROUPS[pattern]):
        printed.insert(position, " ")
    return "".join(characters), "".join(printed)


@lru_cache(maxsize=512)
def plate_picture(printed: str, style: int) -> tuple[NDArray[np.uint8], ...]:
    """Pictures of a plate, each half as wide as the one before, uint8 [height, width, 3], BGR.

    Args:
        printed: what stands on it, spaces included.
        style: 0 white with a blue band, 1 white, 2 yellow.
    """
    width, height = 520, 120
    background = (240, 200, 60) if style == 2 else (238, 238, 234)
    image = Image.new("RGB", (width, height), background)
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((2, 2, width - 3, height - 3), 12, outline=(25, 25, 25), width=4)
    left = 12
    if style == 0:
        draw.rectangle((6, 6, 46, height - 7), fill=(20, 60, 160))
        left = 52
    font = ImageFont.load_default(86)
    box = draw.textbbox((0, 0), printed, font=font, stroke_width=2)
    text = Image.new("L", (int(box[2] - box[0]) + 4, int(box[3] - box[1]) + 4), 0)
    ImageDraw.Draw(text).text(
        (2 - box[0], 2 - box[1]), printed, fill=255, font=font, stroke_width=2, stroke_fill=255
    )
    room = (width - left - 24, height - 34)
    scale = min(1.0 * room[0] / text.width, room[1] / text.height * 1.25)
    text = text.resize((int(text.width * scale), int(min(text.height * scale, room[1]))))
    spot = (left + (width - left - text.width) // 2 - 4, (height - text.height) // 2)
    image.paste((18, 18, 22), (*spot, spot[0] + text.width, spot[1] + text.height), text)
    level = cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2BGR)
    levels = [level]
    for _ in range(5):
        level = cv2.resize(
            level, (level.shape[1] // 2, level.shape[0] // 2), interpolation=cv2.INTER_AREA
        )
        levels.append(level)
    return tuple(np.asarray(picture, np.uint8) for picture in levels)
