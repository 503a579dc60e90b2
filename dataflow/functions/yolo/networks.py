"""Networks that find objects: ONNX files by ONNX Runtime, checkpoints by Ultralytics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from dataflow.errors import MissingDependencyError, ModelError
from dataflow.functions.base import Box
from dataflow.functions.yolo import layouts, names
from dataflow.functions.yolo.layouts import Layout
from dataflow.functions.yolo.letterbox import rectangle_for
from dataflow.functions.yolo.pictures import Found, Image, OutputReader, to_inputs

BUILTIN = Path(__file__).parent.parent / "models" / "vehicle-detector.onnx"
"""The network that ships with the package; see docs/detector.md."""


class Network(Protocol):
    """What the function needs of a network."""

    names: tuple[str, ...]

    def find(self, images: Sequence[Image]) -> list[list[Found]]:
        """Objects in each picture, best first."""
        ...


class OnnxNetwork:
    """An ONNX detector on the processor.

    Args:
        path: the file.
        input_size: longer side of the input, where the network leaves it open.
        score_threshold: least score.
        iou_threshold: for non-maximum suppression.
        threads: of ONNX Runtime.
        layout: of the output; None finds out.
        names_file: class names; None takes the network's metadata, or COCO's for 80 classes.

    Raises:
        ModelError: the file is missing, corrupt, or nothing that we can decode.
    """

    def __init__(
        self,
        path: Path,
        *,
        input_size: int,
        score_threshold: float,
        iou_threshold: float,
        threads: int,
        layout: Layout | None,
        names_file: Path | None,
    ) -> None:
        self._path = path
        self._session = _open(path, threads)
        batch, height, width = self._input_axes()
        self._batched = batch is None
        self._fixed = None if height is None or width is None else (width, height)
        self._side = input_size
        trial = self._run(np.zeros((1, 3, *self._trial_size()[::-1]), np.float32))
        metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        try:
            size = self._trial_size()
            self._layout = layout or layouts.recognise(trial.shape, size, metadata.get("layout"))
            count = layouts.class_count(self._layout, trial.shape)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error
        self.names = names.choose(count, names_file, metadata.get("names"), origin=str(path))
        self._reader = OutputReader(
            layout=self._layout,
            names=self.names,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
        )
        # FastestDet was trained on OpenCV's order of colours, all others on RGB
        self._rgb = self._layout != "fastestdet"

    def _input_axes(self) -> tuple[int | None, int | None, int | None]:
        """Batch, height and width of the input, None where the network leaves them open."""
        inputs = self._session.get_inputs()
        shape = list(inputs[0].shape)
        if (
            len(inputs) != 1
            or len(shape) != 4
            or shape[1] != 3
            or inputs[0].type != "tensor(float)"
        ):
            described = ", ".join(f"{entry.name} {entry.type} {entry.shape}" for entry in inputs)
            raise ModelError(
                f"{self._path}: its input is {described}, not one float picture [n, 3, h, w]\n"
                "  remedy: export the detector in float32 with a single picture input"
            )
        batch, height, width = (
            side if isinstance(side, int) and side > 0 else None
            for side in (shape[0], shape[2], shape[3])
        )
        if batch not in {None, 1}:
            raise ModelError(
                f"{self._path}: it takes exactly {batch} pictures at a time\n"
                "  remedy: export it with a batch of 1 or with an open batch axis"
            )
        return batch, height, width

    def _trial_size(self) -> tuple[int, int]:
        return self._fixed or (self._side, self._side)

    def _run(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        feed = {self._session.get_inputs()[0].name: pictures}
        try:
            output = self._session.run(None, feed)[0]
        except Exception as error:  # ONNX Runtime's exceptions have no public common base
            raise ModelError(
                f"{self._path}: it cannot process an input of {pictures.shape[3]}x"
                f"{pictures.shape[2]} ({error})\n"
                "  remedy: set `input_size` to the size it was exported for"
            ) from error
        return np.asarray(output, np.float32)

    def find(self, images: Sequence[Image]) -> list[list[Found]]:
        """Objects in each picture, best first."""
        if not images:
            return []
        sizes = [(image.shape[1], image.shape[0]) for image in images]
        target = self._fixed or rectangle_for(sizes, self._side)
        blobs, boxes = to_inputs(images, target, rgb=self._rgb)
        if self._batched:
            outputs = list(self._run(np.concatenate(blobs)))
        else:
            outputs = [self._run(blob)[0] for blob in blobs]
        return [
            self._reader.read(output, box, size)
            for output, box, size in zip(outputs, boxes, sizes, strict=True)
        ]


def _open(path: Path, threads: int) -> Any:  # ONNX Runtime has no types
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's exceptions have no public common base
        raise ModelError(
            f"{path} is no ONNX network that can be loaded ({error})\n"
            "  remedy: check that the file is complete, or export it again"
        ) from error


class CheckpointNetwork:
    """A ``.pt`` checkpoint, run by Ultralytics (AGPL-3.0, extra ``yolo``).

    Args:
        path: the file.
        input_size: side of the input.
        score_threshold: least score.
        iou_threshold: for non-maximum suppression.
        threads: of torch.

    Raises:
        MissingDependencyError: Ultralytics is not installed.
        ModelError: the file cannot be loaded.
    """

    def __init__(
        self,
        path: Path,
        *,
        input_size: int,
        score_threshold: float,
        iou_threshold: float,
        threads: int,
    ) -> None:
        try:
            import torch  # noqa: PLC0415 - heavy and optional
            from ultralytics import YOLO  # noqa: PLC0415 - heavy and optional
        except ImportError as error:
            raise MissingDependencyError(
                f"{path} is a checkpoint and needs Ultralytics, which is not installed\n"
                "  remedy: pip install 'videojam[yolo]', or export it to ONNX: "
                "yolo export format=onnx nms=False"
            ) from error
        torch.set_num_threads(threads)
        self._options = {"imgsz": input_size, "conf": score_threshold, "iou": iou_threshold}
        try:
            self._model = YOLO(str(path))
            stored: dict[int, str] = dict(self._model.names)
        except Exception as error:  # unpickling may raise anything
            raise ModelError(
                f"{path} is no checkpoint that Ultralytics can load ({error})\n"
                "  remedy: check that the file is complete and comes from YOLOv5u, v8 or 11"
            ) from error
        self.names = tuple(names.canonical(stored[key]) for key in sorted(stored))

    def find(self, images: Sequence[Image]) -> list[list[Found]]:
        """Objects in each picture, best first."""
        found = []
        for result in self._model.predict(list(images), verbose=False, **self._options):
            corners = result.boxes.xyxy.cpu().numpy()
            scores, labels = result.boxes.conf.tolist(), result.boxes.cls.int().tolist()
            boxes = [
                Box(x=float(x0), y=float(y0), w=float(x1 - x0), h=float(y1 - y0))
                for x0, y0, x1, y1 in corners
            ]
            entries = zip((self.names[k] for k in labels), scores, boxes, strict=True)
            found.append(sorted(entries, key=lambda entry: -entry[1]))
        return found


def open_network(
    model: str,
    *,
    input_size: int,
    score_threshold: float,
    iou_threshold: float,
    threads: int,
    layout: Layout | None,
    names_file: Path | None,
) -> Network:
    """Open ``builtin``, an ``.onnx`` file or a ``.pt`` checkpoint.

    Raises:
        ModelError: the file is missing, corrupt, or of an unknown kind or layout.
        MissingDependencyError: a checkpoint is given and Ultralytics is not installed.
    """
    path = BUILTIN if model == "builtin" else Path(model).expanduser()
    if not path.is_file():
        raise ModelError(
            f"there is no network file {path}\n"
            "  remedy: set `model` to builtin, or to the path of an .onnx or .pt file"
        )
    if path.suffix == ".onnx":
        return OnnxNetwork(
            path,
            input_size=input_size,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            threads=threads,
            layout=layout,
            names_file=names_file,
        )
    if path.suffix == ".pt":
        return CheckpointNetwork(
            path,
            input_size=input_size,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            threads=threads,
        )
    raise ModelError(
        f"{path} is neither an .onnx nor a .pt file\n"
        "  remedy: export the detector to ONNX, or rename the file to what it is"
    )
