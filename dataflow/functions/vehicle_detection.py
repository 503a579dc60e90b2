"""Vehicle detection: which of the moving regions are vehicles, and where exactly.

By default by shape and structure alone, without a network; a detector can confirm and name what
was found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dataflow.functions._vehicle_shape import Shape, analyse_crop, shifted, split_column
from dataflow.functions.base import Box, Detection, Function, FunctionParams, Item
from dataflow.functions.registry import load_function

REGION = "region"
VEHICLE = "vehicle"

_SMALLEST_CROP = 4


class VehicleDetectionParams(FunctionParams):
    """Parameters of vehicle detection."""

    min_width: float = Field(default=18, gt=0, description="narrowest vehicle, pixels")
    min_height: float = Field(default=14, gt=0, description="lowest vehicle, pixels")
    min_aspect: float = Field(
        default=0.45, gt=0, description="width over height below which it is a person or a pole"
    )
    max_aspect: float = Field(
        default=3.5, gt=0, description="width over height above which it is a sliver"
    )
    min_fill: float = Field(
        default=0.25, ge=0, le=1, description="part of the box that must differ from the road"
    )
    min_contrast: float = Field(
        default=4.0, ge=0, description="mean CIE Lab distance from the road"
    )
    min_edges: float = Field(
        default=0.12, ge=0, le=1, description="part of the box that must lie on edges"
    )
    min_structure: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="part of the edges along two directions at right angles; foliage has 0.25",
    )
    min_score: float = Field(default=0.3, ge=0, le=1, description="lowest score reported")
    max_trim: float = Field(
        default=0.15, ge=0, lt=0.5, description="the most cut off a region on each side"
    )
    split_aspect: float = Field(
        default=2.2,
        gt=0,
        description="width over height from which two vehicles are looked for",
    )
    split_valley: float = Field(
        default=0.5, ge=0, le=1, description="depth of the gap between two vehicles"
    )
    model: str = Field(
        default="none",
        description="`none`, `builtin`, or the file of a network that confirms and names what was"
        " found (see the function `yolo`)",
    )
    model_input_size: int = Field(
        default=320, ge=32, multiple_of=32, description="the network's input, pixels"
    )
    model_score: float = Field(
        default=0.4, gt=0, lt=1, description="least score of the network that counts"
    )
    unconfirmed: Literal["keep", "drop"] = Field(
        default="keep", description="what becomes of vehicles that the network does not see"
    )


class VehicleDetection:
    """Finds vehicles, ``Detection(kind="vehicle")``, in crops of moving regions or whole frames.

    An item that carries ``region`` detections is searched within each of them; one that carries
    none is taken as the crop of one region. Boxes are in pixels of the item's image. The score
    says how vehicle-like size, outline and structure are; it is no probability.

    With a network, what it finds within a region replaces the vehicles there of which one box
    holds the centre of the other: two that touch become two, and each gets its class.

    Args:
        params: see :class:`VehicleDetectionParams`.
        network: finds ``vehicle`` in whole items; made from ``params.model`` when None.

    Raises:
        ConfigError: a network is asked for, and no function ``yolo`` is installed.
        ModelError: the network is missing, corrupt or of an unknown layout.
    """

    Params: ClassVar[type[FunctionParams]] = VehicleDetectionParams

    def __init__(self, params: VehicleDetectionParams, *, network: Function | None = None) -> None:
        self._params = params
        if network is None and params.model != "none":
            network = _open_network(params)
        self._network = network

    def process(self, batch: Sequence[Item]) -> Sequence[Sequence[Detection]]:
        """Find the vehicles of each item.

        Raises:
            ImageError: an item is not an image.
        """
        found = [self._vehicles(item) for item in batch]
        if self._network is None:
            return found
        seen = self._network.process(batch)
        return [
            self._confirmed(mine, [d for d in theirs if d.kind == VEHICLE], _regions(item))
            for item, mine, theirs in zip(batch, found, seen, strict=True)
        ]

    def close(self) -> None:
        """Release the network."""
        if self._network is not None:
            self._network.close()

    def _confirmed(
        self, mine: Sequence[Detection], seen: Sequence[Detection], regions: Sequence[Box]
    ) -> list[Detection]:
        """What the network saw in the regions, and by choice what it did not see."""
        moving = [d for d in seen if any(_holds_centre(region, d.box) for region in regions)]
        if self._params.unconfirmed == "drop":
            return moving
        unseen = [
            v
            for v in mine
            if not any(_holds_centre(v.box, d.box) or _holds_centre(d.box, v.box) for d in moving)
        ]
        return [*moving, *unseen]

    def _vehicles(self, item: Item) -> list[Detection]:
        found: list[Detection] = []
        for box in _regions(item):
            found.extend(self._in_region(item.image, box))
        return found

    def _in_region(self, image: NDArray[np.uint8], box: Box) -> list[Detection]:
        height, width = image.shape[:2]
        inside = box.clipped(width, height)
        left, top = math.floor(inside.x), math.floor(inside.y)
        right, bottom = math.ceil(inside.x + inside.w), math.ceil(inside.y + inside.h)
        crop = image[top:bottom, left:right]
        if min(crop.shape[:2]) < _SMALLEST_CROP:
            return []
        vehicles = []
        for shape in self._shapes(crop):
            score = self.score(shape)
            if score < self._params.min_score:
                continue
            whole = Box(x=shape.x, y=shape.y, w=shape.w, h=shape.h).shifted(left, top)
            vehicles.append(Detection(kind=VEHICLE, label=VEHICLE, box=whole, score=score))
        return vehicles

    def _shapes(self, crop: NDArray[np.uint8]) -> list[Shape]:
        """One shape, or two where two vehicles touch."""
        p = self._params
        shape = analyse_crop(crop, max_trim=p.max_trim)
        if shape.aspect >= p.split_aspect:
            column = split_column(crop, max_valley=p.split_valley)
            if column is not None and min(column, crop.shape[1] - column) >= _SMALLEST_CROP:
                halves = [
                    analyse_crop(crop[:, :column], max_trim=p.max_trim),
                    shifted(analyse_crop(crop[:, column:], max_trim=p.max_trim), column, 0),
                ]
                if all(self.score(half) >= p.min_score for half in halves):
                    return halves
        return [shape]

    def score(self, shape: Shape) -> float:
        """How vehicle-like a shape is, in [0, 1]; 0 where a limit of the parameters is missed."""
        p = self._params
        if shape.w < p.min_width or shape.h < p.min_height:
            return 0.0
        if not p.min_aspect <= shape.aspect <= p.max_aspect:
            return 0.0
        if (
            shape.fill < p.min_fill
            or shape.contrast < p.min_contrast
            or shape.edge_density < p.min_edges
            or shape.structure < p.min_structure
        ):
            return 0.0
        outline = 1 - abs(math.log(shape.aspect / 1.2)) / 2.5
        size = shape.w * shape.h / (shape.w * shape.h + p.min_width * p.min_height)
        qualities = (
            max(0.0, outline),
            size,
            min(1.0, shape.fill / 0.8),
            shape.contrast / (shape.contrast + p.min_contrast),
            min(1.0, shape.edge_density / (2.5 * p.min_edges + 1e-9)),
            min(1.0, shape.structure / 0.5),
        )
        return float(np.prod(qualities) ** (1 / len(qualities)))


def _regions(item: Item) -> list[Box]:
    """The regions of a frame, or the whole of a crop."""
    height, width = item.image.shape[:2]
    regions = [d.box for d in item.detections if d.kind == REGION]
    return regions or [Box(x=0, y=0, w=width, h=height)]


def _holds_centre(outer: Box, inner: Box) -> bool:
    x, y = inner.x + inner.w / 2 - outer.x, inner.y + inner.h / 2 - outer.y
    return 0 <= x <= outer.w and 0 <= y <= outer.h


def _open_network(params: VehicleDetectionParams) -> Function:
    """The function ``yolo`` by its registered name: there is no other tie to it."""
    plugin = load_function("yolo", key="model")
    settings = plugin.Params.model_validate(
        {
            "model": params.model,
            "input_size": params.model_input_size,
            "score_threshold": params.model_score,
        }
    )
    return cast(Callable[[FunctionParams], Function], plugin)(settings)
