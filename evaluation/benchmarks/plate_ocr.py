"""How well plates are read: given their box, and from the whole photograph.

    python -m evaluation.benchmarks.plate_ocr --data ../shared/data/plates
    python -m evaluation.benchmarks.plate_ocr --data ../shared/data/plates --readers crnn,rapidocr

``DATA/truth.tsv`` has one line per photograph, tab-separated: file, x, y, w, h, plate.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Annotated, get_args

import cv2
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from dataflow.errors import ConfigError
from dataflow.functions.base import Box, Detection, Item
from dataflow.functions.plate_ocr import PlateOcr, PlateOcrParams
from dataflow.functions.plate_ocr.function import ReaderName
from dataflow.functions.plate_ocr.readers.base import clean
from evaluation.command import json_option, known_names, run, writable

Clock = Callable[[], float]

_LOCATORS = ("network", "classic")


@dataclass(frozen=True, slots=True, kw_only=True)
class Photograph:
    """One labelled photograph.

    Attributes:
        path: the image file.
        box: the plate, in the image's pixels.
        plate: its text, A-Z0-9.
    """

    path: Path
    box: Box
    plate: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What was measured for one reader.

    Attributes:
        reader: the reader's name.
        locator: the locator's name.
        photographs: how many there were.
        given_plates: share of plates read without a mistake, their box given.
        given_characters: mean over the plates of 1 - edit distance / length, not below 0.
        given_ms: median time per photograph to read the given box, milliseconds.
        whole_plates: share of photographs whose best-scored plate reads right.
        whole_characters: as ``given_characters``, of that plate; 0 where none was reported.
        whole_recall: share of photographs whose best-scored plate has IoU >= 0.3 with the truth.
        whole_ms: median time per photograph to find and read, milliseconds.
    """

    reader: str
    locator: str
    photographs: int
    given_plates: float
    given_characters: float
    given_ms: float
    whole_plates: float
    whole_characters: float
    whole_recall: float
    whole_ms: float


def edit_distance(a: str, b: str) -> int:
    """Levenshtein distance: insertions, deletions and substitutions, one each."""
    previous = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        current = [i]
        for j, y in enumerate(b, 1):
            current.append(min(previous[j] + 1, current[-1] + 1, previous[j - 1] + (x != y)))
        previous = current
    return previous[-1]


def character_accuracy(read: str, plate: str) -> float:
    """1 - edit distance / length of the truth, not below 0."""
    return max(0.0, 1 - edit_distance(read, plate) / len(plate))


def load_photographs(folder: Path) -> list[Photograph]:
    """The photographs of ``folder/truth.tsv``.

    Raises:
        ConfigError: the folder, the list or an image is missing, or a line is malformed.
    """
    truth = folder / "truth.tsv"
    if not truth.is_file():
        raise ConfigError(
            "there are no labelled photographs",
            file=truth,
            remedy="give the folder that holds truth.tsv and the images with --data",
        )
    try:
        rows = list(csv.reader(truth.read_text("utf-8").splitlines(), delimiter="\t"))
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"this is no text: {error}", file=truth, remedy="write it in UTF-8, with tabs between"
        ) from error
    photographs: list[Photograph] = []
    for number, fields in enumerate(rows, 1):
        try:
            name, x, y, w, h, plate = fields
            box = Box(x=float(x), y=float(y), w=float(w), h=float(h))
        except ValueError as error:
            raise ConfigError(
                "expected file, x, y, w, h, plate", file=truth, line=number, value=fields
            ) from error
        path = folder / name
        if not path.is_file():
            raise ConfigError("the image is missing", file=truth, line=number, value=name)
        if not clean(plate):
            raise ConfigError("a plate has letters or digits", file=truth, line=number, value=plate)
        photographs.append(Photograph(path=path, box=box, plate=clean(plate)))
    if not photographs:
        raise ConfigError(
            "no photograph is listed", file=truth, remedy="a line each: file, x, y, w, h, plate"
        )
    return photographs


def measure(
    function: PlateOcr,
    photographs: Sequence[Photograph],
    *,
    locator: str,
    clock: Clock,
    advance: Callable[[], None],
) -> Row:
    """Run ``function`` on every photograph twice: with the plate's box, and without."""
    given: list[tuple[Detection | None, float]] = []
    whole: list[tuple[Detection | None, float]] = []
    for number, photograph in enumerate(photographs):
        data = photograph.path.read_bytes()
        hint = Detection(kind="plate", box=photograph.box, score=1.0)
        for hints, results in (((hint,), given), ((), whole)):
            item = Item(
                camera="benchmark", sequence=number, captured_at=0.0, data=data, detections=hints
            )
            _ = item.image  # decoding is not what is timed
            start = clock()
            found = function.process([item])[0]
            results.append((found[0] if found else None, (clock() - start) * 1000))
        advance()
    truths = [photograph.plate for photograph in photographs]
    boxes = [photograph.box for photograph in photographs]
    return Row(
        reader=function.reader_name,
        locator=locator,
        photographs=len(photographs),
        given_plates=fmean(_text(d) == t for (d, _), t in zip(given, truths, strict=True)),
        given_characters=fmean(
            character_accuracy(_text(d), t) for (d, _), t in zip(given, truths, strict=True)
        ),
        given_ms=median(ms for _, ms in given),
        whole_plates=fmean(_text(d) == t for (d, _), t in zip(whole, truths, strict=True)),
        whole_characters=fmean(
            character_accuracy(_text(d), t) for (d, _), t in zip(whole, truths, strict=True)
        ),
        whole_recall=fmean(
            d is not None and d.box.iou(b) >= 0.3 for (d, _), b in zip(whole, boxes, strict=True)
        ),
        whole_ms=median(ms for _, ms in whole),
    )


def _text(detection: Detection | None) -> str:
    return (detection.text or "") if detection else ""


_HEADINGS = (
    "reader",
    "locator",
    "box given: plates",
    "characters",
    "ms",
    "whole photograph: plates",
    "characters",
    "found (IoU >= 0.3)",
    "ms",
)


def _cells(row: Row) -> list[str]:
    def percent(share: float) -> str:
        return f"{100 * share:.1f} %"

    return [
        row.reader,
        row.locator,
        percent(row.given_plates),
        percent(row.given_characters),
        f"{row.given_ms:.1f}",
        percent(row.whole_plates),
        percent(row.whole_characters),
        percent(row.whole_recall),
        f"{row.whole_ms:.1f}",
    ]


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [f"| {' | '.join(_HEADINGS)} |", "|---|---" + "|--:" * (len(_HEADINGS) - 2) + "|"]
    lines += [f"| {' | '.join(_cells(row))} |" for row in rows]
    return "\n".join(lines) + "\n"


def main(
    *,
    data: Annotated[Path, typer.Option(metavar="FOLDER", help="Holds truth.tsv and images.")],
    readers: Annotated[str, typer.Option(help="Comma-separated; all when absent.")] = ",".join(
        get_args(ReaderName)
    ),
    locators: Annotated[str, typer.Option(help="Comma-separated; all when absent.")] = ",".join(
        _LOCATORS
    ),
    views: Annotated[
        int | None, typer.Option(min=1, help="The function's parameter; its default when absent.")
    ] = None,
    json_file: Annotated[Path | None, json_option("Write the rows to this file.")] = None,
    markdown_file: Annotated[
        Path | None,
        typer.Option(
            "--markdown", metavar="FILE", help="Write the table to this file.", callback=writable
        ),
    ] = None,
) -> None:
    """Measure plate reading on photographs."""
    chosen = [
        (reader, locator)
        for reader in known_names(readers.split(","), get_args(ReaderName), "--readers")
        for locator in known_names(locators.split(","), _LOCATORS, "--locators")
    ]
    photographs = load_photographs(data)
    cv2.setNumThreads(1)
    rows: list[Row] = []
    with Progress(console=Console(stderr=True)) as progress:
        for reader, locator in chosen:
            task = progress.add_task(f"{reader}, {locator}", total=len(photographs))
            values: dict[str, object] = {"reader": reader, "locator": locator}
            if views is not None:
                values["views"] = views
            function = PlateOcr(_parameters(values))
            rows.append(
                measure(
                    function,
                    photographs,
                    locator=locator,
                    clock=time.perf_counter,
                    advance=partial(progress.advance, task),
                )
            )
            function.close()
    table = Table(*_HEADINGS, title=f"{len(photographs)} photographs")
    for row in rows:
        table.add_row(*_cells(row))
    Console().print(table)
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    if markdown_file is not None:
        markdown_file.write_text(markdown(rows))


def _parameters(values: dict[str, object]) -> PlateOcrParams:
    try:
        return PlateOcrParams.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(first["msg"], key=f"--{first['loc'][0]}", value=first["input"]) from error


if __name__ == "__main__":
    run(main)
