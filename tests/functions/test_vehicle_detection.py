from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow.errors import ImageError
from dataflow.functions import vehicle_detection
from dataflow.functions.background_subtraction import (
    BackgroundSubtraction,
    BackgroundSubtractionParams,
)
from dataflow.functions.base import Box, Detection, Function, FunctionParams, Item
from dataflow.functions.vehicle_detection import VehicleDetection, VehicleDetectionParams
from evaluation.benchmarks.motion_pipeline import MotionPipeline, main, read_frames
from tests.evaluation.commands import end_of
from tests.functions.scenes import Picture, add_car, grainy, item, need, road

DATA = Path(os.environ.get("VIDEOJAM_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
COLOURS = [(40, 40, 190), (230, 230, 230), (35, 32, 30), (150, 90, 30), (60, 140, 60)]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def vehicles(frame: Item, **changes: object) -> list[Detection]:
    function = VehicleDetection(VehicleDetectionParams.model_validate(changes))
    return list(function.process([frame])[0])


def around(box: Box, picture: Picture, margin: float = 0.12) -> Box:
    """The box as background subtraction reports it: with a margin, whole pixels, in the frame."""
    left, top = max(0, int(box.x - margin * box.w)), max(0, int(box.y - margin * box.h))
    right = min(picture.shape[1], int(box.x + box.w * (1 + margin)))
    bottom = min(picture.shape[0], int(box.y + box.h * (1 + margin)))
    return Box(x=left, y=top, w=right - left, h=bottom - top)


def crop(picture: Picture, box: Box) -> Picture:
    return picture[int(box.y) : int(box.y + box.h), int(box.x) : int(box.x + box.w)]


def with_region(frame: Item, *boxes: Box) -> Item:
    return replace(
        frame, detections=tuple(Detection(kind="region", box=box, score=0.7) for box in boxes)
    )


def test_it_is_registered_and_implements_the_interface() -> None:
    (entry,) = entry_points(group="videojam.functions", name="vehicle-detection")
    assert entry.load() is VehicleDetection
    assert isinstance(VehicleDetection(VehicleDetectionParams()), Function)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_crop_of_a_car_is_a_vehicle_and_its_box_is_tight(
    rng: np.random.Generator, colour: tuple[int, int, int], width: int
) -> None:
    picture = road(rng)
    box = add_car(picture, x=120, y=60, w=width, h=width * 7 // 10, colour=colour)
    region = around(box, picture)
    (vehicle,) = vehicles(item(crop(grainy(rng, picture), region), 0))
    assert vehicle.kind == "vehicle"
    assert vehicle.label == "vehicle"
    assert 0.3 <= vehicle.score <= 1
    assert vehicle.box.shifted(region.x, region.y).iou(box) > 0.8


def test_regions_of_a_whole_frame_give_boxes_in_the_frame(rng: np.random.Generator) -> None:
    picture = road(rng)
    boxes = [
        add_car(picture, x=40, y=60, colour=COLOURS[0]),
        add_car(picture, x=300, y=160, colour=COLOURS[3]),
    ]
    regions = [around(box, picture) for box in boxes]
    found = vehicles(with_region(item(grainy(rng, picture), 0), *regions))
    assert [v.box.iou(b) > 0.8 for v, b in zip(found, boxes, strict=True)] == [True, True]


def test_detections_of_other_kinds_are_no_regions(rng: np.random.Generator) -> None:
    picture = road(rng, width=96, height=68)
    add_car(picture, x=8, y=6, colour=COLOURS[0])
    frame = item(picture, 0)
    plate = Detection(kind="plate", box=Box(x=30, y=40, w=20, h=8), score=0.9)
    assert vehicles(replace(frame, detections=(plate,))) == vehicles(frame)


def test_a_car_cut_by_the_frame_is_a_vehicle(rng: np.random.Generator) -> None:
    picture = road(rng)
    box = add_car(picture, x=150, y=235, w=90, h=64, colour=COLOURS[0])
    region = around(box.clipped(480, 270), picture)
    assert len(vehicles(item(crop(grainy(rng, picture), region), 0))) == 1


def test_empty_road_noise_and_a_soft_shadow_are_none(rng: np.random.Generator) -> None:
    picture = road(rng, width=100, height=70)
    assert vehicles(item(grainy(rng, picture), 0)) == []
    blob = np.zeros((70, 100, 1))
    blob[15:55, 20:80] = 1
    shade = cv2.GaussianBlur(blob, (21, 21), 0)[..., None]
    shadow = (picture * (1 - 0.3 * shade)).astype(np.uint8)
    assert vehicles(item(grainy(rng, shadow), 0)) == []


def test_a_person_is_none(rng: np.random.Generator) -> None:
    picture = road(rng)
    cv2.circle(picture, (200, 80), 9, (120, 150, 200), -1)
    cv2.rectangle(picture, (188, 90), (212, 135), (120, 60, 40), -1)
    cv2.rectangle(picture, (190, 135), (198, 175), (50, 40, 40), -1)
    cv2.rectangle(picture, (202, 135), (210, 175), (50, 40, 40), -1)
    region = around(Box(x=188, y=71, w=24, h=104), picture)
    assert vehicles(item(crop(grainy(rng, picture), region), 0)) == []


def test_leaves_are_none(rng: np.random.Generator) -> None:
    leaves = cv2.GaussianBlur(rng.normal(0, 1, (90, 120, 3)), (5, 5), 0)
    picture = np.clip(np.array([40, 90, 50]) + 160 * leaves, 0, 255).astype(np.uint8)
    assert vehicles(item(picture, 0)) == []


@pytest.mark.parametrize(("w", "h"), [(12, 9), (200, 20), (30, 160)])
def test_specks_slivers_and_poles_are_none(rng: np.random.Generator, w: int, h: int) -> None:
    picture = road(rng)
    box = add_car(picture, x=120, y=60, w=w, h=h, colour=COLOURS[0])
    assert vehicles(item(crop(picture, around(box, picture)), 0)) == []


def test_a_crop_too_small_to_look_at_is_none() -> None:
    assert vehicles(item(np.zeros((2, 3, 3), np.uint8), 0)) == []
    frame = with_region(
        item(np.zeros((60, 80, 3), np.uint8), 0),
        Box(x=300, y=300, w=20, h=20),
        Box(x=78, y=0, w=40, h=40),
    )
    assert vehicles(frame) == []


def test_two_cars_side_by_side_are_two_and_a_long_one_is_one(rng: np.random.Generator) -> None:
    picture = road(rng)
    left = add_car(picture, x=100, y=100, w=80, h=56, colour=COLOURS[0])
    right = add_car(picture, x=190, y=100, w=80, h=56, colour=COLOURS[1])
    region = around(Box(x=100, y=100, w=170, h=56), picture)
    found = vehicles(item(crop(grainy(rng, picture), region), 0))
    found = [replace(v, box=v.box.shifted(region.x, region.y)) for v in found]
    assert len(found) == 2
    assert found[0].box.iou(left) > 0.7
    assert found[1].box.iou(right) > 0.7
    bus = road(rng)
    box = add_car(bus, x=100, y=100, w=160, h=60, colour=COLOURS[3])
    assert len(vehicles(item(crop(bus, around(box, bus)), 0))) == 1


def test_a_batch_keeps_its_order_and_bad_bytes_are_an_error(rng: np.random.Generator) -> None:
    empty = item(road(rng, width=100, height=70), 0)
    picture = road(rng, width=100, height=70)
    add_car(picture, x=10, y=7, colour=COLOURS[0])
    function = VehicleDetection(VehicleDetectionParams())
    found = function.process([empty, item(picture, 1), empty])
    assert [len(f) for f in found] == [0, 1, 0]
    with pytest.raises(ImageError):
        function.process([replace(empty, data=b"no image")])


@settings(max_examples=60)
@given(st.integers(4, 90), st.integers(4, 90), st.integers(0, 2**32), st.integers(1, 12))
def test_boxes_lie_in_the_crop_whatever_it_shows(
    width: int, height: int, seed: int, cell: int
) -> None:
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (height // cell + 1, width // cell + 1, 3)).astype(np.uint8)
    picture = np.kron(blocks, np.ones((cell, cell, 1), np.uint8))[:height, :width]
    limits = {"min_width": 1, "min_height": 1, "min_score": 0, "min_structure": 0}
    for vehicle in vehicles(item(np.asarray(picture, dtype=np.uint8), 0), **limits):
        assert vehicle.box.clipped(width, height).area == pytest.approx(vehicle.box.area)
        assert 0 <= vehicle.score <= 1


class Network:
    """A function that sees what it is told, and remembers whether it was closed."""

    Params: ClassVar[type[FunctionParams]] = FunctionParams

    def __init__(self, *seen: Detection) -> None:
        self.seen, self.closed = seen, False

    def process(self, batch: Sequence[Item]) -> Sequence[Sequence[Detection]]:
        return [self.seen for _ in batch]

    def close(self) -> None:
        self.closed = True


def seen_by_network(x: float, y: float, label: str = "car") -> Detection:
    return Detection(kind="vehicle", label=label, box=Box(x=x, y=y, w=40, h=30), score=0.9)


@pytest.mark.parametrize("unconfirmed", ["keep", "drop"])
def test_a_network_names_confirms_and_separates(rng: np.random.Generator, unconfirmed: str) -> None:
    picture = road(rng)
    first = add_car(picture, x=40, y=60, colour=COLOURS[0])
    second = add_car(picture, x=300, y=160, colour=COLOURS[3])
    frame = with_region(item(picture, 0), around(first, picture), around(second, picture))
    left, right = seen_by_network(42, 70), seen_by_network(76, 70, "truck")
    parked = seen_by_network(200, 20)
    plate = Detection(kind="plate", box=Box(x=320, y=180, w=20, h=10), score=0.9)
    network = Network(left, right, parked, plate)
    function = VehicleDetection(
        VehicleDetectionParams.model_validate({"unconfirmed": unconfirmed}), network=network
    )
    (found,) = function.process([frame])
    assert list(found[:2]) == [left, right]
    assert [v.box.iou(second) > 0.8 for v in found[2:]] == [True] * (unconfirmed == "keep")
    function.close()
    assert network.closed


def test_the_network_is_the_function_yolo(monkeypatch: pytest.MonkeyPatch) -> None:
    class Settings(FunctionParams):
        model: str
        input_size: int
        score_threshold: float

    class Yolo(Network):
        Params: ClassVar[type[FunctionParams]] = Settings

        def __init__(self, params: Settings) -> None:
            super().__init__(seen_by_network(5, 5, f"{params.model} {params.input_size}"))

    def load(name: str, *, key: str | None = None) -> type[Function]:
        assert (name, key) == ("yolo", "model")
        return Yolo

    monkeypatch.setattr(vehicle_detection, "load_function", load)
    found = vehicles(item(np.zeros((60, 80, 3), np.uint8), 0), model="builtin")
    assert [v.label for v in found] == ["builtin 320"]


def pipeline() -> MotionPipeline:
    return MotionPipeline(
        background=BackgroundSubtraction(BackgroundSubtractionParams()),
        vehicles=VehicleDetection(VehicleDetectionParams()),
    )


# Counted by eye: vehicles that are wholly in the picture, or at least by half.
CAR_PARK = {40: 0, 75: 1, 85: 1, 130: 0, 170: 0, 205: 2, 215: 2, 270: 0, 330: 1, 360: 0}


@pytest.mark.shared_data
def test_the_cars_of_a_real_car_park_are_found() -> None:
    motion = pipeline()
    found = {
        frame.sequence: len(motion.process(frame).vehicles)
        for frame in read_frames(need(DATA / "video" / "car-park.mp4"))
    }
    assert {sequence: found[sequence] for sequence in CAR_PARK} == CAR_PARK


@pytest.mark.shared_data
def test_a_real_motorway_has_the_traffic_a_person_sees() -> None:
    motion = pipeline()
    counts = [
        len(motion.process(frame).vehicles)
        for frame in read_frames(need(DATA / "video" / "highway.avi"))
    ]
    assert 3 <= np.mean(counts[25:]) <= 5
    assert max(counts) <= 9


def test_the_benchmark_reads_a_video_and_writes_pictures(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    background = road(rng, width=320, height=240)
    video = tmp_path / "road.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 10, (320, 240))
    for sequence in range(45):
        picture = background.copy()
        if sequence >= 30:
            add_car(picture, x=10 + 10 * (sequence - 30), y=120, colour=COLOURS[0])
        writer.write(grainy(rng, picture))
    writer.release()
    ended = end_of(main, str(video), "--annotated", str(tmp_path / "out"), "--every", "20")
    assert ended.code == 0, ended.err
    assert "45 frames, vehicles a frame: mean 0.3" in ended.out
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "road-000000.jpg",
        "road-000020.jpg",
        "road-000040.jpg",
        "road-sheet.jpg",
    ]
