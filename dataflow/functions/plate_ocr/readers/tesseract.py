"""Reads plates with Tesseract, through pytesseract."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

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
        variants: pictures of each plate to read (1 to 3: grey, binary, grey without the row's
            isolation); the text with the greatest sum of confidences wins. Each costs a process.
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
        votes: defaultdict[str, float] = defaultdict(float)
        pictures = prepare(grey)[: self._variants]
        for picture in pictures:
            text, confidence = self._line(picture)
            if text:
                votes[text] += confidence
        if not votes:
            return "", 0.0
        best = max(votes, key=lambda text: votes[text])
        return best, min(1.0, votes[best] / len(pictures))

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


def prepare(grey: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Pictures for Tesseract, dark characters on light, best first: uint8 [h, w] each."""
    scale = min(8.0, max(1.0, 160 / grey.shape[0]))
    enlarged = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    equalised = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(2, 4)).apply(enlarged)
    big: NDArray[np.uint8] = np.asarray(equalised, np.uint8)
    line = _main_line(big)
    if line is None:
        height = big.shape[0]
        band = big[int(0.2 * height) : max(int(0.85 * height), int(0.2 * height) + 1)]
    else:
        band = _cut(big, line)
    text_height = 0.45 * big.shape[0] if line is None else line.char_height
    factor = float(np.clip(_TEXT_HEIGHT / max(text_height, 1.0), 0.2, 3.0))
    band, whole = (
        np.asarray(
            cv2.resize(part, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8
        )
        for part in (_dark_on_light(band), _dark_on_light(big))
    )
    _, binary = cv2.threshold(band, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return [_framed(picture) for picture in (band, np.asarray(binary, np.uint8), whole)]


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
    side = line.char_height * 0.7
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
