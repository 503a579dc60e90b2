"""Glyph masks of free fonts, for rendering plates.

The fonts are those of Debian packages; ``FONT_PACKAGES`` lists what the shipped networks saw. Any
installed subset works: fonts that lack a character are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

FONT_PACKAGES = (
    "fonts-apropal fonts-bebas-neue fonts-cabin fonts-cantarell fonts-clear-sans fonts-dejavu-extra"
    " fonts-dosis fonts-firacode fonts-freefont-ttf fonts-hermit fonts-inconsolata fonts-jura"
    " fonts-karla fonts-lato fonts-league-mono fonts-liberation2 fonts-lobster fonts-manrope"
    " fonts-millimetre fonts-mononoki fonts-open-sans fonts-opendin fonts-play fonts-quicksand"
    " fonts-roadgeek fonts-roboto-unhinted fonts-routed-gothic"
)
"""``apt-get install --no-install-recommends`` these before training."""

PLATE_LIKE = (
    "RG2014",
    "OSP-DIN",
    "BebasNeue",
    "routed-gothic",
    "Dosis",
    "LeagueMono-Condensed",
    "LeagueMono-Narrow",
    "LiberationSansNarrow",
    "DejaVuSansCondensed",
    "FreeSans",
    "RobotoCondensed",
    "LiberationSans-Bold",
    "Millimetre",
)
"""Beginnings of file names: even strokes, narrow capitals, close to what is stamped on plates."""

_LEFT_OUT = ("italic", "oblique", "thin", "ultralight", "extralight", "emoji", "symbol", "math")
_GLYPH_HEIGHT = 72


@dataclass(frozen=True, slots=True)
class Typeface:
    """The masks of one font.

    Attributes:
        name: the font file's stem.
        plate_like: whether it resembles the lettering of plates.
        glyphs: character -> uint8 [72, width], 255 inside the strokes, cropped to the strokes.
    """

    name: str
    plate_like: bool
    glyphs: dict[str, NDArray[np.uint8]]


def _mask(font: ImageFont.FreeTypeFont, char: str) -> NDArray[np.uint8] | None:
    left, top, right, bottom = (int(v) for v in font.getbbox(char))
    if right - left < 2 or bottom - top < 8:
        return None
    page = Image.new("L", (right - left, bottom - top), 0)
    ImageDraw.Draw(page).text((-left, -top), char, font=font, fill=255)
    pixels = np.asarray(page, dtype=np.uint8)
    width = max(6, round(pixels.shape[1] * _GLYPH_HEIGHT / pixels.shape[0]))
    resized = cv2.resize(pixels, (width, _GLYPH_HEIGHT), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, dtype=np.uint8)


def _load(path: Path) -> Typeface | None:
    try:
        font = ImageFont.truetype(str(path), 96)
        masks = {char: _mask(font, char) for char in ALPHABET}
    except (OSError, ValueError):
        return None
    glyphs = {char: mask for char, mask in masks.items() if mask is not None}
    shapes = {mask.tobytes() for char, mask in glyphs.items() if char not in "0O"}
    if len(glyphs) < len(ALPHABET) or len(shapes) < len(ALPHABET) - 2:
        return None  # characters are missing, or drawn as the same empty square
    plate_like = path.stem.lower().startswith(tuple(name.lower() for name in PLATE_LIKE))
    return Typeface(name=path.stem, plate_like=plate_like, glyphs=glyphs)


def load_typefaces(folder: Path = Path("/usr/share/fonts")) -> list[Typeface]:
    """All usable upright fonts below ``folder``, sorted by path.

    Raises:
        FileNotFoundError: there is none; the message names the packages to install.
    """
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in {".ttf", ".otf"})
    wanted = [p for p in paths if not any(word in p.stem.lower() for word in _LEFT_OUT)]
    faces = [face for face in map(_load, wanted) if face is not None]
    if not faces:
        raise FileNotFoundError(
            f"no usable font below {folder}; apt-get install --no-install-recommends"
            f" {FONT_PACKAGES}"
        )
    return faces
