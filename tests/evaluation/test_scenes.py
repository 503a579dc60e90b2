from __future__ import annotations

from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
import pytest

from evaluation.scenes import LEGIBLE_PLATE_PX, StreetCamera, Truth
from evaluation.scenes.dataset import SampleFactory
from evaluation.scenes.plates import plate_picture, random_text
from evaluation.scenes.vehicles import LABELS, random_vehicle
from evaluation.training.detection_metrics import PictureResult, evaluate

Kind = Literal["fixed", "mobile"]


@lru_cache(maxsize=4)
def street(kind: Kind, seed: int = 3) -> StreetCamera:
    return StreetCamera(kind, seed, fps=2.0)


@pytest.mark.parametrize("kind", ["fixed", "mobile"])
def test_the_same_seed_gives_the_same_frames_in_any_order(kind: Kind) -> None:
    first, second = street(kind), StreetCamera(kind, 3, fps=2.0)
    late = second.frame(40)
    for index in (0, 40):
        image, truth = first.frame(index)
        again, truth_again = second.frame(index) if index == 0 else late
        np.testing.assert_array_equal(image, again)
        assert truth == truth_again
    assert not np.array_equal(StreetCamera(kind, 4, fps=2.0).frame(0)[0], first.frame(0)[0])


@pytest.mark.parametrize("kind", ["fixed", "mobile"])
def test_a_frame_is_a_picture_of_the_declared_size(kind: Kind) -> None:
    camera = StreetCamera(kind, 1, width=640, height=352, fps=5.0)
    image, truth = camera.frame(7)
    assert image.shape == (352, 640, 3)
    assert image.dtype == np.uint8
    assert (truth.frame, truth.seconds) == (7, 1.4)


@pytest.mark.parametrize("kind", ["fixed", "mobile"])
def test_boxes_hold_the_pixels_that_the_vehicles_changed(kind: Kind) -> None:
    camera = street(kind)
    seen = 0
    for index in range(2, 60, 9):
        image, truth = camera.frame(index)
        empty, nothing = camera.frame(index, vehicles=False)
        assert nothing.vehicles == ()
        changed = cv2.absdiff(image, empty).max(axis=2) > 24
        for vehicle in truth.vehicles:
            box = vehicle.box
            if not vehicle.moving or vehicle.visible < 0.95 or box.w < 60:
                continue
            columns = slice(round(box.x), round(box.x + box.w))
            rows = slice(round(box.y), round(box.y + box.h))
            inside = changed[rows, columns]
            assert inside.mean() > 0.4
            seen += 1
            # each side of the box is reached by the vehicle (mirrors are small)
            assert inside[: max(3, len(inside) // 8)].any()
            assert inside[-max(3, len(inside) // 8) :].any()
            assert inside[:, : max(3, inside.shape[1] // 6)].any()
            assert inside[:, -max(3, inside.shape[1] // 6) :].any()
    assert seen >= 4


def test_nothing_of_a_vehicle_stands_above_its_box() -> None:
    camera = street("fixed")
    for index in range(0, 60, 6):
        image, truth = camera.frame(index)
        empty, _ = camera.frame(index, vehicles=False)
        changed = (cv2.absdiff(image, empty).max(axis=2) > 24).astype(np.uint8)
        top = min((v.box.y for v in truth.vehicles if v.moving), default=720.0)
        assert changed[: max(0, int(top) - 3)].sum() == 0


@pytest.mark.parametrize("kind", ["fixed", "mobile"])
def test_plates_lie_in_their_vehicles_and_legible_ones_in_the_frame(kind: Kind) -> None:
    camera = street(kind)
    legible = 0
    for index in range(80):
        image, truth = camera.frame(index)
        height, width = image.shape[:2]
        for vehicle in truth.vehicles:
            plate = vehicle.plate_box
            if plate is None:
                assert not vehicle.plate_legible
                continue
            inside = plate.clipped(width, height)
            box = vehicle.box
            if inside.area > 0:
                assert inside.x >= box.x - 1
                assert inside.y >= box.y - 1
                assert inside.x + inside.w <= box.x + box.w + 1
                assert inside.y + inside.h <= box.y + box.h + 1
            if vehicle.plate_legible:
                legible += 1
                assert plate == inside
                assert plate.w >= LEGIBLE_PLATE_PX * 0.9
                patch = image[
                    round(plate.y) : round(plate.y + plate.h),
                    round(plate.x) : round(plate.x + plate.w),
                ]
                grey = patch.mean(axis=2)
                assert np.percentile(grey, 90) - np.percentile(grey, 5) > 80  # dark on light
    assert legible >= 3


@pytest.mark.parametrize("kind", ["fixed", "mobile"])
def test_a_vehicle_keeps_its_label_and_plate(kind: Kind) -> None:
    camera = street(kind)
    known: dict[int, tuple[str, str]] = {}
    for index in range(0, 90, 3):
        for vehicle in camera.frame(index)[1].vehicles:
            identity = (vehicle.label, vehicle.plate)
            assert known.setdefault(vehicle.vehicle, identity) == identity
            assert vehicle.label in LABELS
            assert 0.1 <= vehicle.visible <= 1
    assert len(known) >= 5


def test_vehicle_ids_are_unique_in_a_frame_even_after_the_schedule_repeats() -> None:
    for kind in ("fixed", "mobile"):
        camera = street(kind)
        for index in (0, 300, 479, 480, 481, 3000):
            ids = [vehicle.vehicle for vehicle in camera.frame(index)[1].vehicles]
            assert len(ids) == len(set(ids))


def test_a_fixed_camera_sometimes_sees_no_moving_vehicle_and_sometimes_several() -> None:
    counts = [moving(street("fixed").frame(index)[1]) for index in range(0, 240, 2)]
    assert min(counts) <= 1
    assert max(counts) >= 4


def moving(truth: Truth) -> int:
    return sum(vehicle.moving and vehicle.visible > 0.3 for vehicle in truth.vehicles)


def test_a_fixed_camera_stands_still_and_a_mobile_one_does_not() -> None:
    def difference(kind: Kind) -> float:
        first, _ = street(kind).frame(10, vehicles=False)
        second, _ = street(kind).frame(12, vehicles=False)
        return float((cv2.absdiff(first, second).max(axis=2) > 40).mean())

    assert difference("fixed") < 0.001
    assert difference("mobile") > 0.05


def test_partly_covered_vehicles_are_less_visible() -> None:
    fractions = [
        vehicle.visible
        for index in range(0, 60, 2)
        for vehicle in street("mobile").frame(index)[1].vehicles
    ]
    assert min(fractions) < 0.6
    assert max(fractions) > 0.97


def test_vehicles_vary_in_shape_size_and_colour() -> None:
    rng = np.random.default_rng(0)
    for label in LABELS:
        vehicles = [random_vehicle(rng, label) for _ in range(12)]
        assert {vehicle.label for vehicle in vehicles} == {label}
        assert len({round(vehicle.length, 2) for vehicle in vehicles}) > 6
        assert len({vehicle.faces[0].colour for vehicle in vehicles}) > 6
        assert len({vehicle.plate for vehicle in vehicles}) == 12
        for vehicle in vehicles:
            points = np.concatenate([face.corners for face in vehicle.faces])
            assert points[:, 2].min() >= -0.01
            assert np.ptp(points[:, 1]) == pytest.approx(vehicle.length, abs=0.1)


def test_plates_show_their_text() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        text, printed = random_text(rng)
        assert printed.replace(" ", "") == text
        assert len(text) == 7
    pictures = plate_picture("AB12 CDE", 1)
    assert [picture.shape[1] for picture in pictures[:3]] == [520, 260, 130]
    ink = (pictures[0].mean(axis=2) < 90)[15:-15, 15:-15]
    assert 0.1 < ink.mean() < 0.5


def test_samples_repeat_with_their_seed_and_stay_in_the_picture() -> None:
    first, second = (SampleFactory(5, size=192, streets=2, mobile_share=1.0) for _ in range(2))
    vehicles = 0
    for _ in range(12):
        sample, again = first.sample(), second.sample()
        np.testing.assert_array_equal(sample.image, again.image)
        np.testing.assert_array_equal(sample.boxes, again.boxes)
        assert sample.image.shape == (192, 192, 3)
        assert len(sample.boxes) == len(sample.labels) == len(sample.visible)
        assert (sample.boxes >= 0).all()
        assert (sample.boxes <= 192).all()
        assert (sample.boxes[:, 2:] > sample.boxes[:, :2]).all()
        vehicles += len(sample.labels)
    assert vehicles >= 12
    whole = first.street_sample()
    assert whole.image[-1].max() == 114  # a letterboxed frame


def test_average_precision_of_a_worked_example() -> None:
    def boxes(*lefts: float) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        rows = [(left, 0, left + 10, 10) for left in lefts]
        return np.array(rows, np.float32).reshape(-1, 4)

    result = PictureResult(
        boxes=boxes(0, 100, 20, 300),
        scores=np.array([0.9, 0.8, 0.7, 0.95], np.float32),
        labels=np.array([0, 0, 1, 0], np.int64),
        truth=boxes(0, 20, 40, 300),
        truth_labels=np.array([0, 0, 0, 0], np.int64),
        ignored=np.array([False, False, False, True]),
    )
    score = evaluate([result])
    # hit, miss, hit of three vehicles; the ignored one counts neither way
    assert score.average_precision == pytest.approx(1 / 3 + 1 / 3 * 2 / 3)
    assert score.recall == pytest.approx(2 / 3)
    assert score.precision == pytest.approx(2 / 3)
    assert score.label_accuracy == pytest.approx(1 / 2)
    assert score.vehicles == 3
