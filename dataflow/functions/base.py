"""The interface of a function: what every plugin implements.

A function is a class registered under the entry-point group ``videojam.functions``::

    [project.entry-points."videojam.functions"]
    my-detector = "my_package.detector:MyDetector"

It declares its parameters as a pydantic model (unknown keys forbidden) named ``Params``, is built
as ``MyDetector(params)`` once in each worker process, and is then called from one thread with
batches of 1..B items. It does no Kafka I/O: routing, retries and dead letters are the worker's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dataflow.images import decode_image
from dataflow.parameters import Parameters

if TYPE_CHECKING:
    from dataflow.config import Config


class FunctionParams(Parameters):
    """Base of all parameter models of functions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """An axis-aligned rectangle in pixels: left, top, width, height."""

    x: float
    y: float
    w: float
    h: float

    def shifted(self, dx: float, dy: float) -> Box:
        """The same box seen from an origin that lies (-dx, -dy) away."""
        return replace(self, x=self.x + dx, y=self.y + dy)

    def clipped(self, width: float, height: float) -> Box:
        """The part of the box that lies inside an image of ``width`` x ``height`` pixels."""
        left, top = min(max(self.x, 0.0), width), min(max(self.y, 0.0), height)
        right = min(max(self.x + self.w, left), width)
        bottom = min(max(self.y + self.h, top), height)
        return Box(x=left, y=top, w=right - left, h=bottom - top)

    @property
    def area(self) -> float:
        """Square pixels."""
        return self.w * self.h

    def iou(self, other: Box) -> float:
        """Intersection over union with ``other``, in [0, 1]."""
        w = min(self.x + self.w, other.x + other.w) - max(self.x, other.x)
        h = min(self.y + self.h, other.y + other.h) - max(self.y, other.y)
        if w <= 0 or h <= 0:
            return 0.0
        return w * h / (self.area + other.area - w * h)


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """Something found in an image.

    Attributes:
        kind: ``region`` (something moves), ``vehicle``, ``plate``, or a plugin's own word.
        box: where, in pixels of the image it was found in.
        score: confidence in [0, 1].
        label: class within the kind (``car``, ``truck``, ...); empty where there is none.
        text: what is written there (plates only), else None.
    """

    kind: str
    box: Box
    score: float
    label: str = ""
    text: str | None = None


@dataclass(frozen=True, kw_only=True)
class Item:
    """One image to process: a frame, or an object cropped from one.

    Attributes:
        camera: name of the camera.
        sequence: the frame's number in the camera's stream.
        captured_at: seconds since the epoch.
        data: the encoded image (JPEG as the camera sent it).
        detections: what the steps before found in this image, boxes in its pixels.
    """

    camera: str
    sequence: int
    captured_at: float
    data: bytes = field(repr=False)
    detections: tuple[Detection, ...] = ()

    @cached_property
    def image(self) -> NDArray[np.uint8]:
        """Decoded pixels, uint8 [height, width, 3], BGR.

        Raises:
            ImageError: the bytes are no image, or a larger one than we accept.
        """
        return decode_image(self.data)


@runtime_checkable
class Function(Protocol):
    """What a plugin implements.

    An exception from ``process`` fails the whole batch: the worker then tries its items one by
    one, and sends those that fail again to the dead-letter topic with the exception's text.
    """

    Params: ClassVar[type[FunctionParams]]

    def process(self, batch: Sequence[Item]) -> Sequence[Sequence[Detection]]:
        """Find things in each item.

        Args:
            batch: 1..B items, oldest first; items of one camera keep their order.

        Returns:
            As many sequences as there are items, in the same order; empty where nothing was found.
        """
        ...

    def close(self) -> None:
        """Release what the constructor took. Called once, after the last batch."""
        ...


@runtime_checkable
class StatefulFunction(Function, Protocol):
    """A function that keeps state per camera, which follows the camera to another replica."""

    def snapshot(self, camera: str) -> bytes | None:
        """The camera's state, small enough for one Kafka record; None where there is none yet."""
        ...

    def restore(self, camera: str, state: bytes) -> None:
        """Take over a camera from its snapshot. Invalid bytes are ignored with a warning."""
        ...

    def forget(self, camera: str) -> None:
        """Drop the state of a camera that has moved elsewhere."""
        ...


@runtime_checkable
class DeployedFunction(Function, Protocol):
    """A function that needs the deployment which it works for: its cluster, its topics' names."""

    @classmethod
    def deployed(cls, params: FunctionParams, deployment: Config) -> Self:
        """Make one within a deployment; a worker calls this instead of the constructor."""
        ...
