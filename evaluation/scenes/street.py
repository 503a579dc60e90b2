"""A street camera: frames with moving vehicles, and the truth about each frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from dataflow.functions.base import Box
from evaluation.scenes.backdrop import Backdrop, Street
from evaluation.scenes.painter import Drawn, Light, Model, Placed, draw_shadow, draw_vehicle
from evaluation.scenes.pinhole import Pinhole
from evaluation.scenes.textures import fractal_noise
from evaluation.scenes.traffic import Lane, Traffic
from evaluation.scenes.vehicles import random_vehicle

Image = NDArray[np.uint8]
LEGIBLE_PLATE_PX = 70.0
"""A plate at least this wide, wholly in the frame and not covered, counts as legible."""

_MARGIN_PX = 12  # drawn beyond the frame, so that a shaking camera has something to show
_OWNER_SCALE = 4  # occlusion is worked out at a quarter of the resolution
_LEAST_BOX_PX = 8.0
_LEAST_VISIBLE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class VehicleTruth:
    """One vehicle in one frame.

    Attributes:
        vehicle: id, the same over all frames of the camera.
        label: ``car``, ``van``, ``truck`` or ``bus``.
        box: the whole vehicle's rectangle, hidden parts included, clipped to the frame.
        visible: fraction of the vehicle's outline that is in the frame and not covered.
        moving: False for vehicles parked in a fixed camera's view, which subtracting the
            background cannot find.
        plate: the plate's characters, without spaces.
        plate_box: rectangle of the plate turned to the camera, not clipped; None where there is
            none.
        plate_legible: whether a reader can be expected to read it; see :data:`LEGIBLE_PLATE_PX`.
    """

    vehicle: int
    label: str
    box: Box
    visible: float
    moving: bool
    plate: str
    plate_box: Box | None
    plate_legible: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What is in one frame: vehicles of which at least a tenth is visible, nearest last."""

    frame: int
    seconds: float
    vehicles: tuple[VehicleTruth, ...]


class StreetCamera:
    """A camera in a rendered street.

    ``fixed`` hangs above the road and sees traffic come, go and cross; ``mobile`` is a dash camera
    in traffic: everything in its picture moves, and it shakes. The same seed, size and frame rate
    give the same frames, in whatever order they are asked for.

    Args:
        kind: ``fixed`` or ``mobile``.
        seed: of street, weather, traffic and noise.
        width: of the frames, pixels.
        height: of the frames, pixels.
        fps: frames a second; frame ``i`` shows the scene after ``i / fps`` seconds.
    """

    def __init__(
        self,
        kind: Literal["fixed", "mobile"],
        seed: int,
        *,
        width: int = 1280,
        height: int = 720,
        fps: float = 10.0,
    ) -> None:
        self.kind, self.seed, self.fps = kind, seed, fps
        self.width, self.height = width, height
        rng = np.random.default_rng([seed, 1 if kind == "fixed" else 2])
        self._margin = 0 if kind == "fixed" else _MARGIN_PX
        self._light = Light(
            sun=_sun(rng),
            strength=float(rng.choice([0.1, 0.35, 0.55])),
            ambient=float(rng.uniform(0.55, 0.68)),
        )
        self._drift = rng.uniform(0.0, 2 * math.pi, 6)
        build = self._build_fixed if kind == "fixed" else self._build_mobile
        self._pinhole, street, self._traffic, self._speed = build(rng)
        self._backdrop = Backdrop(rng, self._pinhole, street, coarse=1 if kind == "fixed" else 2)
        # the vehicle ahead of a dash camera: one that can be seen past
        self._lead = Model(random_vehicle(rng, "van" if rng.random() < 0.25 else "car"))
        self._parked = self._park(rng, street)
        self._still = self._render_still() if kind == "fixed" else None
        noise = rng.standard_normal((height + 64, width + 64, 1)) * rng.uniform(2.0, 3.5)
        noise = noise + rng.standard_normal((height + 64, width + 64, 3)) * 1.5
        self._noise = np.clip(noise + 20, 0, 40).astype(np.uint8)
        slow = fractal_noise(rng, 64, 64, coarsest=2, octaves=2)
        self._slow = slow / max(float(np.abs(slow).max()), 1e-6)

    def _build_fixed(self, rng: np.random.Generator) -> tuple[Pinhole, Street, Traffic, float]:
        crossing = float(rng.uniform(30, 38))
        street = Street(
            road_half_m=3.9,
            lane_lines_m=(0.0,),
            houses_m=float(rng.uniform(8.5, 11)),
            crossing=(crossing, crossing + 7.4),
            period_m=132.0,
        )
        pinhole = Pinhole(
            position=(float(rng.uniform(-0.2, 0.2)), 0.0, float(rng.uniform(2.9, 3.5))),
            yaw=float(rng.uniform(-0.05, 0.05)),
            pitch=float(rng.uniform(0.15, 0.17)),
            focal_px=self.width * float(rng.uniform(1.1, 1.2)),
            width=self.width,
            height=self.height,
        )
        middle = crossing + 3.7
        towards, away = float(rng.uniform(6.0, 8.0)), float(rng.uniform(6.0, 8.0))
        across = float(rng.uniform(7.0, 9.0))
        green, red = (18.0, 0.0, 10.0), (18.0, 11.8, 16.0)
        gap = float(rng.uniform(3.0, 4.5))
        lanes = (
            Lane(
                x=-1.85, y=115.0, heading=math.pi, length_m=114.0, speed=towards,
                mean_gap_s=gap, green=green, gate_m=115.0 - middle,
            ),
            Lane(
                x=1.85, y=1.0, heading=0.0, length_m=114.0, speed=away,
                mean_gap_s=gap, green=green, gate_m=middle - 1.0,
            ),
            Lane(
                x=-45.0, y=middle - 1.8, heading=math.pi / 2, length_m=90.0, speed=across,
                mean_gap_s=2.5, green=red, gate_m=45.0,
            ),
            Lane(
                x=45.0, y=middle + 1.8, heading=-math.pi / 2, length_m=90.0, speed=across,
                mean_gap_s=2.5, green=red, gate_m=45.0,
            ),
        )  # fmt: skip
        return pinhole, street, Traffic(rng, lanes), 0.0

    def _build_mobile(self, rng: np.random.Generator) -> tuple[Pinhole, Street, Traffic, float]:
        street = Street(
            road_half_m=6.4,
            lane_lines_m=(-1.75, 1.75),
            houses_m=float(rng.uniform(10.5, 13)),
            crossing=None,
            period_m=96.0,
        )
        pinhole = Pinhole(
            position=(float(rng.uniform(-0.2, 0.2)), 0.0, float(rng.uniform(1.3, 1.6))),
            yaw=float(rng.uniform(-0.03, 0.03)),
            pitch=float(rng.uniform(0.0, 0.05)),
            focal_px=self.width * float(rng.uniform(0.85, 0.98)),
            width=self.width + 2 * self._margin,
            height=self.height + 2 * self._margin,
        )
        speed = float(rng.uniform(6.0, 9.0))
        oncoming = speed + float(rng.uniform(3.0, 5.0))
        slower = float(rng.uniform(1.2, 2.0))
        lanes = (  # relative to the moving camera
            Lane(
                x=-3.5, y=110.0, heading=math.pi, length_m=112.0, speed=oncoming,
                mean_gap_s=float(rng.uniform(2.5, 4.0)),
            ),
            Lane(
                x=3.5, y=-6.0, heading=0.0, length_m=100.0, speed=slower,
                mean_gap_s=float(rng.uniform(9.0, 15.0)),
            ),
        )  # fmt: skip
        return pinhole, street, Traffic(rng, lanes), speed

    def _park(self, rng: np.random.Generator, street: Street) -> list[Placed]:
        """Parked cars: beside the crossing of a fixed scene; both kerbs of a mobile one."""
        parked = []
        if self.kind == "fixed":
            assert street.crossing is not None  # noqa: S101 - a fixed scene has one
            for k in range(int(rng.integers(2, 5))):
                side = 1.0 if k % 2 else -1.0
                x = side * (street.road_half_m + 1.2)
                y = street.crossing[1] + 8.0 + (k // 2) * 6.5 + float(rng.uniform(0, 2))
                heading = 0.0 if side > 0 else math.pi
                model = Model(random_vehicle(rng, "car"))
                parked.append(Placed(model=model, x=x, y=y, heading=heading))
            return sorted(parked, key=lambda placed: -placed.y)
        for side in (-1.0, 1.0):
            y = float(rng.uniform(5, 25))
            while y < street.period_m - 5:
                model = Model(random_vehicle(rng, "car" if rng.random() < 0.8 else "van"))
                heading = 0.0 if side > 0 else math.pi
                parked.append(
                    Placed(model=model, x=side * (street.road_half_m + 0.3), y=y, heading=heading)
                )
                y += float(rng.choice([6.4, 13.0, 20.0, 28.0]))
        self._parking_period = street.period_m
        return parked

    def _render_still(self) -> Image:
        image = self._backdrop.render()
        for placed in self._parked:
            draw_shadow(image, self._pinhole, placed, self._light)
            draw_vehicle(image, self._pinhole, placed, self._light)
        return image

    def _vehicles_at(self, seconds: float, travelled: float) -> list[tuple[int, Placed]]:
        """All vehicles as (id, placed), farthest first; parked ones have negative ids."""
        moving = self._traffic.at(seconds)
        if self.kind == "fixed":
            still = [(-1 - k, placed) for k, placed in enumerate(self._parked)]
            return sorted(still + moving, key=lambda entry: -entry[1].y)
        period = self._parking_period
        for k, placed in enumerate(self._parked):
            laps, ahead = divmod(placed.y - travelled + 4.0, period)
            for lap in (0, 1):
                y = ahead - 4.0 + lap * period
                if y < 50.0:
                    number = -1 - k - len(self._parked) * (int(-laps) + lap)
                    copy = Placed(model=placed.model, x=placed.x, y=y, heading=placed.heading)
                    moving.append((number, copy))
        phase = self._drift
        distance = (
            8.6
            + 3.0 * math.sin(seconds * 0.45 + phase[0])
            + 0.8 * math.sin(seconds * 1.1 + phase[1])
        )
        x = 0.25 * math.sin(seconds * 0.5 + phase[2])
        y = distance + self._lead.vehicle.length / 2
        moving.append((1_000_000, Placed(model=self._lead, x=x, y=y, heading=0.0)))
        return sorted(moving, key=lambda entry: -entry[1].y)

    def _shake(self, seconds: float) -> tuple[int, int]:
        """Displacement of a mobile camera's picture in whole pixels."""
        p = self._drift
        dx = 4.0 * math.sin(seconds * 2.1 + p[3]) + 2.0 * math.sin(seconds * 9.7 + p[4])
        dy = 4.5 * math.sin(seconds * 5.3 + p[5]) + 3.0 * math.sin(seconds * 13.9 + p[1])
        return round(dx), round(dy)

    def frame(self, index: int, *, vehicles: bool = True) -> tuple[Image, Truth]:
        """Render a frame.

        Args:
            index: number of the frame, 0 or more.
            vehicles: False leaves the moving vehicles out (those parked stay in a fixed scene), for
                comparison; noise and light are the same.

        Returns:
            The picture, uint8 [height, width, 3], BGR, and the truth about it.
        """
        seconds = index / self.fps
        travelled = seconds * self._speed
        image = self._backdrop.render(travelled) if self._still is None else self._still.copy()
        entries = self._vehicles_at(seconds, travelled) if vehicles else []
        drawn: list[tuple[int, Placed, Drawn]] = []
        fixed = self._still is not None
        for number, placed in entries:
            if not (fixed and number < 0):
                draw_shadow(image, self._pinhole, placed, self._light)
        for number, placed in entries:
            result = draw_vehicle(image, self._pinhole, placed, self._light)
            if result is not None:
                drawn.append((number, placed, result))
        dx, dy = (0, 0) if fixed else self._shake(seconds)
        x, y = self._margin + dx, self._margin + dy
        window = image[y : y + self.height, x : x + self.width]
        truth = self._truth(drawn, (float(x), float(y)))
        return self._expose(window, index, seconds), Truth(
            frame=index, seconds=seconds, vehicles=truth
        )

    def _expose(self, window: Image, index: int, seconds: float) -> Image:
        """Slow changes of illumination, and sensor noise."""
        gain = 1.0 + 0.04 * math.sin(seconds * 0.21 + self._drift[0])
        gain += 0.02 * float(self._slow[int(seconds) % 64, 0])
        jump = np.random.default_rng([self.seed, index]).integers(0, 64, 2)
        noise = self._noise[jump[0] : jump[0] + self.height, jump[1] : jump[1] + self.width]
        return np.asarray(cv2.addWeighted(window, gain, noise, 1.0, -20.0), np.uint8)

    def _truth(
        self, drawn: list[tuple[int, Placed, Drawn]], origin: tuple[float, float]
    ) -> tuple[VehicleTruth, ...]:
        offset = np.array(origin)
        owners = np.full((self.height // _OWNER_SCALE, self.width // _OWNER_SCALE), -1, np.int16)
        hulls = [(result.hull - offset) / _OWNER_SCALE for _, _, result in drawn]
        for rank, hull in enumerate(hulls):
            cv2.fillConvexPoly(owners, np.round(hull).astype(np.int32), float(rank))
        counts = np.bincount(owners.ravel() + 1, minlength=len(drawn) + 1)[1:]
        found = []
        for rank, (number, placed, result) in enumerate(drawn):
            left, top, right, bottom = result.extent
            box = Box(x=left - origin[0], y=top - origin[1], w=right - left, h=bottom - top)
            box = box.clipped(self.width, self.height)
            area = max(float(cv2.contourArea(hulls[rank].astype(np.float32))), 1.0)
            visible = min(float(counts[rank]) / area, 1.0)
            if min(box.w, box.h) < _LEAST_BOX_PX or visible < _LEAST_VISIBLE:
                continue
            vehicle = placed.model.vehicle
            corners = None if result.plate is None else result.plate - offset
            found.append(
                VehicleTruth(
                    vehicle=number,
                    label=vehicle.label,
                    box=box,
                    visible=visible,
                    moving=number >= 0 or self.kind == "mobile",
                    plate=vehicle.plate,
                    plate_box=None if corners is None else _bounding(corners),
                    plate_legible=corners is not None and self._legible(corners, owners, rank),
                )
            )
        return tuple(found)

    def _legible(self, corners: NDArray[np.float64], owners: NDArray[np.int16], rank: int) -> bool:
        if np.linalg.norm(corners[1] - corners[0]) < LEGIBLE_PLATE_PX:
            return False
        low, high = corners.min(axis=0), corners.max(axis=0)
        if low.min() < 2 or high[0] > self.width - 2 or high[1] > self.height - 2:
            return False
        middle = corners.mean(axis=0)
        probes = np.concatenate([middle + (corners - middle) * 0.9, [middle]]) / _OWNER_SCALE
        columns = np.clip(probes[:, 0].astype(int), 0, owners.shape[1] - 1)
        rows = np.clip(probes[:, 1].astype(int), 0, owners.shape[0] - 1)
        return bool((owners[rows, columns] == rank).all())


def _sun(rng: np.random.Generator) -> tuple[float, float, float]:
    angle, height = rng.uniform(0, 2 * math.pi), rng.uniform(0.6, 1.2)
    flat = math.cos(height)
    return (flat * math.cos(angle), flat * math.sin(angle), math.sin(height))


def _bounding(corners: NDArray[np.float64]) -> Box:
    low, high = corners.min(axis=0), corners.max(axis=0)
    return Box(
        x=float(low[0]), y=float(low[1]), w=float(high[0] - low[0]), h=float(high[1] - low[1])
    )
