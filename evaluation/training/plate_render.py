"""Renders number plates with known text: the training material of the plate networks.

Nothing here is copied from a photograph of a plate. Layouts, colours, lettering, wear and camera
are drawn at random, far wider than any one issuer's plates, so that a network cannot learn one.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.training.plate_glyphs import Typeface
from evaluation.training.plate_text import (
    LETTERS,
    random_digits,
    random_groups,
    random_letters,
    random_words,
)

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Plate:
    """A rendered plate.

    Attributes:
        pixels: uint8 [height, width, 3], BGR.
        mask: float32 [height, width], 1 inside its (rounded) outline.
        text: what it says, A-Z0-9.
    """

    pixels: Pixels
    mask: Floats
    text: str


def _colour(rng: np.random.Generator, low: float, high: float, spread: float) -> Floats:
    base = rng.uniform(low, high)
    return np.clip(base + rng.uniform(-spread, spread, 3), 0, 255).astype(np.float32)


def _unit(mask: NDArray[Any]) -> Floats:
    """0..255 as float32 0..1."""
    return np.asarray(mask, np.float32) / np.float32(255)


def _blend(canvas: Floats, mask: Floats, colour: Floats, x: int, y: int) -> None:
    """Paint ``colour`` [3] through ``mask`` (0..1) with its corner at x, y; clipped."""
    height, width = canvas.shape[:2]
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + mask.shape[1], width), min(y + mask.shape[0], height)
    if x1 <= x0 or y1 <= y0:
        return
    part = mask[y0 - y : y1 - y, x0 - x : x1 - x, None]
    view = canvas[y0:y1, x0:x1]
    view += part * (colour - view)


def line_mask(
    rng: np.random.Generator, face: Typeface, text: str, height: int, squeeze: float
) -> Floats:
    """One line of text as a mask, float32 [height, width]; characters outside A-Z0-9 are gaps."""
    gap = max(1, round(height * rng.uniform(0.06, 0.25)))
    parts: list[Floats] = []
    for char in text:
        glyph = face.glyphs.get(char)
        if glyph is None:
            parts.append(np.zeros((height, max(1, height // 3)), np.float32))
            continue
        width = max(2, round(glyph.shape[1] * height / glyph.shape[0] * squeeze))
        small = cv2.resize(glyph, (width, height), interpolation=cv2.INTER_AREA)
        parts += [_unit(small), np.zeros((height, gap), np.float32)]
    return np.hstack(parts)


def _rounded(height: int, width: int, radius: int) -> Floats:
    mask = np.zeros((height, width), np.uint8)
    r = max(1, min(radius, height // 2 - 1, width // 2 - 1))
    cv2.rectangle(mask, (r, 0), (width - 1 - r, height - 1), 255, -1)
    cv2.rectangle(mask, (0, r), (width - 1, height - 1 - r), 255, -1)
    for cx in (r, width - 1 - r):
        for cy in (r, height - 1 - r):
            cv2.circle(mask, (cx, cy), r, 255, -1)
    return _unit(mask)


class PlateRenderer:
    """Draws plates, one random stream per renderer."""

    def __init__(self, faces: list[Typeface], rng: np.random.Generator) -> None:
        self._rng = rng
        self._faces = faces
        self._plate_like = [f for f in faces if f.plate_like] or faces

    def any_face(self) -> Typeface:
        """A random font of any kind, for distracting text."""
        return self._faces[int(self._rng.integers(len(self._faces)))]

    def _face(self) -> Typeface:
        pool = self._plate_like if self._rng.random() < 0.8 else self._faces
        return pool[int(self._rng.integers(len(pool)))]

    def words(self) -> str:
        """One to three words of the kind that surrounds a serial."""
        return random_words(self._rng)

    def plate(self, height: int = 128) -> Plate:
        """Draw one plate of ``height`` pixels; aspect 1.7 to 2.3, in a fifth of them up to 4.8."""
        rng = self._rng
        wide = rng.random() < 0.18
        aspect = rng.uniform(2.6, 4.8) if wide else rng.uniform(1.75, 2.25)
        width = round(height * aspect)
        canvas, dark = self._base(height, width)
        # Where the serial goes; what is left above and below takes the small print.
        if wide:
            text_height = height * rng.uniform(0.6, 0.82)
            centre = height * rng.uniform(0.46, 0.54)
        else:
            text_height = height * rng.uniform(0.40, 0.62)
            centre = height * rng.uniform(0.47, 0.60)
        top, bottom = round(centre - text_height / 2), round(centre + text_height / 2)
        ink = _colour(rng, 190, 255, 30) if dark else self._ink()
        paper = canvas[top:bottom].mean(axis=(0, 1))
        if abs(float(ink.mean() - paper.mean())) < 70:  # plates are made to be read
            ink = _colour(rng, 5, 50, 10) if paper.mean() > 110 else _colour(rng, 220, 255, 10)
        band = self._band(canvas) if wide and rng.random() < 0.4 else 0
        if not wide:
            self._small_print(canvas, top, bottom, ink, dark=dark)
        groups = random_groups(rng)
        self._serial(canvas[:, band:], groups, top, bottom, ink, dark=dark)
        self._fittings(canvas, wide=wide)
        if rng.random() < 0.45:
            self._frame(canvas, text_top=top, text_bottom=bottom)
        mask = _rounded(height, width, int(height * rng.uniform(0.01, 0.12)))
        pixels = np.clip(canvas, 0, 255).astype(np.uint8)
        return Plate(pixels=pixels, mask=mask, text="".join(groups))

    def _ink(self) -> Floats:
        rng = self._rng
        if rng.random() < 0.4:
            return _colour(rng, 10, 60, 15)
        ink = rng.uniform(10, 90, 3).astype(np.float32)
        ink[int(rng.integers(3))] += rng.uniform(20, 110)
        return ink

    def _base(self, height: int, width: int) -> tuple[Floats, bool]:
        rng = self._rng
        dark = bool(rng.random() < 0.13)
        first = _colour(rng, 20, 110, 60) if dark else _colour(rng, 170, 255, 35)
        canvas = np.empty((height, width, 3), np.float32)
        canvas[:] = first
        if rng.random() < 0.45:  # a gradient, down or across
            second = first + _colour(rng, 0, 40, 40) - 45
            ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
            ramp = np.clip((ramp - rng.uniform(0, 0.6)) * rng.uniform(1, 3), 0, 1)
            canvas += ramp * (second - first)
        if rng.random() < 0.35:  # a faint picture: hills, blobs
            layer = np.zeros((height, width), np.uint8)
            for _ in range(int(rng.integers(1, 5))):
                centre = (int(rng.integers(width)), int(rng.integers(height)))
                axes = (int(rng.integers(5, width // 3)), int(rng.integers(5, height // 2)))
                cv2.ellipse(layer, centre, axes, float(rng.uniform(0, 180)), 0, 360, 255, -1)
            strength = np.float32(rng.uniform(0.1, 0.5) / 255)
            blurred = cv2.blur(layer, (5, 5)).astype(np.float32) * strength
            _blend(canvas, blurred, _colour(rng, 60, 200, 60), 0, 0)
        if rng.random() < 0.2:  # coloured bands at top and bottom
            band = _colour(rng, 40, 180, 90)
            rows = int(height * rng.uniform(0.08, 0.22))
            canvas[:rows] = band
            if rng.random() < 0.5:
                canvas[-rows:] = band
        if rng.random() < 0.4:  # a printed border line
            inset = int(rng.integers(2, 7))
            colour = _colour(rng, 20, 160, 60).tolist()
            corner = (width - 1 - inset, height - 1 - inset)
            cv2.rectangle(canvas, (inset, inset), corner, colour, int(rng.integers(1, 4)))
        return canvas, dark

    def _band(self, canvas: Floats) -> int:
        """The coloured strip at the left end of many long plates; returns its width."""
        rng = self._rng
        height = canvas.shape[0]
        width = int(height * rng.uniform(0.2, 0.42))
        canvas[:, :width] = _colour(rng, 20, 140, 20) + np.array([rng.uniform(0, 110), 0, 0])
        if rng.random() < 0.7:
            size = max(6, int(height * rng.uniform(0.15, 0.3)))
            text = "".join(rng.choice(list(LETTERS), size=int(rng.integers(1, 3))))
            mask = line_mask(rng, self.any_face(), text, size, 0.7)[:, : width - 2]
            _blend(canvas, mask, _colour(rng, 200, 255, 10), 2, int(height * 0.9) - size)
        return width

    def _small_print(
        self, canvas: Floats, top: int, bottom: int, ink: Floats, *, dark: bool
    ) -> None:
        rng = self._rng
        height, width = canvas.shape[:2]
        for chance, y0, y1 in ((0.85, 2, top - 2), (0.55, bottom + 2, height - 2)):
            room = y1 - y0
            if rng.random() > chance or room < 8:
                continue
            size = max(6, int(room * rng.uniform(0.4, 0.95)))
            mask = line_mask(rng, self.any_face(), self.words(), size, rng.uniform(0.6, 1.2))
            mask = mask[:, : int(width * 0.96)]
            colour = ink if rng.random() < 0.5 else self._ink()
            if dark:
                colour = _colour(rng, 150, 255, 60)
            x = (width - mask.shape[1]) // 2 + int(rng.normal(0, width * 0.05))
            _blend(
                canvas, mask * np.float32(rng.uniform(0.4, 1)), colour, x, y0 + (room - size) // 2
            )

    def _serial(
        self, canvas: Floats, groups: list[str], top: int, bottom: int, ink: Floats, *, dark: bool
    ) -> None:
        rng = self._rng
        columns = canvas.shape[1]
        high = bottom - top
        face = self._face()
        count = sum(map(len, groups))
        left = columns * rng.uniform(0.03, 0.10)
        right = columns * rng.uniform(0.90, 0.97)
        if count < 6 and rng.random() < 0.5:  # short serials leave room for a picture
            picture = columns * rng.uniform(0.12, 0.3)
            if rng.random() < 0.7:
                left += picture
                self._ornament(canvas, int(left - picture), top - 4, int(picture), high + 8)
            else:
                right -= picture
                self._ornament(canvas, int(right), top - 4, int(picture), high + 8)
        separator = rng.choice(["gap", "none", "dash", "dot", "sticker", "picture"])
        wide_gap = {
            "gap": 0.6,
            "none": 0.1,
            "dash": 0.6,
            "dot": 0.45,
            "sticker": 0.8,
            "picture": 1.1,
        }
        gap_units = wide_gap[str(separator)] * rng.uniform(0.7, 1.3)
        if rng.random() < 0.4:
            # As type is set: natural widths, narrowed or widened alike, and an even gap.
            gap = high * rng.uniform(0.05, 0.2)
            widths = [
                [face.glyphs[c].shape[1] * high / face.glyphs[c].shape[0] for c in group]
                for group in groups
            ]
        else:  # a cell for every character; I and 1 keep narrower strokes inside theirs
            gap = 0.0
            widths = [[high * 0.6 for _ in group] for group in groups]
        between = gap_units * fmean(fmean(group) for group in widths)
        natural = sum(map(sum, widths)) + between * (len(groups) - 1)
        fixed = gap * count
        squeeze = min((right - left - fixed) / natural, rng.uniform(0.95, 1.5))
        x = left + ((right - left) - fixed - natural * squeeze) * rng.uniform(0.2, 0.8)
        proportional = rng.random() < 0.4
        fill = rng.uniform(0.68, 0.92)
        weight = int(rng.integers(-2, 3))
        relief = rng.random() < 0.3
        for index, (group, across) in enumerate(zip(groups, widths, strict=True)):
            if index > 0:
                cell = between * squeeze
                self._separator(canvas, str(separator), (int(x), top, max(2, int(cell)), high), ink)
                x += cell
            for char, width in zip(group, across, strict=True):
                room = width * squeeze
                if gap:
                    mask = self._stretched(face.glyphs[char], room, high, weight)
                else:
                    mask = self._cell(face.glyphs[char], room * fill, high, weight, proportional)
                at = int(x + (room - mask.shape[1]) / 2)
                if relief:
                    shade = ink + (60 if dark else 120)
                    _blend(canvas, mask * np.float32(0.5), shade, at + 2, top + 2)
                _blend(canvas, mask, ink, at, top)
                x += room + gap

    def _cell(
        self, glyph: Pixels, width: float, height: int, weight: int, proportional: bool
    ) -> Floats:
        natural = glyph.shape[1] * height / glyph.shape[0]
        narrow = natural < 0.3 * height
        if proportional or narrow:
            target = min(width, natural)
        else:
            target = width if natural > 0.45 * height else min(width, natural * 1.4)
        return self._stretched(glyph, target, height, weight)

    @staticmethod
    def _stretched(glyph: Pixels, width: float, height: int, weight: int) -> Floats:
        """The glyph at that size, its strokes made thicker (``weight`` > 0) or thinner."""
        mask: NDArray[Any] = glyph
        mask = cv2.resize(mask, (max(3, round(width)), height), interpolation=cv2.INTER_AREA)
        if weight > 0:
            mask = cv2.dilate(mask, np.ones((weight + 1, weight + 1), np.uint8))
        elif weight < 0 and width > 14:
            mask = cv2.erode(mask, np.ones((2, 2), np.uint8))
        return _unit(mask)

    def _separator(
        self, canvas: Floats, kind: str, place: tuple[int, int, int, int], ink: Floats
    ) -> None:
        """Draw what stands between two groups of the serial, at ``place`` (x, y, w, h)."""
        rng = self._rng
        x, top, width, height = place
        middle = (x + width // 2, top + int(height * rng.uniform(0.4, 0.6)))
        if kind == "dash":
            half = max(2, int(width * 0.35))
            start, end = (middle[0] - half, middle[1]), (middle[0] + half, middle[1])
            cv2.line(canvas, start, end, ink.tolist(), max(2, int(height * 0.09)))
        elif kind == "dot":
            cv2.circle(canvas, middle, max(2, int(height * 0.08)), ink.tolist(), -1)
        elif kind == "sticker":
            self._sticker(canvas, x + 1, top + int(height * rng.uniform(0, 0.5)), width - 2)
        elif kind == "picture":
            self._ornament(canvas, x, top, width, height)

    def _sticker(self, canvas: Floats, x: int, y: int, width: int) -> None:
        rng = self._rng
        width = max(4, width)
        height = max(4, int(width * rng.uniform(0.5, 1.8)))
        if rng.random() < 0.6:
            colour = rng.uniform(0, 255, 3).astype(np.float32)
        else:
            colour = _colour(rng, 180, 255, 20)
        cv2.rectangle(canvas, (x, y), (x + width, y + height), colour.tolist(), -1)
        text = random_digits(rng, 2) if rng.random() < 0.7 else random_letters(rng, 3)
        mask = line_mask(rng, self.any_face(), text, max(4, int(height * 0.6)), 0.7)
        ink = (colour + 128) % 256
        _blend(canvas, mask[:, :width], ink.astype(np.float32), x + 1, y + int(height * 0.2))

    def _ornament(self, canvas: Floats, x: int, y: int, width: int, height: int) -> None:
        rng = self._rng
        for _ in range(int(rng.integers(1, 5))):
            centre = (
                x + int(rng.uniform(0.3, 0.7) * width),
                y + int(rng.uniform(0.2, 0.8) * height),
            )
            axes = (
                max(1, int(width * rng.uniform(0.08, 0.35))),
                max(1, int(height * rng.uniform(0.05, 0.4))),
            )
            colour = rng.uniform(0, 230, 3).tolist()
            thick = -1 if rng.random() < 0.7 else 2
            end = float(rng.choice([360, 180, 270]))
            cv2.ellipse(canvas, centre, axes, float(rng.uniform(0, 180)), 0, end, colour, thick)

    def _fittings(self, canvas: Floats, *, wide: bool) -> None:
        """Stickers in corners and the heads of screws."""
        rng = self._rng
        height, width = canvas.shape[:2]
        for right in (False, True):
            if not wide and rng.random() < 0.35:
                size = int(height * rng.uniform(0.12, 0.24))
                x = width - 5 - size if right else 4
                y = 3 if rng.random() < 0.75 else int(height * 0.8)
                self._sticker(canvas, x, y, size)
        for level in (0.09, 0.91):
            if rng.random() < 0.5:
                for x in (0.22, 0.78):
                    centre = (int(width * x), int(height * (level + rng.normal(0, 0.01))))
                    shade = _colour(rng, 10, 220, 10).tolist()
                    cv2.circle(canvas, centre, int(rng.integers(2, 7)), shade, -1)

    def _frame(self, canvas: Floats, *, text_top: int, text_bottom: int) -> None:
        """A holder that covers the rim, often with the dealer's name; never the serial."""
        rng = self._rng
        height, width = canvas.shape[:2]
        colour = _colour(rng, 10, 60, 10) if rng.random() < 0.7 else _colour(rng, 120, 230, 10)
        side = int(height * rng.uniform(0.01, 0.04))
        above = int(max(0, text_top) * rng.uniform(0.1, 0.95))
        below = int(max(0, height - text_bottom) * rng.uniform(0.1, 0.95))
        canvas[:, :side] = colour
        canvas[:, width - side :] = colour
        for y, rows in ((0, above), (height - below, below)):
            canvas[y : y + rows] = colour
            if rows > 10 and rng.random() < 0.6:
                size = int(rows * rng.uniform(0.45, 0.8))
                mask = line_mask(rng, self.any_face(), self.words(), size, rng.uniform(0.6, 1.2))
                mask = mask[:, : int(width * 0.94)]
                ink = (colour + rng.uniform(100, 180)) % 256
                x = (width - mask.shape[1]) // 2
                _blend(canvas, mask, ink.astype(np.float32), x, y + (rows - size) // 2)
