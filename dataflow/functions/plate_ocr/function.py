"""The function: finds plates in each item and reads them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dataflow.errors import MissingDependencyError
from dataflow.functions.base import Box, Detection, FunctionParams, Item
from dataflow.functions.plate_ocr.locate import (
    Candidate,
    ClassicLocator,
    NetworkLocator,
    PlateLocator,
)
from dataflow.functions.plate_ocr.readers.base import PlateReader, clean
from dataflow.functions.plate_ocr.readers.crnn import CrnnReader
from dataflow.functions.plate_ocr.readers.rapid import RapidReader
from dataflow.functions.plate_ocr.readers.tesseract import TesseractReader

logger = logging.getLogger(__name__)

ReaderName = Literal["crnn", "rapidocr", "tesseract"]

BEST_FIRST: tuple[ReaderName, ...] = ("crnn", "rapidocr", "tesseract")
"""What ``reader: auto`` tries: crnn reads as well as rapidocr, far faster (docs/plate-ocr.md)."""


_SURE = 0.8
"""Confidence of a reading above which no rival place is looked at."""


class PlateOcrParams(FunctionParams):
    """Parameters of ``plate-ocr``.

    Attributes:
        reader: which engine reads; ``auto`` takes the best one installed and logs which.
        locator: what finds plates: the shipped network, or classic vision without one.
        max_plates: reported per item at most, best first.
        min_score: of a reported plate; its score is the product of finding and reading.
        min_characters: shorter readings are not reported.
        margin: added on each side of a plate's box before reading, as a share of its size.
        views: how often each plate is read, each time cut a little differently (crnn), or how many
            pictures of it are made (tesseract, at most 3). Fewer are faster and less accurate.
        search_side: longest side, in pixels, at which the network searches an image. Smaller is
            faster; plates must stay about 20 pixels wide.
        threads: intra-op threads of each ONNX Runtime session.
    """

    reader: Literal["auto"] | ReaderName = "auto"
    locator: Literal["network", "classic"] = "network"
    max_plates: int = Field(default=1, ge=1, le=50)
    min_score: float = Field(default=0.1, ge=0, le=1)
    min_characters: int = Field(default=3, ge=1, le=12)
    margin: float = Field(default=0.1, ge=0, le=1)
    views: int = Field(default=3, ge=1, le=5)
    search_side: int = Field(default=640, ge=64, le=4096)
    threads: int = Field(default=1, ge=1, le=64)


def open_reader(params: PlateOcrParams) -> PlateReader:
    """The reader that ``params`` ask for.

    Raises:
        MissingDependencyError: its program or package is absent; for ``auto``, those of all.
        ModelError: the shipped network is missing or damaged.
    """
    openers: dict[ReaderName, Callable[[], PlateReader]] = {
        "crnn": lambda: CrnnReader(views=params.views, threads=params.threads),
        "rapidocr": lambda: RapidReader(threads=params.threads),
        "tesseract": lambda: TesseractReader(variants=min(3, params.views)),
    }
    if params.reader != "auto":
        return openers[params.reader]()
    absent: list[str] = []
    for name in BEST_FIRST:
        try:
            reader = openers[name]()
        except MissingDependencyError as error:
            absent.append(str(error))
            continue
        logger.info("reader auto: %s%s", name, " (others are absent)" if absent else "")
        return reader
    raise MissingDependencyError("no plate reader is installed:\n" + "\n".join(absent))


class PlateOcr:
    """Finds and reads number plates in crops of vehicles or whole frames.

    Where an item brings detections of kind ``plate``, their boxes are read and nothing is
    searched. Each reported ``Detection`` has kind ``plate``, a box in the item's pixels, the text
    (A-Z0-9) and as score the product of the place's and the reading's confidence.

    Args:
        params: see ``PlateOcrParams``.
        reader: used instead of the one that ``params`` name.
        locator: used instead of the one that ``params`` name.

    Raises:
        MissingDependencyError: the reader's program or package is absent.
        ModelError: a shipped network is missing or damaged.
    """

    Params: ClassVar[type[FunctionParams]] = PlateOcrParams

    def __init__(
        self,
        params: PlateOcrParams,
        *,
        reader: PlateReader | None = None,
        locator: PlateLocator | None = None,
    ) -> None:
        self._params = params
        self._reader = reader or open_reader(params)
        self._locator = locator or self._open_locator(params)

    @property
    def reader_name(self) -> str:
        """The name of the engine in use, as in ``params.reader``."""
        return self._reader.name

    @staticmethod
    def _open_locator(params: PlateOcrParams) -> PlateLocator:
        limit = params.max_plates + 2  # the reader decides between close rivals
        if params.locator == "classic":
            return ClassicLocator(limit=limit)
        return NetworkLocator(longest_side=params.search_side, limit=limit, threads=params.threads)

    def process(self, batch: Sequence[Item]) -> list[list[Detection]]:
        """Find and read the plates of each item; see ``Function.process``."""
        searches = [_Search(item, self._places(item)) for item in batch]
        first = self._params.max_plates
        # The likeliest places of all items are read together; a further one only where these did
        # not give enough plates that the reader is sure of.
        while crops := [
            crop_of(search.item.image, place.box, self._params.margin)
            for search in searches
            for place in search.take(first, wanted=self._params.max_plates)
        ]:
            readings = iter(self._reader.read(crops))
            for search in searches:
                search.read += [(place, next(readings)) for place in search.taken]
            first = 1
        return [self._report(search.read) for search in searches]

    def close(self) -> None:
        """Nothing to release: the readers hold no files and no processes."""

    def _places(self, item: Item) -> list[Candidate]:
        height, width = item.image.shape[:2]
        given = [d for d in item.detections if d.kind == "plate"]
        if given:
            clipped = [(d.box.clipped(width, height), d.score) for d in given]
            return [Candidate(box=box, score=score) for box, score in clipped if box.area >= 1]
        return self._locator.locate(item.image)

    def _report(self, read: list[tuple[Candidate, tuple[str, float]]]) -> list[Detection]:
        plates = [
            Detection(kind="plate", box=place.box, score=place.score * confidence, text=clean(text))
            for place, (text, confidence) in read
            if len(clean(text)) >= self._params.min_characters
        ]
        kept = [plate for plate in plates if plate.score >= self._params.min_score]
        return sorted(kept, key=lambda p: p.score, reverse=True)[: self._params.max_plates]


class _Search:
    """How far one item has got: places still to read, and what was read."""

    def __init__(self, item: Item, places: Sequence[Candidate]) -> None:
        self.item = item
        self.taken: list[Candidate] = []
        self.read: list[tuple[Candidate, tuple[str, float]]] = []
        self._left = list(places)

    def take(self, count: int, *, wanted: int) -> list[Candidate]:
        """The next places to read; none once ``wanted`` readings are sure."""
        sure = sum(confidence >= _SURE for _, (_, confidence) in self.read)
        count = 0 if sure >= wanted else count
        self.taken, self._left = self._left[:count], self._left[count:]
        return self.taken


def crop_of(image: NDArray[np.uint8], box: Box, margin: float) -> NDArray[np.uint8]:
    """The pixels of ``box`` and ``margin`` times its size on each side; at least 1 x 1."""
    height, width = image.shape[:2]
    grown = Box(
        x=box.x - margin * box.w,
        y=box.y - margin * box.h,
        w=box.w * (1 + 2 * margin),
        h=box.h * (1 + 2 * margin),
    ).clipped(width, height)
    left, top = min(int(grown.x), width - 1), min(int(grown.y), height - 1)
    right = max(left + 1, round(grown.x + grown.w))
    bottom = max(top + 1, round(grown.y + grown.h))
    return image[top:bottom, left:right]
