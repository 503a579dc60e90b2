"""The function ``triton``: pictures in, detections out, on instances that a placement names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from dataflow.config import FunctionConfig
from dataflow.errors import ConfigError, ModelError
from dataflow.functions.base import Item
from dataflow.functions.registry import build_function, load_function
from dataflow.functions.yolo import Yolo, YoloParams
from dataflow.functions.yolo.networks import BUILTIN
from dataflow.transport.memory import MemoryTransport
from evaluation.scenes import StreetCamera
from roomie.control.instance_client import ClientSettings, InstanceClient
from roomie.functions.heads import PictureInput, head_for
from roomie.functions.params import TritonParams
from roomie.functions.triton import Triton
from roomie.triton.fake import PROGRAM, FakeTriton, Program
from roomie.triton.model_config import Tuning, read_config
from roomie.triton.onnx_model import add_onnx
from roomie.triton.repository import InstanceRepository
from roomie.triton.server import ModelDescription, Tensor, Tensors, TensorSpec
from tests.roomie.control.kit import Plant, placed

DATA = Path(os.environ.get("VIDEOJAM_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))


def described(
    dims: tuple[int, ...],
    output: tuple[int, ...],
    *,
    datatype: str = "FP32",
    batch: int = 8,
    parameters: dict[str, str] | None = None,
) -> ModelDescription:
    return ModelDescription(
        name="m",
        max_batch=batch,
        inputs=(TensorSpec(name="images", datatype=datatype, dims=dims),),
        outputs=(TensorSpec(name="found", datatype="FP32", dims=output),),
        parameters=parameters or {},
    )


def picture(width: int = 96, height: int = 64) -> NDArray[np.uint8]:
    image = np.zeros((height, width, 3), np.uint8)
    image[:, :, 0], image[:, :, 2] = 10, 200
    return image


def item(image: NDArray[np.uint8], sequence: int = 0) -> Item:
    return Item(
        camera="c",
        sequence=sequence,
        captured_at=0.0,
        data=cv2.imencode(".png", image)[1].tobytes(),
    )


@pytest.mark.parametrize(
    ("dims", "batch", "expected"),
    [
        ((3, 64, 96), 8, (2, 3, 64, 96)),
        ((64, 96, 3), 8, (2, 64, 96, 3)),
        ((1, 3, 64, 96), 0, (2, 3, 64, 96)),
        ((3, -1, -1), 8, (2, 3, 448, 640)),
    ],
)
@pytest.mark.parametrize("task", ["detect", "classify"])
def test_pictures_are_arranged_as_the_model_takes_them(
    task: str, dims: tuple[int, ...], batch: int, expected: tuple[int, ...]
) -> None:
    params = TritonParams.model_validate({"model": "m", "task": task})
    prepared = head_for(params, described(dims, (5, 9), batch=batch)).prepare([picture()] * 2)
    if task == "classify" and -1 in dims:
        expected = (2, 3, 640, 640)
    assert prepared.shape == expected
    assert prepared.dtype == np.float32
    assert prepared.max() <= 1.0


def test_colours_come_in_the_order_that_the_network_was_trained_with() -> None:
    params = TritonParams(model="m", task="classify")
    model = described((3, 64, 96), (5,))
    rgb = head_for(params, model).prepare([picture()])
    assert rgb[0, 0].mean() == pytest.approx(200 / 255)
    bgr = head_for(params.model_copy(update={"colors": "bgr"}), model).prepare([picture()])
    assert bgr[0, 0].mean() == pytest.approx(10 / 255)


def test_bytes_stay_bytes_and_are_normalised_only_if_asked() -> None:
    model = described((64, 96, 3), (5,), datatype="UINT8")
    prepared = head_for(TritonParams(model="m", task="classify"), model).prepare([picture()])
    assert prepared.dtype == np.uint8
    assert prepared[0, 0, 0].tolist() == [200, 0, 10]
    detected = head_for(TritonParams(model="m"), model).prepare([picture()])
    assert detected.dtype == np.uint8
    assert detected[0, 32, 48].tolist() == [200, 0, 10]


def test_mean_and_deviation_are_applied_after_scaling() -> None:
    params = TritonParams(
        model="m", task="classify", scale=1 / 255, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
    )
    prepared = head_for(params, described((3, 64, 96), (5,))).prepare([picture()])
    assert prepared[0, 0].mean() == pytest.approx((200 / 255 - 0.5) / 0.25)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (described((10,), (5,)), "no picture of three colours"),
        (described((3, 64, 96), (5,), datatype="INT64"), "no picture of three colours"),
        (described((4, 64, 96), (5,)), "no picture of three colours"),
        (
            ModelDescription(name="m", max_batch=1, inputs=(), outputs=(), parameters={}),
            "which input is meant",
        ),
    ],
)
def test_a_model_that_takes_no_pictures_is_refused(model: ModelDescription, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        head_for(TritonParams(model="m"), model)


def test_an_input_can_be_named_and_a_wrong_name_lists_the_right_ones() -> None:
    model = described((3, 64, 96), (5,))
    assert PictureInput.of(model, "images").size == (96, 64)
    with pytest.raises(ModelError, match="it has: images"):
        PictureInput.of(model, "imgs")


def test_an_output_of_no_known_layout_is_refused_with_its_shape() -> None:
    head = head_for(TritonParams(model="m"), described((3, 64, 96), (7, 7)))
    head.prepare([picture()])
    with pytest.raises(ModelError, match=r"m: output of shape \[1, 7, 7\]"):
        head.read({"found": np.zeros((1, 7, 7), np.float32)}, [picture()])


def test_a_classifier_gives_the_best_labels_for_the_whole_picture() -> None:
    params = TritonParams(model="m", task="classify", kind="colour", top=2, score_threshold=0.1)
    head = head_for(
        params, described((3, 64, 96), (3,), parameters={"names": "['red', 'green', 'blue']"})
    )
    found = head.read({"found": np.array([[2.0, 0.0, 1.0]], np.float32)}, [picture()])[0]
    assert [d.label for d in found] == ["red", "blue"]
    assert found[0].score == pytest.approx(np.exp(2) / (np.exp(2) + 1 + np.e))
    assert (found[0].kind, found[0].box.w, found[0].box.h) == ("colour", 96, 64)


def test_probabilities_are_not_activated_again_and_weak_ones_left_out() -> None:
    params = TritonParams(model="m", task="classify", top=3, score_threshold=0.25)
    head = head_for(params, described((3, 64, 96), (3,)))
    found = head.read({"found": np.array([[0.7, 0.2, 0.1]], np.float32)}, [picture()])[0]
    assert [(d.label, round(d.score, 3)) for d in found] == [("0", 0.7)]


def test_outputs_that_are_neither_fit_the_number_of_names() -> None:
    params = TritonParams(model="m", task="classify")
    head = head_for(params, described((3, 64, 96), (3,), parameters={"names": "['one']"}))
    with pytest.raises(ModelError, match="3 classes"):
        head.read({"found": np.zeros((1, 3), np.float32)}, [picture()])


@pytest.mark.parametrize(
    "wrong", [{}, {"model": ""}, {"model": "m", "std": [0, 1, 1]}, {"model": "m", "modle": 1}]
)
def test_wrong_parameters_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TritonParams.model_validate(wrong)


def test_outside_of_a_deployment_it_says_what_is_missing() -> None:
    config = FunctionConfig(plugin="triton", parameters={"model": "m"})
    with pytest.raises(ConfigError, match="videojam worker"):
        build_function("find", config)
    assert load_function("triton") is Triton


def onnx_program() -> Program:
    """Runs the network that ships, as a server would."""
    session = onnxruntime.InferenceSession(str(BUILTIN), providers=["CPUExecutionProvider"])

    def run(inputs: Tensors) -> dict[str, Tensor]:
        return dict(zip(["candidates"], session.run(None, dict(inputs)), strict=True))

    return run


@pytest.fixture
def function(tmp_path: Path) -> Iterator[tuple[Triton, FakeTriton]]:
    """The network that ships, on a fake server, as a function."""
    sources, folder = tmp_path / "models", tmp_path / "instances"
    add_onnx(BUILTIN, sources, "m", max_batch=4)
    with (sources / "m" / "config.pbtxt").open("a") as config:
        config.write(f'parameters {{ key: "{PROGRAM}" value {{ string_value: "onnx" }} }}\n')
    folder.mkdir()
    server = FakeTriton(folder, {"onnx": onnx_program()})
    repository = InstanceRepository(sources, folder)
    for name in ("m.1", "m.2"):
        server.load(name, repository.write(name, "m", Tuning(version=1, batch=2)), timeout=30)
    with MemoryTransport() as transport:
        plant = Plant(transport)
        plant.place("m", [placed(n, "w", batch=2, ready_at="w:1") for n in ("m.1", "m.2")])
        client = InstanceClient(
            "m", transport, plant.names, settings=ClientSettings(wait=20), connect=lambda _: server
        )
        found = Triton(TritonParams(model="m", input_size=320), client)
        yield found, server
        found.close()
        plant.close()


def test_it_finds_what_the_function_yolo_finds(function: tuple[Triton, FakeTriton]) -> None:
    triton, server = function
    camera = StreetCamera("mobile", seed=4711, fps=2.0)
    items = [item(camera.frame(number)[0], number) for number in range(3)]
    local = Yolo(YoloParams(input_size=320, classes=("car", "van", "truck", "bus")))
    expected = local.process(items)
    found = triton.process(items)
    assert [[(d.label, d.kind) for d in one] for one in found] == [
        [(d.label, d.kind) for d in one] for one in expected
    ]
    for ours, theirs in zip(found, expected, strict=True):
        for mine, other in zip(ours, theirs, strict=True):
            assert mine.box.iou(other.box) > 0.98
    assert any(expected), "there is something to find"
    assert {n: s.items for n, s in server.statistics().items()}.keys() == {"m.1", "m.2"}
    assert sum(s.items for s in server.statistics().values()) == 3


@pytest.mark.shared_data
def test_a_real_detector_finds_in_a_real_video_what_the_function_yolo_finds(
    tmp_path: Path,
) -> None:
    network, video = DATA / "models" / "fastestdet-coco-352.onnx", DATA / "video" / "highway.avi"
    for file in (network, video):
        if not file.is_file():
            pytest.skip(f"SHARED DATA ABSENT: {file} does not exist; set VIDEOJAM_SHARED_DATA")
    add_onnx(network, tmp_path, "m")
    config = read_config(tmp_path / "m" / "config.pbtxt")
    assert config is not None
    model = described(
        tuple(config.input[0].dims), tuple(config.output[0].dims), batch=config.max_batch_size
    )
    head = head_for(TritonParams(model="m", classes=("car", "truck", "bus")), model)
    session = onnxruntime.InferenceSession(str(network), providers=["CPUExecutionProvider"])
    local = Yolo(YoloParams(model=str(network), classes=("car", "truck", "bus")))
    capture = cv2.VideoCapture(str(video))
    seen = 0
    for number in range(0, 200, 50):
        capture.set(cv2.CAP_PROP_POS_FRAMES, number)
        frame = np.asarray(capture.read()[1], np.uint8)
        output = session.run(None, {session.get_inputs()[0].name: head.prepare([frame])})[0]
        (found,) = head.read({"found": output}, [frame])
        (expected,) = local.process([item(frame, number)])
        assert [d.label for d in found] == [d.label for d in expected]
        assert [d.score for d in found] == pytest.approx([d.score for d in expected], abs=1e-4)
        seen += len(found)
    assert seen >= 4
