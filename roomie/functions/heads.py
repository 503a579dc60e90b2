"""Pictures into a model's input, and detections out of its output. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from dataflow.errors import ModelError
from dataflow.functions.base import Box, Detection
from dataflow.functions.yolo import layouts, names
from dataflow.functions.yolo.layouts import BUILTIN_MARK, Layout
from dataflow.functions.yolo.letterbox import Letterbox, rectangle_for
from dataflow.functions.yolo.pictures import Image, OutputReader, to_inputs
from roomie.functions.params import TritonParams
from roomie.triton.server import ModelDescription, Tensor, TensorSpec

Floats = NDArray[np.float32]


class Head(Protocol):
    """What a task makes of pictures and of outputs."""

    input: str
    """Name of the input."""
    outputs: tuple[str, ...]
    """Names of the outputs that are read."""

    def prepare(self, images: Sequence[Image]) -> Tensor:
        """The input for some pictures, with a batch axis.

        Args:
            images: uint8 [h, w, 3], BGR; at least one.
        """
        ...

    def read(self, outputs: Mapping[str, Tensor], images: Sequence[Image]) -> list[list[Detection]]:
        """What was found in each of the pictures that were prepared last.

        Raises:
            ModelError: the output is none of the task's.
        """
        ...


def head_for(params: TritonParams, model: ModelDescription) -> Head:
    """The head of a task.

    Raises:
        ModelError: the model takes no pictures, or gives nothing that the task could read.
    """
    return Detector(params, model) if params.task == "detect" else Classifier(params, model)


@dataclass(frozen=True, kw_only=True)
class PictureInput:
    """An input that takes pictures.

    Attributes:
        name: of the input.
        dtype: NumPy's name of its type.
        planes: whether the colours come first ([3, h, w]), else last ([h, w, 3]).
        size: width and height; None where the model leaves them open.
    """

    name: str
    dtype: str
    planes: bool
    size: tuple[int, int] | None

    @classmethod
    def of(cls, model: ModelDescription, wanted: str | None) -> PictureInput:
        """Find it in a model.

        Raises:
            ModelError: there is none.
        """
        spec = _tensor(model, "input", model.inputs, wanted)
        dims = spec.dims if model.max_batch or len(spec.dims) != 4 else spec.dims[1:]
        dtype = {"FP32": "float32", "FP16": "float16", "UINT8": "uint8"}.get(spec.datatype)
        if dtype is None or len(dims) != 3 or 3 not in {dims[0], dims[2]}:
            raise ModelError(
                f"{model.name}: its input {spec.name} is {spec.datatype} {list(spec.dims)}, "
                "no picture of three colours\n"
                "  remedy: name the input that takes pictures with the parameter `input`, or "
                "export the model with [3, h, w] or [h, w, 3] of FP32, FP16 or UINT8"
            )
        planes = dims[0] == 3
        height, width = dims[1:] if planes else dims[:2]
        size = (width, height) if width > 0 and height > 0 else None
        return cls(name=spec.name, dtype=dtype, planes=planes, size=size)

    def arranged(self, planes: Floats) -> Tensor:
        """Planes, float32 [n, 3, h, w], as the model takes them."""
        turned = planes if self.planes else planes.transpose(0, 2, 3, 1)
        if self.dtype == "uint8":
            return np.ascontiguousarray(np.clip(np.rint(turned), 0, 255).astype(np.uint8))
        return np.ascontiguousarray(turned.astype(self.dtype))


def _tensor(
    model: ModelDescription, kind: str, specs: Sequence[TensorSpec], wanted: str | None
) -> TensorSpec:
    """The tensor of that name, or the only one.

    Raises:
        ModelError: there is none, or it is not clear which.
    """
    found = [spec for spec in specs if wanted in {None, spec.name}]
    if len(found) != 1:
        have = ", ".join(spec.name for spec in specs) or "none"
        raise ModelError(
            f"{model.name}: which {kind} is meant is not clear; it has: {have}\n"
            f"  remedy: name one with the parameter `{kind}`"
        )
    return found[0]


class Detector:
    """Detections of a YOLO-like network; see docs/detector.md for the layouts.

    Args:
        params: of the function.
        model: what it takes and gives.

    Raises:
        ModelError: see `head_for`.
    """

    def __init__(self, params: TritonParams, model: ModelDescription) -> None:
        self._params = params
        self._model = model
        self._picture = PictureInput.of(model, params.input)
        self.input = self._picture.name
        self.outputs: tuple[str, ...] = (
            _tensor(model, "output", model.outputs, params.output).name,
        )
        self._layout: Layout | None = None if params.layout == "auto" else params.layout
        self._letterboxes: list[Letterbox] = []
        self._reader: OutputReader | None = None

    def prepare(self, images: Sequence[Image]) -> Tensor:
        """See `Head`."""
        sizes = [(image.shape[1], image.shape[0]) for image in images]
        target = self._picture.size or rectangle_for(sizes, self._params.input_size)
        inputs, self._letterboxes = to_inputs(images, target, rgb=self._is_rgb())
        planes = np.concatenate(inputs)
        # Whole numbers are bytes of the picture; others are what networks are trained with.
        return self._picture.arranged(planes * 255 if self._picture.dtype == "uint8" else planes)

    def read(self, outputs: Mapping[str, Tensor], images: Sequence[Image]) -> list[list[Detection]]:
        """See `Head`."""
        output = np.asarray(outputs[self.outputs[0]], np.float32)
        if not self._model.max_batch and output.ndim > 3 and output.shape[1] == 1:
            output = output[:, 0]  # a model without a batch axis may have one of its own
        reader = self._reader_for(output)
        wanted = None if self._params.classes is None else frozenset(self._params.classes)
        return [
            [
                Detection(kind=self._params.kind, label=label, box=box, score=score)
                for label, score, box in reader.read(
                    single, letterbox, (image.shape[1], image.shape[0])
                )
                if wanted is None or label in wanted
            ]
            for single, letterbox, image in zip(output, self._letterboxes, images, strict=True)
        ]

    def _is_rgb(self) -> bool:
        if self._params.colors != "auto":
            return self._params.colors == "rgb"
        # FastestDet was trained on OpenCV's order of colours, all others on RGB; without a layout
        # declared, the grid of its output tells it.
        layout = self._layout
        if layout is None:
            spec = next(spec for spec in self._model.outputs if spec.name == self.outputs[0])
            return len(spec.dims) - (0 if self._model.max_batch else 1) != 3
        return layout != "fastestdet"

    def _reader_for(self, output: Floats) -> OutputReader:
        if self._reader is None:
            size = (self._letterboxes[0].width, self._letterboxes[0].height)
            mark = self._model.parameters.get("layout")
            shape = (1, *output.shape[1:])
            try:
                layout = self._layout or layouts.recognise(shape, size, mark or BUILTIN_MARK)
                count = layouts.class_count(layout, shape)
            except ModelError as error:
                raise ModelError(f"{self._model.name}: {error}") from error
            known = names.choose(
                count,
                self._params.names,
                self._model.parameters.get("names"),
                origin=self._model.name,
            )
            self._reader = OutputReader(
                layout=layout,
                names=known,
                score_threshold=self._params.score_threshold,
                iou_threshold=self._params.iou_threshold,
            )
        return self._reader


class Classifier:
    """The classes of whole pictures, best first.

    Args:
        params: of the function.
        model: what it takes and gives.

    Raises:
        ModelError: see `head_for`.
    """

    def __init__(self, params: TritonParams, model: ModelDescription) -> None:
        self._params = params
        self._model = model
        self._picture = PictureInput.of(model, params.input)
        self.input = self._picture.name
        self.outputs: tuple[str, ...] = (
            _tensor(model, "output", model.outputs, params.output).name,
        )
        self._names: tuple[str, ...] | None = None

    def prepare(self, images: Sequence[Image]) -> Tensor:
        """See `Head`: scaled to the input's size, then (value * scale - mean) / std."""
        side = self._params.input_size
        size = self._picture.size or (side, side)
        swap = self._params.colors != "bgr"
        scale = self._params.scale
        if scale is None:
            scale = 1.0 if self._picture.dtype == "uint8" else 1 / 255.0
        planes = np.asarray(
            cv2.dnn.blobFromImages(list(images), scale, size, swapRB=swap), np.float32
        )
        mean = np.asarray(self._params.mean, np.float32).reshape(1, 3, 1, 1)
        std = np.asarray(self._params.std, np.float32).reshape(1, 3, 1, 1)
        return self._picture.arranged((planes - mean) / std)

    def read(self, outputs: Mapping[str, Tensor], images: Sequence[Image]) -> list[list[Detection]]:
        """See `Head`."""
        scores = np.asarray(outputs[self.outputs[0]], np.float32).reshape(len(images), -1)
        known = self._known(scores.shape[1])
        if self._params.activation == "softmax" or (
            self._params.activation == "auto" and not _probabilities(scores)
        ):
            scores = _softmax(scores)
        return [self._best(row, known, image) for row, image in zip(scores, images, strict=True)]

    def _best(self, row: Floats, known: Sequence[str], image: Image) -> list[Detection]:
        height, width = image.shape[:2]
        order = np.argsort(-row, kind="stable")[: self._params.top]
        return [
            Detection(
                kind=self._params.kind,
                label=known[index],
                box=Box(x=0.0, y=0.0, w=float(width), h=float(height)),
                score=min(max(float(row[index]), 0.0), 1.0),
            )
            for index in order.tolist()
            if row[index] >= self._params.score_threshold
            and (self._params.classes is None or known[index] in self._params.classes)
        ]

    def _known(self, count: int) -> tuple[str, ...]:
        if self._names is None:
            stored = self._model.parameters.get("names")
            if self._params.names is None and stored is None:
                self._names = tuple(map(str, range(count)))
            else:
                self._names = names.choose(
                    count, self._params.names, stored, origin=self._model.name
                )
        return self._names


def _probabilities(scores: Floats) -> bool:
    return bool((scores >= 0).all() and np.allclose(scores.sum(axis=1), 1.0, atol=1e-3))


def _softmax(scores: Floats) -> Floats:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)
