"""Parameters of the function ``triton``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from dataflow.config.units import Duration
from dataflow.functions.base import FunctionParams
from dataflow.functions.yolo.letterbox import STRIDE

_Name = Annotated[str, StringConstraints(min_length=1)]
_Three = tuple[float, float, float]


class TritonParams(FunctionParams):
    """Parameters of `roomie.functions.triton.Triton`."""

    model: _Name = Field(description="name under which the model was deployed")
    task: Literal["detect", "classify"] = Field(
        default="detect", description="what its output means"
    )
    kind: _Name = Field(default="vehicle", description="of the detections")
    classes: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="labels to report; all when absent"
    )
    names: Path | None = Field(
        default=None,
        description="file with the class names, one a line; else those of the model's "
        "configuration (parameter `names`)",
    )
    score_threshold: float = Field(default=0.4, ge=0, lt=1, description="least score reported")
    input: str | None = Field(default=None, description="name of the input; its only one if absent")
    output: str | None = Field(
        default=None, description="name of the output; its only one if absent"
    )
    input_size: int = Field(
        default=640,
        ge=STRIDE,
        le=4096,
        multiple_of=STRIDE,
        description="longer side of the input, pixels, where the model leaves it open",
    )
    colors: Literal["auto", "rgb", "bgr"] = Field(default="auto", description="order of colours")
    layout: Literal["auto", "builtin", "yolov8", "yolov5", "fastestdet"] = Field(
        default="auto", description="detect: layout of the output"
    )
    iou_threshold: float = Field(
        default=0.5, gt=0, le=1, description="detect: overlap above which the weaker box goes"
    )
    scale: float | None = Field(
        default=None, gt=0, description="classify: factor of pixels; 1/255 unless they are bytes"
    )
    mean: _Three = Field(default=(0.0, 0.0, 0.0), description="classify: taken off after scaling")
    std: _Three = Field(default=(1.0, 1.0, 1.0), description="classify: divides after that")
    activation: Literal["auto", "none", "softmax"] = Field(
        default="auto", description="classify: applied to the output unless it sums to 1"
    )
    top: int = Field(default=1, ge=1, description="classify: most labels of a picture")
    wait: Duration = Field(
        default=30.0,
        gt=0,
        description="how long a batch may be without any instance that can be reached; "
        "below the function's stall_limit",
    )
    timeout: Duration = Field(
        default=5.0, gt=0, description="how long one instance may take to answer"
    )
    attempts: int = Field(
        default=3, ge=1, le=20, description="instances that may answer with an error"
    )
    parallel: int = Field(default=8, ge=1, le=256, description="most requests at a time")

    @model_validator(mode="after")
    def _check_std(self) -> Self:
        if min(self.std) <= 0:
            raise ValueError("std must be more than 0 for each colour")
        return self
