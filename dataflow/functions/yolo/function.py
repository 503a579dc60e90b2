"""The function ``yolo``: vehicles in whole frames, whether the camera stands or moves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from dataflow.errors import ModelError
from dataflow.functions.base import Detection, FunctionParams, Item
from dataflow.functions.yolo.letterbox import STRIDE
from dataflow.functions.yolo.names import VEHICLES
from dataflow.functions.yolo.networks import open_network


class YoloParams(FunctionParams):
    """Parameters of :class:`Yolo`."""

    model: str = Field(
        default="builtin", description="builtin, or the path of an .onnx file or .pt checkpoint"
    )
    input_size: int = Field(
        default=640,
        ge=STRIDE,
        le=4096,
        multiple_of=STRIDE,
        description="longer side of the network's input, pixels; networks of a fixed size keep it",
    )
    score_threshold: float = Field(default=0.4, gt=0, lt=1, description="least score reported")
    iou_threshold: float = Field(
        default=0.5, gt=0, le=1, description="overlap above which the weaker box is dropped"
    )
    classes: tuple[str, ...] = Field(
        default=VEHICLES, min_length=1, description="labels to report, those the network knows"
    )
    threads: int = Field(default=1, ge=1, le=256, description="processor threads")
    layout: Literal["auto", "builtin", "yolov8", "yolov5", "fastestdet"] = Field(
        default="auto", description="layout of an ONNX network's output"
    )
    names: Path | None = Field(
        default=None, description="file with the network's class names, one a line"
    )


class Yolo:
    """Finds vehicles with a single-stage detector.

    Emits ``Detection(kind="vehicle")`` with the network's label, best first.

    Args:
        params: see :class:`YoloParams`.

    Raises:
        ModelError: the network is missing, corrupt or of an unknown layout, or knows none of the
            wanted classes.
        MissingDependencyError: a ``.pt`` checkpoint is given and Ultralytics is not installed.
    """

    Params: ClassVar[type[FunctionParams]] = YoloParams

    def __init__(self, params: YoloParams) -> None:
        self._network = open_network(
            params.model,
            input_size=params.input_size,
            score_threshold=params.score_threshold,
            iou_threshold=params.iou_threshold,
            threads=params.threads,
            layout=None if params.layout == "auto" else params.layout,
            names_file=params.names,
        )
        self._wanted = frozenset(params.classes) & frozenset(self._network.names)
        if not self._wanted:
            raise ModelError(
                f"{params.model} knows none of the classes {', '.join(params.classes)}; "
                f"it knows {', '.join(self._network.names)}\n"
                "  remedy: choose among these with the parameter `classes`"
            )

    def process(self, batch: Sequence[Item]) -> Sequence[Sequence[Detection]]:
        """Find vehicles in each item; see :class:`dataflow.functions.base.Function`.

        Raises:
            ImageError: an item's bytes are not an image.
        """
        found = self._network.find([item.image for item in batch])
        return [
            [
                Detection(kind="vehicle", label=label, box=box, score=score)
                for label, score, box in entries
                if label in self._wanted
            ]
            for entries in found
        ]

    def close(self) -> None:
        """Nothing to release beyond memory."""
