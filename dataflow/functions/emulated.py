"""A function that only takes time: for load experiments without models, cameras or GPUs.

How long a batch takes and how many objects an item yields follow declared distributions. Both
depend on the seed, the camera and the frame's number alone, so that the same stream costs the
same work whatever replica processes it, and two balancing policies can be compared on equal load.
"""

from __future__ import annotations

import hashlib
import io
import math
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

import imagesize
import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from dataflow.functions.base import Box, Detection, FunctionParams, Item

_DEFAULT_SIZE = (640, 480)
_SPIN_BLOCK = bytes(1 << 16)
_TRAFFIC_BLOCK = 1024
"""Frames of traffic that are drawn together: any replica can draw them without those before."""
_TRAFFIC_CACHE = 256
"""Blocks that are kept: those of so many cameras."""


class ServiceTime(FunctionParams):
    """Random part of the service time: a factor whose mean is 1, times the mean."""

    distribution: Literal["constant", "exponential", "lognormal", "gamma"] = Field(
        default="constant", description="shape of the service time's distribution"
    )
    mean: float = Field(default=0.01, gt=0, description="of one item alone, seconds")
    cv: float = Field(
        default=0.3,
        gt=0,
        description="standard deviation over mean, of lognormal and gamma (exponential has 1)",
    )

    def factor(self, rng: np.random.Generator) -> float:
        """Draw a factor with mean 1 and the declared coefficient of variation."""
        if self.distribution == "exponential":
            return float(rng.exponential())
        if self.distribution == "lognormal":
            sigma = math.sqrt(math.log1p(self.cv**2))
            return float(rng.lognormal(-(sigma**2) / 2, sigma))
        if self.distribution == "gamma":
            shape = self.cv**-2
            return float(rng.gamma(shape, 1 / shape))
        return 1.0


class ConstantObjects(FunctionParams):
    """The same number of objects in each item."""

    distribution: Literal["constant"] = "constant"
    count: int = Field(ge=0, description="objects an item")

    def draw(self, rng: np.random.Generator) -> int:  # noqa: ARG002 - one interface for all
        """Return the constant."""
        return self.count


class PoissonObjects(FunctionParams):
    """A Poisson number of objects."""

    distribution: Literal["poisson"]
    mean: float = Field(ge=0, le=1000, description="objects an item, on average")

    def draw(self, rng: np.random.Generator) -> int:
        """Draw one item's number of objects."""
        return int(rng.poisson(self.mean))


class ObjectsFrom(FunctionParams):
    """A number of objects drawn from a list: the k-th probability is that of k objects."""

    distribution: Literal["from"]
    probabilities: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        min_length=1, description="of 0, 1, 2, ... objects; they sum to 1"
    )

    @model_validator(mode="after")
    def _sum_to_one(self) -> ObjectsFrom:
        total = sum(self.probabilities)
        if not math.isclose(total, 1.0, abs_tol=1e-6):
            raise ValueError(f"the probabilities sum to {total:g}; they must sum to 1")
        return self

    def draw(self, rng: np.random.Generator) -> int:
        """Draw one item's number of objects."""
        weights = np.asarray(self.probabilities)
        return int(rng.choice(len(weights), p=weights / weights.sum()))


class TrafficObjects(FunctionParams):
    """Objects that stay in view: frames that follow each other hold about the same number.

    Objects come as a Poisson process whose rate alternates between dense and thin traffic, and each
    stays for a geometric number of frames. That is what a street camera sees, and why load that is
    even over minutes is not even over seconds.
    """

    distribution: Literal["traffic"]
    mean: float = Field(default=3.0, ge=0, le=1000, description="objects an item, on average")
    swing: float = Field(
        default=0.8, ge=0, le=1, description="dense traffic is (1 + swing) times the mean"
    )
    phase: float = Field(
        default=90.0, gt=0, description="mean frames of a phase of dense, or of thin, traffic"
    )
    dwell: float = Field(default=22.5, gt=0, description="mean frames that an object stays in view")
    most: int = Field(default=15, ge=0, le=10_000, description="objects in one frame")

    def counts(self, rng: np.random.Generator, frames: int) -> tuple[int, ...]:
        """Objects in each of so many frames in a row; the first is drawn from the long run."""
        leaves = -math.expm1(-1 / self.dwell)
        turns = -math.expm1(-1 / self.phase)
        dense = bool(rng.integers(2))
        in_view = min(self.most, int(rng.poisson(self._level(dense=dense))))
        found = [in_view]
        for _ in range(frames - 1):
            dense ^= bool(rng.random() < turns)
            left = int(rng.binomial(in_view, leaves))
            came = int(rng.poisson(self._level(dense=dense) * leaves))
            in_view = min(self.most, in_view - left + came)
            found.append(in_view)
        return tuple(found)

    def _level(self, *, dense: bool) -> float:
        return self.mean * (1 + self.swing if dense else 1 - self.swing)


def _constant_unless_said(value: Any) -> Any:
    """Let ``objects_per_item: 3`` and ``{count: 3}`` stand for a constant."""
    if isinstance(value, int) and not isinstance(value, bool):
        return {"distribution": "constant", "count": value}
    if isinstance(value, Mapping):
        return {"distribution": "constant", **value}
    return value


ObjectCount = Annotated[
    ConstantObjects | PoissonObjects | ObjectsFrom | TrafficObjects,
    Field(discriminator="distribution"),
    BeforeValidator(_constant_unless_said),
]


class BatchScaling(FunctionParams):
    """Service time of n items together: ``mean * (fixed + per_item * n)``."""

    fixed: float = Field(default=0.0, ge=0, description="part of the mean that a batch costs once")
    per_item: float = Field(default=1.0, ge=0, description="part of the mean that each item adds")

    @model_validator(mode="after")
    def _takes_time(self) -> BatchScaling:
        if self.fixed + self.per_item <= 0:
            raise ValueError("one of `fixed` and `per_item` must be greater than 0")
        return self


def seconds_for_batch(per_batch_size: dict[int, float], size: int) -> float:
    """Service time of a batch from times measured at some sizes.

    Args:
        per_batch_size: seconds by batch size; at least one entry.
        size: of the batch, 1 or more.

    Returns:
        Seconds: linear between two sizes, beyond the ends with the slope of the two nearest ones
        (a single entry is proportional to the size), and never below the least declared time
        times the ratio of the sizes.
    """
    sizes = sorted(per_batch_size)
    if len(sizes) == 1:
        return per_batch_size[sizes[0]] * size / sizes[0]
    upper = min(max(bisect_left(sizes, size), 1), len(sizes) - 1)
    low, high = sizes[upper - 1], sizes[upper]
    slope = (per_batch_size[high] - per_batch_size[low]) / (high - low)
    estimate = per_batch_size[low] + slope * (size - low)
    if size < sizes[0]:
        return max(estimate, per_batch_size[sizes[0]] * size / sizes[0])
    return max(estimate, min(per_batch_size.values()))


def spin_cpu(seconds: float) -> None:
    """Use up ``seconds`` of CPU time of this thread, without holding the interpreter's lock.

    On a crowded core it takes longer by the clock, as real work does.
    """
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        hashlib.sha256(_SPIN_BLOCK).digest()


class EmulatedParams(FunctionParams):
    """Parameters of the emulated function."""

    service: ServiceTime = Field(
        default_factory=ServiceTime, description="how long one item alone takes"
    )
    batching: BatchScaling = Field(
        default_factory=BatchScaling, description="how the time grows with the batch"
    )
    per_batch_size: dict[Annotated[int, Field(ge=1)], Annotated[float, Field(gt=0)]] | None = Field(
        default=None,
        min_length=1,
        description="mean seconds by batch size; replaces `service.mean` and `batching`",
    )
    objects_per_item: ObjectCount = Field(
        default_factory=lambda: ConstantObjects(count=1),
        description="a number, or `distribution: poisson` with `mean`, or `distribution: from`"
        " with `probabilities`, or `distribution: traffic` with `mean`, `swing`, `phase`, `dwell`"
        " and `most`",
    )
    kind: str = Field(default="vehicle", min_length=1, description="kind of the detections")
    label: str = Field(default="", description="label of the detections")
    wait: Literal["sleep", "spin"] = Field(
        default="sleep",
        description="`sleep` leaves the core free, as a function on a GPU does; `spin` uses it",
    )
    speed: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="work done per second, relative"
    )
    seed: int = Field(default=0, ge=0, description="of all that is random")

    @model_validator(mode="after")
    def _time_grows(self) -> EmulatedParams:
        times = self.per_batch_size or {}
        for small, large in pairwise(sorted(times)):
            if times[large] < times[small]:
                raise ValueError(
                    f"a batch of {large} takes less time than one of {small}: "
                    "`per_batch_size` must not decrease"
                )
        return self


class Emulated:
    """Waits as long as a function would take, and emits as many detections as it might find.

    ``speed`` can be changed at any time: 0.5 makes it half as fast, as a throttled GPU is.
    """

    Params: ClassVar[type[FunctionParams]] = EmulatedParams

    def __init__(
        self,
        params: EmulatedParams,
        *,
        sleep: Callable[[float], None] = time.sleep,
        spin: Callable[[float], None] = spin_cpu,
    ) -> None:
        self._params = params
        self._wait = sleep if params.wait == "sleep" else spin
        self._speed = params.speed
        self._traffic = lru_cache(maxsize=_TRAFFIC_CACHE)(self._draw_traffic)

    @property
    def speed(self) -> float:
        """Work done per second, relative to the declared times; greater than 0."""
        return self._speed

    @speed.setter
    def speed(self, value: float) -> None:
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"speed must be finite and greater than 0, not {value}")
        self._speed = value

    def process(self, batch: Sequence[Item]) -> Sequence[Sequence[Detection]]:
        """Take the time, then return the detections. Images are not decoded."""
        self._wait(self.service_seconds(batch))
        return [self._detections(item) for item in batch]

    def close(self) -> None:
        """Nothing is held."""

    def service_seconds(self, batch: Sequence[Item]) -> float:
        """How long this batch takes at the present speed, in seconds.

        The random factor is that of the batch's first item.
        """
        p = self._params
        if p.per_batch_size is None:
            mean = p.service.mean * (p.batching.fixed + p.batching.per_item * len(batch))
        else:
            mean = seconds_for_batch(p.per_batch_size, len(batch))
        factor = p.service.factor(self._rng("time", batch[0].camera, batch[0].sequence))
        return mean * factor / self._speed

    def _rng(self, purpose: str, camera: str, number: int) -> np.random.Generator:
        """A generator of its own for each use, seed, camera and frame; the same everywhere."""
        identity = f"{self._params.seed}\0{purpose}\0{number}\0{camera}".encode()
        digest = hashlib.blake2b(identity, digest_size=16).digest()
        return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))

    def _count(self, item: Item, rng: np.random.Generator) -> int:
        declared = self._params.objects_per_item
        if isinstance(declared, TrafficObjects):
            block, place = divmod(item.sequence, _TRAFFIC_BLOCK)
            return self._traffic(declared, item.camera, block)[place]
        return declared.draw(rng)

    def _draw_traffic(self, traffic: TrafficObjects, camera: str, block: int) -> tuple[int, ...]:
        return traffic.counts(self._rng("traffic", camera, block), _TRAFFIC_BLOCK)

    def _detections(self, item: Item) -> list[Detection]:
        rng = self._rng("objects", item.camera, item.sequence)
        count = self._count(item, rng)
        if count == 0:
            return []
        width, height = _image_size(item.data)
        columns = math.ceil(math.sqrt(count))
        rows = math.ceil(count / columns)
        cell_w, cell_h = width / columns, height / rows
        found = []
        for index in range(count):
            row, column = divmod(index, columns)
            part_w, part_h, at_x, at_y = rng.uniform((0.4, 0.4, 0, 0), (0.9, 0.9, 1, 1))
            w, h = part_w * cell_w, part_h * cell_h
            box = Box(
                x=column * cell_w + at_x * (cell_w - w),
                y=row * cell_h + at_y * (cell_h - h),
                w=w,
                h=h,
            )
            found.append(
                Detection(
                    kind=self._params.kind,
                    label=self._params.label,
                    box=box,
                    score=float(rng.uniform(0.5, 1.0)),
                )
            )
        return found


def _image_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels from the header; 640 x 480 where the bytes are no image."""
    try:
        width, height = imagesize.get(io.BytesIO(data))
    except Exception:  # noqa: BLE001 - a parser of arbitrary bytes may raise anything
        return _DEFAULT_SIZE
    return (width, height) if width > 0 and height > 0 else _DEFAULT_SIZE
