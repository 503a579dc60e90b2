from __future__ import annotations

import os
from importlib.metadata import entry_points
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from dataflow.errors import ImageError, MissingDependencyError, ModelError
from dataflow.functions.base import Box, Detection, Function, Item
from dataflow.functions.yolo import Yolo, YoloParams, layouts, names
from dataflow.functions.yolo.letterbox import Letterbox, rectangle_for
from dataflow.functions.yolo.networks import BUILTIN
from evaluation.scenes import StreetCamera

SIZE = (416, 416)
CELLS = 52 * 52 + 26 * 26 + 13 * 13
SHARED = Path(
    os.environ.get("VIDEOJAM_SHARED_DATA", Path(__file__).parents[2].parent / "shared" / "data")
)


def item(image: NDArray[np.uint8], sequence: int = 0) -> Item:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
    return Item(camera="test", sequence=sequence, captured_at=0.0, data=data)


def matched(truth: Box, found: list[Detection]) -> bool:
    return any(truth.iou(detection.box) >= 0.5 for detection in found)


@pytest.mark.parametrize("input_size", [416, 640])
def test_builtin_network_finds_the_vehicles_of_a_dash_camera(input_size: int) -> None:
    yolo = Yolo(YoloParams(input_size=input_size, score_threshold=0.5))
    camera = StreetCamera("mobile", seed=4711, fps=2.0)
    wanted = found = reported = right = 0
    for index in range(0, 24, 3):
        image, truth = camera.frame(index)
        detections = list(yolo.process([item(image, index)])[0])
        clear = [v.box for v in truth.vehicles if v.visible > 0.5 and v.box.w > 40]
        wanted += len(clear)
        found += sum(matched(box, detections) for box in clear)
        reported += len(detections)
        right += sum(
            any(v.box.iou(detection.box) >= 0.5 for v in truth.vehicles) for detection in detections
        )
    assert wanted >= 16
    assert found >= 0.85 * wanted
    assert right >= 0.75 * reported
    yolo.close()


def test_builtin_network_gives_the_same_alone_and_in_a_batch() -> None:
    yolo = Yolo(YoloParams(input_size=416))
    camera = StreetCamera("mobile", seed=5, fps=1.0)
    items = [item(camera.frame(index)[0], index) for index in range(3)]
    together = yolo.process(items)
    alone = [yolo.process([one])[0] for one in items]
    for first, second in zip(together, alone, strict=True):
        assert [d.label for d in first] == [d.label for d in second]
        np.testing.assert_allclose([d.score for d in first], [d.score for d in second], atol=1e-3)
    assert yolo.process([]) == []


def test_pictures_of_different_shapes_share_a_batch() -> None:
    yolo = Yolo(YoloParams(input_size=416))
    image = StreetCamera("mobile", seed=4711, fps=2.0).frame(0)[0]
    portrait = np.ascontiguousarray(image[:, 300:700])
    wide, tall = yolo.process([item(image), item(portrait)])
    assert wide
    for detection in tall:
        assert 0 <= detection.box.x <= detection.box.x + detection.box.w <= 400.01


def test_detections_are_vehicles_inside_the_picture_best_first() -> None:
    yolo = Yolo(YoloParams(input_size=416, classes=("car",)))
    assert isinstance(yolo, Function)
    camera = StreetCamera("mobile", seed=4711, fps=2.0)
    detections = [d for k in range(6) for d in yolo.process([item(camera.frame(k)[0])])[0]]
    assert detections
    assert {(d.kind, d.label) for d in detections} == {("vehicle", "car")}
    for detection in detections:
        box = detection.box
        assert box.x >= 0
        assert box.y >= 0
        assert box.x + box.w <= 1280
        assert box.y + box.h <= 720
        assert 0.4 <= detection.score <= 1
    scores = [d.score for d in yolo.process([item(camera.frame(0)[0])])[0]]
    assert scores == sorted(scores, reverse=True)


def test_nothing_is_found_where_there_is_nothing() -> None:
    yolo = Yolo(YoloParams(input_size=416))
    grey = np.full((720, 1280, 3), 128, np.uint8)
    assert list(yolo.process([item(grey)])[0]) == []


def test_bytes_that_are_no_image_are_refused_with_a_reason() -> None:
    yolo = Yolo(YoloParams(input_size=416))
    with pytest.raises(ImageError):
        yolo.process([Item(camera="c", sequence=0, captured_at=0.0, data=b"not a picture")])


def test_it_is_registered_as_a_plugin() -> None:
    (entry,) = entry_points(group="videojam.functions", name="yolo")
    assert entry.load() is Yolo


def test_builtin_layout_has_one_score_for_a_vehicle() -> None:
    output = np.zeros((CELLS, 9), np.float32)
    output[7] = [100, 200, 40, 20, 0.8, 0.2, 0.5, 0.2, 0.1]
    found = layouts.decode("builtin", output, SIZE, 0.5)
    np.testing.assert_allclose(found.boxes, [[80, 190, 40, 20]])
    np.testing.assert_allclose(found.scores, [0.8])
    assert found.classes.tolist() == [1]


def test_yolov8_layout() -> None:
    output = np.zeros((84, CELLS), np.float32)
    output[:4, 11] = [100, 200, 40, 20]
    output[4 + 7, 11] = 0.9
    output[4 + 2, 12] = 0.3
    found = layouts.decode("yolov8", output, SIZE, 0.5)
    np.testing.assert_allclose(found.boxes, [[80, 190, 40, 20]])
    np.testing.assert_allclose(found.scores, [0.9])
    assert found.classes.tolist() == [7]


def test_yolov5_layout_multiplies_objectness_and_class() -> None:
    output = np.zeros((3 * CELLS, 85), np.float32)
    output[5, :5] = [50, 60, 10, 30, 0.5]
    output[5, 5 + 2] = 0.8
    found = layouts.decode("yolov5", output, SIZE, 0.3)
    np.testing.assert_allclose(found.boxes, [[45, 45, 10, 30]])
    np.testing.assert_allclose(found.scores, [0.4])
    assert found.classes.tolist() == [2]


def test_fastestdet_layout() -> None:
    output = np.zeros((85, 22, 22), np.float32)
    output[0, 3, 5] = 0.81
    output[1:5, 3, 5] = [np.arctanh(0.5), np.arctanh(-0.25), 0.0, np.log(3.0)]
    output[5 + 2, 3, 5] = 0.64
    found = layouts.decode("fastestdet", output, (352, 352), 0.5)
    # centre ((5 + 0.5) * 16, (3 - 0.25) * 16), width 352 / 2, height 352 * 3 / 4
    np.testing.assert_allclose(found.boxes, [[88 - 88, 44 - 132, 176, 264]], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(found.scores, [0.81**0.6 * 0.64**0.4], rtol=1e-5)
    assert found.classes.tolist() == [2]


@pytest.mark.parametrize(
    ("shape", "size", "mark", "expected"),
    [
        ((1, CELLS, 9), SIZE, layouts.BUILTIN_MARK, "builtin"),
        ((1, 84, CELLS), SIZE, None, "yolov8"),
        ((1, 84, 8400), (640, 640), None, "yolov8"),
        ((1, 25200, 85), (640, 640), None, "yolov5"),
        ((1, 85, 22, 22), (352, 352), None, "fastestdet"),
    ],
)
def test_layouts_are_recognised_by_shape(
    shape: tuple[int, ...], size: tuple[int, int], mark: str | None, expected: str
) -> None:
    assert layouts.recognise(shape, size, mark) == expected


@pytest.mark.parametrize(
    "shape",
    [(1, 300, 6), (1, 1000), (1, 85, 22, 21), (1, 84, 8400), (1, 4, CELLS), (1, 3, 9, 9, 9)],
)
def test_unknown_shapes_are_refused_with_the_remedy(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="remedy"):
        layouts.recognise(shape, SIZE, None)


def test_suppression_respects_classes_only_when_told() -> None:
    candidates = layouts.Candidates(
        boxes=np.array([[0, 0, 10, 10], [1, 0, 10, 10], [50, 50, 10, 10]], np.float32),
        scores=np.array([0.6, 0.9, 0.7], np.float32),
        classes=np.array([0, 1, 0], np.int64),
    )

    def kept(*, by_class: bool) -> list[float]:
        result = layouts.suppress(
            candidates, score_threshold=0.5, iou_threshold=0.5, by_class=by_class
        )
        return [round(float(score), 3) for score in result.scores]

    assert kept(by_class=True) == pytest.approx([0.9, 0.7, 0.6])
    assert kept(by_class=False) == pytest.approx([0.9, 0.7])


@given(
    width=st.integers(16, 4000),
    height=st.integers(16, 4000),
    side=st.sampled_from([320, 352, 416, 640]),
    where=st.tuples(*[st.floats(0, 1)] * 4),
)
def test_letterbox_returns_boxes_to_where_they_were(
    width: int, height: int, side: int, where: tuple[float, float, float, float]
) -> None:
    box = Box(x=where[0] * width, y=where[1] * height, w=where[2] * width, h=where[3] * height)
    for target in (rectangle_for([(width, height)], side), (side, side)):
        assert target[0] % 32 == target[1] % 32 == 0
        letterbox = Letterbox.fit((width, height), target)
        there = letterbox.to_input(box)
        back = letterbox.to_picture(there.x, there.y, there.w, there.h)
        for value, expected in zip(
            (back.x, back.y, back.w, back.h), (box.x, box.y, box.w, box.h), strict=True
        ):
            assert value == pytest.approx(expected, abs=1e-3)


def test_letterbox_puts_the_picture_where_it_says() -> None:
    image = np.zeros((90, 160, 3), np.uint8)
    image[30:60, 40:80] = 255
    letterbox = Letterbox.fit((160, 90), (320, 320))
    canvas = letterbox.apply(image)
    rows, columns = np.where(canvas[..., 0] > 200)
    box = letterbox.to_picture(
        float(columns.min()),
        float(rows.min()),
        float(np.ptp(columns) + 1),
        float(np.ptp(rows) + 1),
    )
    assert (box.x, box.y, box.w, box.h) == pytest.approx((40, 30, 40, 30), abs=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{0: 'car', 1: 'motorbike'}", ("car", "motorcycle")),
        ('{"1": "bus", "0": "car", "10": "van"}', ("car", "bus", "van")),
        ("['car', 'bus']", ("car", "bus")),
        ("__import__('os')", None),
        ("{0: 1}", None),
        ("{'a': 'car'}", None),
        ("", None),
    ],
)
def test_names_in_metadata(text: str, expected: tuple[str, ...] | None) -> None:
    assert names.parse_names(text) == expected


def test_coco_has_its_80_names() -> None:
    assert len(names.COCO) == len(set(names.COCO)) == 80
    assert [names.COCO[k] for k in (0, 2, 3, 5, 7, 79)] == [
        "person",
        "car",
        "motorcycle",
        "bus",
        "truck",
        "toothbrush",
    ]


def test_a_missing_network_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.onnx(.|\n)*remedy"):
        Yolo(YoloParams(model=str(tmp_path / "nowhere.onnx")))


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x07" * 500])
def test_a_corrupt_network_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "corrupt.onnx"
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"corrupt\.onnx(.|\n)*remedy"):
        Yolo(YoloParams(model=str(file)))


def test_a_truncated_network_is_named(tmp_path: Path) -> None:
    file = tmp_path / "half.onnx"
    content = BUILTIN.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=r"half\.onnx(.|\n)*remedy"):
        Yolo(YoloParams(model=str(file)))


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    file = tmp_path / "weights.h5"
    file.write_bytes(b"x")
    with pytest.raises(ModelError, match=r"weights\.h5(.|\n)*remedy"):
        Yolo(YoloParams(model=str(file)))


def test_the_wrong_layout_is_refused() -> None:
    with pytest.raises(ModelError, match="fastestdet"):
        Yolo(YoloParams(layout="fastestdet", input_size=416))


def test_names_that_do_not_fit_the_network_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("car\nbus\n")
    with pytest.raises(ModelError, match=r"4 classes(.|\n)*names\.txt names 2"):
        Yolo(YoloParams(names=file, input_size=416))
    file.write_text("\n")
    with pytest.raises(ModelError, match="empty"):
        Yolo(YoloParams(names=file, input_size=416))
    with pytest.raises(ModelError, match="absent"):
        Yolo(YoloParams(names=tmp_path / "absent.txt", input_size=416))


def test_classes_that_the_network_does_not_know_are_refused() -> None:
    with pytest.raises(ModelError, match="zebra"):
        Yolo(YoloParams(classes=("zebra",), input_size=416))


def test_a_checkpoint_needs_ultralytics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "yolo11n.pt"
    file.write_bytes(b"x")
    monkeypatch.setitem(__import__("sys").modules, "ultralytics", None)
    with pytest.raises(MissingDependencyError, match=r"videojam\[yolo\]"):
        Yolo(YoloParams(model=str(file)))


@pytest.mark.parametrize(
    "wrong", [{"input_size": 400}, {"score_threshold": 0.0}, {"classes": ()}, {"colour": "red"}]
)
def test_wrong_parameters_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        YoloParams.model_validate(wrong)


@pytest.mark.shared_data
def test_fastestdet_finds_the_cars_on_a_real_motorway() -> None:
    model = SHARED / "models" / "fastestdet-coco-352.onnx"
    video = SHARED / "video" / "highway.avi"
    if not model.exists() or not video.exists():
        pytest.skip(f"SHARED DATA ABSENT: {model} or {video} does not exist")
    capture = cv2.VideoCapture(str(video))
    capture.set(cv2.CAP_PROP_POS_FRAMES, 300)
    read, frame = capture.read()
    capture.release()
    assert read
    yolo = Yolo(YoloParams(model=str(model), names=SHARED / "models" / "coco.names"))
    found = list(yolo.process([item(np.asarray(frame, np.uint8))])[0])
    for seen_by_a_person in (Box(x=29, y=98, w=34, h=27), Box(x=188, y=141, w=39, h=34)):
        assert matched(seen_by_a_person, found)
