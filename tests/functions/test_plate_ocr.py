"""The plate function: what it reports, for which images, and what it needs."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from dataflow.errors import MissingDependencyError, ModelError
from dataflow.functions.base import Box, Detection, Function
from dataflow.functions.plate_ocr import PlateOcr, PlateOcrParams
from dataflow.functions.plate_ocr.function import crop_of, open_reader
from dataflow.functions.plate_ocr.locate import (
    Candidate,
    ClassicLocator,
    NetworkLocator,
    suppress,
)
from dataflow.functions.plate_ocr.network import open_network
from tests.functions.plates import car_picture, item_of, plate_picture

READERS = ("crnn", "rapidocr", "tesseract")
LOCATORS = ("network", "classic")


class ScriptedReader:
    """Answers what it is told to, and remembers the crops."""

    name = "scripted"

    def __init__(self, answers: Sequence[tuple[str, float]]) -> None:
        self.answers = list(answers)
        self.crops: list[NDArray[np.uint8]] = []
        self.calls = 0

    def read(self, images: Sequence[NDArray[np.uint8]]) -> list[tuple[str, float]]:
        self.calls += 1
        self.crops += images
        return [self.answers.pop(0) for _ in images]


class FixedLocator:
    def __init__(self, *candidates: Candidate) -> None:
        self._candidates = list(candidates)

    def locate(self, image: NDArray[np.uint8]) -> list[Candidate]:
        assert image.ndim == 3
        return self._candidates


def candidate(x: float, score: float) -> Candidate:
    return Candidate(box=Box(x=x, y=10, w=60, h=30), score=score)


@pytest.fixture(params=READERS)
def reading(request: pytest.FixtureRequest) -> PlateOcr:
    if request.param == "rapidocr":
        pytest.importorskip("rapidocr", reason="pip install 'videojam[rapidocr]'")
    return PlateOcr(PlateOcrParams(reader=request.param))


@pytest.mark.parametrize("text", ["KHX4729", "73TRAW"])
def test_a_plate_whose_box_is_given_is_read(reading: PlateOcr, text: str) -> None:
    scene, box = car_picture(plate_picture(text), np.random.default_rng(1))
    given = Detection(kind="plate", box=box, score=0.9)
    [[plate]] = reading.process([item_of(scene, given)])
    assert (plate.kind, plate.text, plate.box) == ("plate", text, box)
    assert 0 < plate.score <= 0.9


def test_light_characters_on_a_dark_plate_are_read(reading: PlateOcr) -> None:
    scene, box = car_picture(plate_picture("WKE5813", dark=True), np.random.default_rng(1))
    [[plate]] = reading.process([item_of(scene, Detection(kind="plate", box=box, score=1))])
    assert plate.text == "WKE5813"


@pytest.mark.parametrize("locator", LOCATORS)
def test_a_plate_is_found_and_read_in_a_crop_of_its_car(locator: str) -> None:
    function = PlateOcr(PlateOcrParams.model_validate({"reader": "crnn", "locator": locator}))
    rng = np.random.default_rng(2)
    scenes = [car_picture(plate_picture(text, height=48), rng) for text in ("KHX4729", "73TRAW")]
    found = function.process([item_of(scene) for scene, _ in scenes])
    assert [plates[0].text for plates in found] == ["KHX4729", "73TRAW"]
    for plates, (_, box) in zip(found, scenes, strict=True):
        assert plates[0].box.iou(box) > 0.4


@pytest.mark.parametrize("locator", LOCATORS)
def test_nothing_is_reported_where_there_is_no_plate(locator: str) -> None:
    function = PlateOcr(PlateOcrParams.model_validate({"reader": "crnn", "locator": locator}))
    car, _ = car_picture(None, np.random.default_rng(3))
    flat = np.full((240, 320, 3), 90, np.uint8)
    assert function.process([item_of(car), item_of(flat)]) == [[], []]


@pytest.mark.parametrize("locator", LOCATORS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 400), (400, 3), (11, 11), (40, 30), (2400, 3200)])
def test_images_of_any_size_pass(locator: str, shape: tuple[int, int]) -> None:
    function = PlateOcr(PlateOcrParams.model_validate({"reader": "crnn", "locator": locator}))
    pixels = np.random.default_rng(4).integers(0, 256, (*shape, 3), dtype=np.uint8)
    [plates] = function.process([item_of(pixels)])
    for plate in plates:
        assert plate.box.clipped(shape[1], shape[0]) == plate.box


@pytest.mark.parametrize("shape", [(1, 1), (2, 90), (90, 2), (7, 7), (1500, 3000)])
def test_readers_accept_crops_of_any_size_in_grey_and_colour(
    reading: PlateOcr, shape: tuple[int, int]
) -> None:
    rng = np.random.default_rng(5)
    grey = rng.integers(0, 256, shape, dtype=np.uint8)
    colour = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    for text, confidence in reading._reader.read([grey, colour]):
        assert text.isalnum() or not text
        assert 0 <= confidence <= 1


def test_locators_accept_grey_images() -> None:
    scene, box = car_picture(plate_picture("KHX4729", height=48), np.random.default_rng(6))
    grey = np.ascontiguousarray(scene[:, :, 1])
    for locator in (ClassicLocator(), NetworkLocator()):
        assert locator.locate(grey)[0].box.iou(box) > 0.3


def test_a_given_box_is_read_and_nothing_is_searched() -> None:
    reader = ScriptedReader([("abc 123", 0.5)])
    function = PlateOcr(
        PlateOcrParams(margin=0), reader=reader, locator=FixedLocator(candidate(0, 0.9))
    )
    box = Box(x=20, y=30, w=50, h=25)
    other = Detection(kind="vehicle", box=Box(x=0, y=0, w=90, h=90), score=1.0)
    item = item_of(
        np.zeros((100, 120, 3), np.uint8), other, Detection(kind="plate", box=box, score=0.8)
    )
    assert function.process([item]) == [
        [Detection(kind="plate", box=box, score=0.8 * 0.5, text="ABC123")]
    ]
    assert [crop.shape for crop in reader.crops] == [(25, 50, 3)]


def test_a_given_box_outside_the_image_is_dropped() -> None:
    reader = ScriptedReader([])
    function = PlateOcr(PlateOcrParams(), reader=reader, locator=FixedLocator())
    box = Box(x=500, y=500, w=50, h=25)
    item = item_of(np.zeros((100, 120, 3), np.uint8), Detection(kind="plate", box=box, score=0.8))
    assert function.process([item]) == [[]]


def test_the_best_product_of_place_and_reading_comes_first_up_to_the_limit() -> None:
    reader = ScriptedReader([("AAA111", 0.2), ("BBB222", 0.6), ("CCC333", 0.65)])
    places = (candidate(0, 0.9), candidate(100, 0.8), candidate(200, 0.7))
    function = PlateOcr(PlateOcrParams(max_plates=2), reader=reader, locator=FixedLocator(*places))
    [plates] = function.process([item_of(np.zeros((60, 300, 3), np.uint8))])
    assert [plate.text for plate in plates] == ["BBB222", "CCC333"]
    assert [plate.score for plate in plates] == pytest.approx([0.48, 0.455])


def test_rivals_are_not_read_once_the_reader_is_sure() -> None:
    reader = ScriptedReader([("AAA111", 0.95), ("BBB222", 0.1), ("CCC333", 0.9)])
    places = (candidate(0, 0.9), candidate(100, 0.8))
    function = PlateOcr(PlateOcrParams(), reader=reader, locator=FixedLocator(*places))
    blank = item_of(np.zeros((60, 300, 3), np.uint8))
    first, second = function.process([blank, blank])
    assert [plate.text for plate in first] == ["AAA111"]
    assert [plate.text for plate in second] == ["CCC333"]
    assert reader.calls == 2


def test_short_and_improbable_readings_are_not_reported() -> None:
    reader = ScriptedReader([("A1", 0.9), ("ABC123", 0.05), ("", 0.0)])
    places = (candidate(0, 0.9), candidate(100, 0.8), candidate(200, 0.7))
    function = PlateOcr(PlateOcrParams(max_plates=3), reader=reader, locator=FixedLocator(*places))
    assert function.process([item_of(np.zeros((60, 300, 3), np.uint8))]) == [[]]


def test_an_empty_batch_gives_an_empty_answer() -> None:
    function = PlateOcr(PlateOcrParams(), reader=ScriptedReader([]), locator=FixedLocator())
    assert function.process([]) == []


def test_it_is_a_function_with_forbidden_unknown_parameters() -> None:
    function = PlateOcr(PlateOcrParams(), reader=ScriptedReader([]), locator=FixedLocator())
    assert isinstance(function, Function)
    function.close()
    with pytest.raises(ValidationError, match="reeder"):
        PlateOcr.Params.model_validate({"reeder": "crnn"})


def test_overlapping_candidates_give_way_to_the_better() -> None:
    near = Candidate(box=Box(x=3, y=10, w=60, h=30), score=0.5)
    assert suppress([near, candidate(0, 0.9), candidate(100, 0.1)]) == [
        candidate(0, 0.9),
        candidate(100, 0.1),
    ]


def test_crops_stay_inside_the_image_and_are_never_empty() -> None:
    image = np.zeros((50, 80, 3), np.uint8)
    assert crop_of(image, Box(x=70, y=40, w=20, h=20), 0.1).shape[:2] == (12, 12)
    assert crop_of(image, Box(x=79.9, y=49.9, w=0.1, h=0.1), 0).shape[:2] == (1, 1)


def test_without_tesseract_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path_factory.mktemp("empty")))
    with pytest.raises(MissingDependencyError, match="apt-get install tesseract-ocr"):
        open_reader(PlateOcrParams(reader="tesseract"))


def test_without_rapidocr_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'videojam\[rapidocr\]'"):
        open_reader(PlateOcrParams(reader="rapidocr"))


def test_auto_takes_a_reader_that_is_there_and_says_which(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    monkeypatch.setenv("PATH", str(tmp_path_factory.mktemp("empty")))
    with caplog.at_level("INFO"):
        assert open_reader(PlateOcrParams()).name == "crnn"
    assert "crnn" in caplog.text


def test_a_network_that_is_missing_or_damaged_is_named(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("models")
    with pytest.raises(ModelError, match=r"absent\.onnx"):
        open_network(folder / "absent.onnx")
    broken = folder / "broken.onnx"
    broken.write_bytes(b"not a network")
    with pytest.raises(ModelError, match=r"broken\.onnx"):
        open_network(broken)
