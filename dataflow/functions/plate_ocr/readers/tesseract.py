"""Reads plates with Tesseract, through pytesseract."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

import cv2
import numpy as np
import pytesseract
from numpy.typing import NDArray

from dataflow.errors import MissingDependencyError
from dataflow.functions.plate_ocr.characters import TextLine, find_lines, to_grey
from dataflow.functions.plate_ocr.readers.base import ALPHABET, clean

_TEXT_HEIGHT = 40
"""Pixels of a capital letter at which Tesseract's LSTM reads best (it works at 36 or so)."""


class TesseractReader:
    """Isolates the row of large characters, then asks Tesseract for one line.

    Args:
        variants: pictures of each plate to read (1 to 3, see ``prepare``); the reading most like
            the others wins. Each costs a process.
        timeout_s: for one picture; what takes longer counts as unread.

    Raises:
        MissingDependencyError: there is no ``tesseract`` program on the PATH.
    """

    name = "tesseract"

    def __init__(self, *, variants: int = 3, timeout_s: float = 10.0) -> None:
        try:
            pytesseract.get_tesseract_version()
        except (pytesseract.TesseractNotFoundError, SystemExit) as error:
            raise MissingDependencyError(
                "the tesseract reader needs the Tesseract program, which is not on the PATH\n"
                "  remedy: apt-get install tesseract-ocr (or choose another reader)"
            ) from error
        self._variants = variants
        self._timeout_s = timeout_s

    def read(self, images: Sequence[NDArray[np.uint8]]) -> list[tuple[str, float]]:
        """See ``PlateReader.read``."""
        return [self._read_one(image) for image in images]

    def _read_one(self, image: NDArray[np.uint8]) -> tuple[str, float]:
        grey = to_grey(image)
        if min(grey.shape) < 6:
            return "", 0.0
        pictures = prepare(grey)[: self._variants]
        return agreed([self._line(picture) for picture in pictures])

    def _line(self, picture: NDArray[np.uint8]) -> tuple[str, float]:
        try:
            data = pytesseract.image_to_data(
                picture,
                config=f"--oem 1 --psm 7 -c tessedit_char_whitelist={ALPHABET}",
                output_type=pytesseract.Output.DICT,
                timeout=self._timeout_s,
            )
        except (pytesseract.TesseractError, RuntimeError):  # RuntimeError: the timeout
            return "", 0.0
        words = [
            (clean(word), float(confidence))
            for word, confidence in zip(data["text"], data["conf"], strict=True)
            if clean(word)
        ]
        if not words:
            return "", 0.0
        letters = sum(len(word) for word, _ in words)
        mean = sum(len(word) * max(0.0, confidence) for word, confidence in words) / letters
        return "".join(word for word, _ in words), mean / 100


def agreed(readings: Sequence[tuple[str, float]]) -> tuple[str, float]:
    """The reading most like the others.

    With a whitelist Tesseract's own confidence is near 0 for many texts that are right, so how far
    independent pictures agree says more; its confidence (0..1) only breaks ties and adds a little.
    """
    texts = [text for text, _ in readings]

    def likeness(k: int) -> float:
        others = [_alike(texts[k], other) for n, other in enumerate(texts) if n != k]
        return sum(others) / len(others) if others else 0.5

    score, best = max((0.9 * likeness(k) + 0.1 * readings[k][1], -k) for k in range(len(texts)))
    return (texts[-best], min(1.0, score)) if texts[-best] else ("", 0.0)


def _alike(a: str, b: str) -> float:
    """Share of characters in common runs, 0..1; 0 where either is empty."""
    return SequenceMatcher(None, a, b, autojunk=False).ratio() if a and b else 0.0


def prepare(grey: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Pictures for Tesseract, dark characters on light, best first: uint8 [h, w] each.

    The row of large characters in grey, the same in black and white, and once more without what
    lies between the characters.
    """
    scale = min(8.0, max(1.0, 160 / grey.shape[0]))
    enlarged = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    equalised = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(2, 4)).apply(enlarged)
    big: NDArray[np.uint8] = np.asarray(equalised, np.uint8)
    line = _main_line(big)
    if line is None:
        rows = big.shape[0]
        band = alone = big[int(0.2 * rows) : max(int(0.85 * rows), int(0.2 * rows) + 1)]
        text_height = 0.45 * rows
    else:
        band, alone = _cut(big, line), _cut(_members_only(big, line), line)
        text_height = line.char_height
    factor = float(np.clip(_TEXT_HEIGHT / max(text_height, 1.0), 0.2, 3.0))
    band, alone = (
        np.asarray(
            cv2.resize(part, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8
        )
        for part in (_dark_on_light(band), _dark_on_light(alone))
    )
    _, binary = cv2.threshold(band, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return [_framed(picture) for picture in (band, np.asarray(binary, np.uint8), alone)]


def _members_only(grey: NDArray[np.uint8], line: TextLine) -> NDArray[np.uint8]:
    """``grey`` with the paper's level everywhere but in the boxes of the row's characters."""
    top, left = int(line.box.y), int(line.box.x)
    inside = grey[top : top + int(line.box.h), left : left + int(line.box.w)]
    level, _ = cv2.threshold(inside, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    bright = inside > level
    paper = inside[bright] if 2 * np.count_nonzero(bright) > inside.size else inside[~bright]
    only = np.full_like(grey, int(np.median(paper)) if paper.size else 255)
    pad = max(1, int(0.06 * line.char_height))
    for box in line.members:
        y0, x0 = max(0, int(box.y) - pad), max(0, int(box.x) - pad)
        y1, x1 = int(box.y + box.h) + pad, int(box.x + box.w) + pad
        only[y0:y1, x0:x1] = grey[y0:y1, x0:x1]
    return only


def _main_line(grey: NDArray[np.uint8]) -> TextLine | None:
    """The row with the tallest characters: the serial, not the state's name."""
    height = grey.shape[0]
    lines = find_lines(grey, min_height=0.22 * height, max_height=0.9 * height, min_characters=3)
    return max(lines, key=lambda line: line.count * line.char_height, default=None)


def _cut(grey: NDArray[np.uint8], line: TextLine) -> NDArray[np.uint8]:
    """The row, turned level, with a quarter of a character's height around it."""
    box, rows, columns = line.box, grey.shape[0], grey.shape[1]
    centre = (box.x + box.w / 2, box.y + box.h / 2)
    angle = float(np.degrees(np.arctan(line.slope)))
    turn = cv2.getRotationMatrix2D(centre, angle, 1.0)
    level = cv2.warpAffine(grey, turn, (columns, rows), borderMode=cv2.BORDER_REPLICATE)
    half = line.char_height * 0.5 + line.char_height * 0.15
    top, bottom = max(0, int(centre[1] - half)), min(rows, int(centre[1] + half) + 1)
    side = line.char_height * 0.2
    left, right = max(0, int(box.x - side)), min(columns, int(box.x + box.w + side) + 1)
    return np.asarray(level[top:bottom, left:right], np.uint8)


def _dark_on_light(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Inverts where the greater part, the paper, is the darker one."""
    level, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    if np.count_nonzero(grey > level) < 0.5 * grey.size:
        return np.asarray(255 - grey, np.uint8)
    return grey


def _framed(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    paper = int(np.percentile(picture, 90))
    framed = cv2.copyMakeBorder(picture, 12, 12, 12, 12, cv2.BORDER_CONSTANT, value=paper)
    return np.asarray(framed, np.uint8)
