"""Background subtraction, crops, vehicle detection: the first half of `fixed`, in one process.

    python -m evaluation.benchmarks.motion_pipeline highway.avi
    python -m evaluation.benchmarks.motion_pipeline highway.avi --annotated out --every 50

Prints vehicles a frame and the processor time a frame of each function (one thread), and writes
every N-th frame with its regions (yellow) and vehicles (green) drawn, together with a contact
sheet of them. The frames pass through JPEG as they do between two workers.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from dataflow.errors import SourceError
from dataflow.functions.background_subtraction import (
    BackgroundSubtraction,
    BackgroundSubtractionParams,
)
from dataflow.functions.base import Box, Detection, Function, Item
from dataflow.functions.vehicle_detection import VehicleDetection, VehicleDetectionParams
from dataflow.images import encode_jpeg
from evaluation.command import run

_YELLOW, _GREEN, _RED = (0, 200, 255), (0, 255, 0), (0, 0, 255)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameResult:
    """What was found in one frame; boxes in its pixels.

    Attributes:
        sequence: the frame's number.
        regions: what moves.
        vehicles: which of it are vehicles.
    """

    sequence: int
    regions: Sequence[Detection]
    vehicles: Sequence[Detection]


@dataclass(kw_only=True)
class MotionPipeline:
    """The two functions and the time each takes.

    Attributes:
        background: finds regions in frames.
        vehicles: finds vehicles in crops of regions.
        clock: seconds, monotonic; the processor time of this thread by default, so that other
            work on the machine does not count.
        seconds: total time by step.
    """

    background: Function
    vehicles: Function
    clock: Callable[[], float] = time.thread_time
    seconds: Counter[str] = field(default_factory=Counter)

    def process(self, item: Item) -> FrameResult:
        """Pass one frame through both functions.

        Raises:
            ImageError: the item is not an image.
        """
        start = self.clock()
        image = item.image
        decoded = self.clock()
        regions = self.background.process([item])[0]
        separated = self.clock()
        crops = [(region, crop_item(item, image, region.box)) for region in regions]
        for _, crop in crops:
            _ = crop.image  # decoded here, so that the function's time is its own
        cropped = self.clock()
        found = self.vehicles.process([crop for _, crop in crops]) if crops else []
        done = self.clock()
        self.seconds.update(
            {
                "decode frame": decoded - start,
                "background subtraction": separated - decoded,
                "encode and decode crops": cropped - separated,
                "vehicle detection": done - cropped,
            }
        )
        vehicles = [
            replace(vehicle, box=vehicle.box.shifted(region.box.x, region.box.y))
            for (region, _), detections in zip(crops, found, strict=True)
            for vehicle in detections
        ]
        return FrameResult(sequence=item.sequence, regions=regions, vehicles=vehicles)


def crop_item(item: Item, image: NDArray[np.uint8], box: Box) -> Item:
    """The part of a frame that a box (whole pixels, inside the frame) covers, as its own item."""
    rows = slice(math.floor(box.y), math.ceil(box.y + box.h))
    columns = slice(math.floor(box.x), math.ceil(box.x + box.w))
    return Item(
        camera=item.camera,
        sequence=item.sequence,
        captured_at=item.captured_at,
        data=encode_jpeg(image[rows, columns]),
    )


def read_frames(video: Path) -> Iterator[Item]:
    """The frames of a video as a camera would send them.

    Raises:
        SourceError: OpenCV cannot open or read the file.
    """
    capture = cv2.VideoCapture(str(video))
    rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
    sequence = 0
    while True:
        more, frame = capture.read()
        if not more:
            break
        yield Item(
            camera=video.stem,
            sequence=sequence,
            captured_at=sequence / rate,
            data=encode_jpeg(np.asarray(frame, dtype=np.uint8)),
        )
        sequence += 1
    if sequence == 0:
        raise SourceError(f"{video}: no frames; give a video that OpenCV reads")


def draw(image: NDArray[np.uint8], result: FrameResult, *, width: int = 640) -> NDArray[np.uint8]:
    """The frame at a given width with regions, vehicles, their scores and the frame's number."""
    scale = width / image.shape[1]
    size = (width, round(image.shape[0] * scale))
    picture = np.asarray(cv2.resize(image, size), dtype=np.uint8)
    for detections, colour in ((result.regions, _YELLOW), (result.vehicles, _GREEN)):
        for detection in detections:
            box = detection.box
            start = (round(box.x * scale), round(box.y * scale))
            end = (round((box.x + box.w) * scale), round((box.y + box.h) * scale))
            cv2.rectangle(picture, start, end, colour, 1)
            if colour == _GREEN:
                label = f"{detection.label} {detection.score:.2f}"
                place = (start[0] + 2, start[1] + 12)
                cv2.putText(picture, label, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1)
    title = f"{result.sequence}: {len(result.vehicles)} vehicles"
    cv2.putText(picture, title, (4, size[1] - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.5, _RED, 1)
    return picture


def contact_sheet(pictures: Sequence[NDArray[np.uint8]], *, columns: int) -> NDArray[np.uint8]:
    """Pictures of one size side by side, row after row; at least one picture."""
    blank = np.zeros_like(pictures[0])
    padded = [*pictures, *[blank] * (-len(pictures) % columns)]
    rows = [np.hstack(padded[i : i + columns]) for i in range(0, len(padded), columns)]
    return np.vstack(rows)


def _report(console: Console, results: Sequence[FrameResult], pipeline: MotionPipeline) -> None:
    counts = Counter(len(result.vehicles) for result in results)
    mean = sum(n * frames for n, frames in counts.items()) / len(results)
    console.print(f"{len(results)} frames, vehicles a frame: mean {mean:.2f}, max {max(counts)}")
    histogram = Table("vehicles", "frames", "")
    for vehicles in range(max(counts) + 1):
        bar = "#" * math.ceil(40 * counts[vehicles] / max(counts.values()))
        histogram.add_row(str(vehicles), str(counts[vehicles]), bar)
    console.print(histogram)
    times = Table("step", "processor ms a frame")
    for step, seconds in pipeline.seconds.items():
        times.add_row(step, f"{1000 * seconds / len(results):.2f}")
    console.print(times)


def main(
    *,
    video: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="What OpenCV can read.")
    ],
    annotated: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", file_okay=False, help="For annotated pictures."),
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Annotate every N-th frame.")] = 25,
    columns: Annotated[int, typer.Option(min=1, help="Of the contact sheet.")] = 4,
) -> None:
    """Run the benchmark on one video."""
    if annotated is not None:
        annotated.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    pipeline = MotionPipeline(
        background=BackgroundSubtraction(BackgroundSubtractionParams()),
        vehicles=VehicleDetection(VehicleDetectionParams()),
    )
    results, pictures = [], []
    for item in read_frames(video):
        result = pipeline.process(item)
        results.append(result)
        if annotated is not None and item.sequence % every == 0:
            pictures.append(draw(item.image, result))
    console = Console()
    _report(console, results, pipeline)
    if annotated is not None:
        for index, picture in enumerate(pictures):
            name = f"{video.stem}-{index * every:06d}.jpg"
            (annotated / name).write_bytes(encode_jpeg(picture))
        sheet = annotated / f"{video.stem}-sheet.jpg"
        sheet.write_bytes(encode_jpeg(contact_sheet(pictures, columns=columns)))
        console.print(f"pictures: {sheet}")


if __name__ == "__main__":
    run(main)
