"""Training samples for the vehicle detector: rendered, with everything random that may vary.

Three kinds of pictures are mixed: frames of rendered streets (whole or cropped), vehicles seen from
anywhere (dash camera to bird's eye) over random grounds, and pictures without any vehicle. All then
pass through random blur, light, colour, noise, occlusion and JPEG compression, so that a detector
has little chance to learn the renderer's habits instead of vehicles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.scenes import textures
from evaluation.scenes.painter import Drawn, Light, Model, Placed, draw_shadow, draw_vehicle
from evaluation.scenes.pinhole import Pinhole
from evaluation.scenes.street import StreetCamera
from evaluation.scenes.vehicles import LABELS, random_vehicle

Image = NDArray[np.uint8]
_LEAST_SIDE_PX = 5.0
_GROUND_PX_PER_M = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A training picture.

    Attributes:
        image: uint8 [size, size, 3], BGR.
        boxes: left, top, right, bottom in pixels, float32 [n, 4].
        labels: index into :data:`evaluation.scenes.vehicles.LABELS`, int64 [n].
        visible: visible fraction of each vehicle, float32 [n].
    """

    image: Image
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    visible: NDArray[np.float32]


_Objects = list[tuple[tuple[float, float, float, float], int, float]]


class SampleFactory:
    """Renders samples one after another; the same seed gives the same sequence.

    Args:
        seed: of everything.
        size: side of the square pictures, pixels.
        streets: number of different rendered streets to draw frames from.
        mobile_share: share of dash cameras among the streets.
    """

    def __init__(
        self, seed: int, *, size: int = 320, streets: int = 20, mobile_share: float = 0.7
    ) -> None:
        self._rng = np.random.default_rng([seed, 77])
        self._size = size
        mobile = round(streets * mobile_share)
        self._streets = [
            StreetCamera("mobile" if k < mobile else "fixed", seed * 1000 + k, fps=5.0)
            for k in range(streets)
        ]
        self._grounds = [self._make_ground() for _ in range(8)]
        self._walls = [
            textures.facades(self._rng, length_m=40, height_m=14, px_per_m=12) for _ in range(3)
        ]
        self._trees = [textures.tree(self._rng) for _ in range(5)]

    def _make_ground(self) -> Image:
        rng = self._rng
        return textures.ground(
            rng,
            half_width_m=30.0,
            length_m=60.0,
            px_per_m=_GROUND_PX_PER_M,
            road_half_m=float(rng.uniform(3.5, 28.0)),
            lane_lines_m=tuple(float(v) for v in np.arange(-26, 26, rng.uniform(2.4, 4.5))),
            crossing=None,
        )

    def sample(self) -> Sample:
        """Render the next sample."""
        draw = self._rng.random()
        if draw < 0.42:
            image, objects = self._from_street()
        elif draw < 0.93:
            image, objects = self._from_anywhere()
        else:
            image, objects = self._background(), []
        image = self._occlude(image, objects)
        image = self._degrade(image)
        if self._rng.random() < 0.5:
            image = np.ascontiguousarray(image[:, ::-1])
            side = float(self._size)
            objects = [((side - r, t, side - le, b), k, v) for (le, t, r, b), k, v in objects]
        return _to_sample(image, objects, self._size)

    def street_sample(self) -> Sample:
        """A whole frame of a rendered street, letterboxed and not degraded: what the demo shows."""
        street = self._streets[int(self._rng.integers(len(self._streets)))]
        frame, truth = street.frame(int(self._rng.integers(0, 1200)))
        objects: _Objects = [
            (
                (v.box.x, v.box.y, v.box.x + v.box.w, v.box.y + v.box.h),
                LABELS.index(v.label),
                v.visible,
            )
            for v in truth.vehicles
        ]
        scale = self._size / max(frame.shape[:2])
        image, moved = self._crop(frame, objects, 0.0, 0.0, scale)
        return _to_sample(image, moved, self._size)

    def _from_street(self) -> tuple[Image, _Objects]:
        rng = self._rng
        street = self._streets[int(rng.integers(len(self._streets)))]
        frame, truth = street.frame(int(rng.integers(0, 1200)))
        objects: _Objects = [
            (
                (v.box.x, v.box.y, v.box.x + v.box.w, v.box.y + v.box.h),
                LABELS.index(v.label),
                v.visible,
            )
            for v in truth.vehicles
        ]
        height, width = frame.shape[:2]
        whole = self._size / width
        scale = whole * float(np.exp(rng.uniform(-0.15, 1.1) if rng.random() < 0.6 else 0.0))
        span = self._size / scale
        left = float(rng.uniform(min(0, width - span), max(0, width - span)))
        top = float(rng.uniform(min(0, height - span), max(0, height - span)))
        return self._crop(frame, objects, left, top, scale)

    def _crop(
        self, frame: Image, objects: _Objects, left: float, top: float, scale: float
    ) -> tuple[Image, _Objects]:
        size = self._size
        source = frame
        if scale < 0.6:  # the picture is first made smaller by area, then placed exactly
            shrunk = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            source = np.asarray(shrunk, np.uint8)
        factor = source.shape[1] / frame.shape[1]
        ratio = scale / factor
        matrix = np.array([[ratio, 0, -left * scale], [0, ratio, -top * scale]])
        image = cv2.warpAffine(source, matrix, (size, size), borderValue=(114, 114, 114))
        moved: _Objects = [
            (
                (
                    (x0 - left) * scale,
                    (y0 - top) * scale,
                    (x1 - left) * scale,
                    (y1 - top) * scale,
                ),
                label,
                visible,
            )
            for (x0, y0, x1, y1), label, visible in objects
        ]
        return np.asarray(image, np.uint8), moved

    def _background(self) -> Image:
        """Anything: gradients, noise, stripes, shapes, houses, trees."""
        rng, size = self._rng, self._size
        ends = rng.uniform(20, 235, (2, 3)).astype(np.float32)
        t = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
        picture = np.tile(ends[0] * (1 - t) + ends[1] * t, (1, size, 1))
        noise = textures.fractal_noise(rng, size, size, coarsest=int(rng.integers(2, 40)))
        picture = picture + noise[..., None] * rng.uniform(0, 50) * rng.uniform(0.5, 1, 3)
        image = textures.to_image(picture)
        if rng.random() < 0.3:
            wall = self._walls[int(rng.integers(len(self._walls)))]
            start = int(rng.integers(0, wall.shape[1] - 160))
            part = cv2.resize(wall[:, start : start + 160], (size, int(size * rng.uniform(0.4, 1))))
            top = size - part.shape[0]
            image[top:][part[..., 3] > 127] = part[..., :3][part[..., 3] > 127]
        for _ in range(int(rng.integers(0, 14))):
            self._clutter(image)
        return image

    def _clutter(self, image: Image) -> None:
        """One shape that is no vehicle: rectangle, polygon, bar, sign, person, tree."""
        rng, size = self._rng, self._size
        colour = rng.uniform(10, 245, 3).tolist()
        x, y = rng.uniform(0, size, 2)
        reach = float(np.exp(rng.uniform(math.log(6), math.log(size * 0.5))))
        kind = rng.random()
        if kind < 0.3:
            corner = (int(x + reach), int(y + reach * rng.uniform(0.2, 2.0)))
            cv2.rectangle(image, (int(x), int(y)), corner, colour, -1)
            if rng.random() < 0.4:
                inner = (int(x + reach * 0.2), int(y + reach * 0.15))
                end = (int(x + reach * 0.8), int(y + reach * 0.5))
                cv2.rectangle(image, inner, end, rng.uniform(10, 245, 3).tolist(), -1)
        elif kind < 0.5:
            corners = rng.normal((x, y), reach * 0.5, (int(rng.integers(3, 7)), 2))
            cv2.fillPoly(image, [corners.astype(np.int32)], colour, cv2.LINE_AA)
        elif kind < 0.65:
            end = (int(x + rng.normal(0, size)), int(y + rng.normal(0, size)))
            cv2.line(image, (int(x), int(y)), end, colour, int(rng.integers(1, 7)), cv2.LINE_AA)
        elif kind < 0.75:
            cv2.circle(image, (int(x), int(y)), int(reach * 0.3), colour, -1, cv2.LINE_AA)
        elif kind < 0.88:
            _person(image, rng, x, y, min(reach, size * 0.4))
        else:
            sprite = self._trees[int(rng.integers(len(self._trees)))]
            tall = int(min(max(reach, 16), size - 2))
            patch = cv2.resize(sprite, (int(tall * 0.75), tall), interpolation=cv2.INTER_AREA)
            left = int(rng.integers(0, size - patch.shape[1]))
            top = int(rng.integers(0, size - tall))
            region = image[top : top + tall, left : left + patch.shape[1]]
            region[patch[..., 3] > 127] = patch[..., :3][patch[..., 3] > 127]

    def _from_anywhere(self) -> tuple[Image, _Objects]:
        rng, size = self._rng, self._size
        pitch = float(rng.uniform(0.02, 0.35) if rng.random() < 0.5 else rng.uniform(0.25, 1.2))
        apparent = float(np.exp(rng.uniform(math.log(16), math.log(size * 0.85))))
        focal = size * float(rng.uniform(0.7, 2.2))
        reach = focal * 4.3 / apparent
        height = max(reach * math.sin(pitch), 0.9)
        if pitch < 0.12:
            height = float(rng.uniform(0.9, 3.0))
        pinhole = Pinhole(
            position=(0.0, 0.0, height),
            yaw=0.0,
            pitch=pitch,
            focal_px=focal,
            width=size,
            height=size,
        )
        image = self._background()
        if rng.random() < 0.8:
            self._lay_ground(image, pinhole)
        light = Light(
            sun=_direction(rng),
            strength=float(rng.uniform(0.0, 0.75)),
            ambient=float(rng.uniform(0.35, 0.75)),
            sky=tuple(rng.uniform(120, 240, 3).tolist()),
        )
        placed = self._place_vehicles(pinhole, reach)
        if rng.random() < 0.85:
            for vehicle in placed:
                draw_shadow(image, pinhole, vehicle, light)
        owners = np.full((size, size), -1, np.int16)
        drawn: list[tuple[Drawn, Placed]] = []
        for vehicle in placed:
            result = draw_vehicle(image, pinhole, vehicle, light)
            if result is not None:
                hull = result.hull
                cv2.fillConvexPoly(owners, np.round(hull).astype(np.int32), float(len(drawn)))
                drawn.append((result, vehicle))
        counts = np.bincount(owners.ravel() + 1, minlength=len(drawn) + 1)[1:]
        objects: _Objects = []
        for rank, (result, vehicle) in enumerate(drawn):
            area = max(float(cv2.contourArea(result.hull)), 1.0)
            visible = min(float(counts[rank]) / area, 1.0)
            label = LABELS.index(vehicle.model.vehicle.label)
            objects.append((result.extent, label, visible))
        return image, objects

    def _place_vehicles(self, pinhole: Pinhole, reach: float) -> list[Placed]:
        """Vehicles about ``reach`` metres away that do not stand in each other, farthest first."""
        rng = self._rng
        wide = 0.5 * self._size / pinhole.focal_px
        ahead = reach * math.cos(pinhole.pitch)
        common = float(rng.uniform(0, 2 * math.pi))
        placed: list[Placed] = []
        for _ in range(int(rng.integers(1, 9))):
            y = max(ahead * float(np.exp(rng.normal(0, 0.45))), 2.5)
            distance = math.hypot(y, pinhole.position[2])
            x = float(rng.uniform(-1.05, 1.05)) * wide * distance
            heading = common + float(rng.choice([0.0, math.pi])) + float(rng.normal(0, 0.08))
            if rng.random() < 0.3:
                heading = float(rng.uniform(0, 2 * math.pi))
            vehicle = random_vehicle(rng)
            clear = all(
                math.hypot(x - other.x, y - other.y)
                > 0.42 * (vehicle.length + other.model.vehicle.length)
                for other in placed
            )
            if clear:
                placed.append(Placed(model=Model(vehicle), x=x, y=y, heading=heading))
        return sorted(placed, key=lambda p: -math.hypot(p.x, p.y))

    def _lay_ground(self, image: Image, pinhole: Pinhole) -> None:
        """Paint a random ground below the horizon, in place."""
        rng, size = self._rng, self._size
        texture = self._grounds[int(rng.integers(len(self._grounds)))]
        turn = float(rng.uniform(0, 2 * math.pi))
        corners = np.array([(-8.0, 4.0), (8.0, 4.0), (8.0, 30.0), (-8.0, 30.0)])
        world = np.concatenate([corners, np.zeros((4, 1))], axis=1)
        local = (world - pinhole.position) @ pinhole.axes.T
        pixels = local[:, :2] / local[:, 2:] * pinhole.focal_px + size / 2
        if (local[:, 2] < 0.1).any():
            return
        rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
        shifted = (corners - (0, 17)) @ rotation.T + (30 + rng.uniform(-8, 8), 30)
        source = (shifted * _GROUND_PX_PER_M).astype(np.float32)
        matrix = cv2.getPerspectiveTransform(source, pixels.astype(np.float32))
        ground = cv2.warpPerspective(
            texture, matrix, (size, size), borderMode=cv2.BORDER_REFLECT, flags=cv2.INTER_LINEAR
        )
        horizon = size / 2 - pinhole.focal_px * math.tan(pinhole.pitch)
        first = int(np.clip(horizon + 1, 0, size))
        tint = rng.uniform(0.6, 1.25) * rng.uniform(0.92, 1.08, 3)
        image[first:] = textures.to_image(ground[first:] * tint)

    def _occlude(self, image: Image, objects: _Objects) -> Image:
        """Sometimes put poles and other things before the vehicles."""
        rng, size = self._rng, self._size
        if rng.random() > 0.25 or not objects:
            return image
        for _ in range(int(rng.integers(1, 4))):
            colour = rng.uniform(10, 220, 3).tolist()
            x = int(rng.integers(0, size))
            if rng.random() < 0.6:
                cv2.line(image, (x, 0), (x + int(rng.normal(0, 6)), size), colour, 3, cv2.LINE_AA)
            else:
                y, side = int(rng.integers(0, size)), int(rng.integers(5, size // 9))
                cv2.rectangle(image, (x, y), (x + side, y + side), colour, -1)
        return image

    def _degrade(self, image: Image) -> Image:
        """Light, colour, blur, resolution, noise and compression as cameras have them."""
        rng, size = self._rng, self._size
        if rng.random() < 0.25:
            factor = float(rng.uniform(0.4, 0.85))
            small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            image = np.asarray(cv2.resize(small, (size, size)), np.uint8)
        draw = rng.random()
        if draw < 0.3:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.6)), np.uint8)
        elif draw < 0.38:
            length = int(rng.integers(3, 9))
            kernel = np.zeros((length, length), np.float32)
            kernel[length // 2] = 1 / length
            image = np.asarray(cv2.filter2D(image, -1, kernel), np.uint8)
        levels = np.arange(256) / 255.0
        curve = levels ** float(np.exp(rng.normal(0, 0.25))) * rng.uniform(0.6, 1.25)
        table = textures.to_image((curve + rng.normal(0, 0.04)) * 255.0)
        image = np.asarray(cv2.LUT(image, table), np.uint8)
        picture = image.astype(np.float32) * rng.uniform(0.9, 1.1, 3)
        saturation = float(rng.choice([0.0, 1.0], p=[0.06, 0.94]) * rng.uniform(0.4, 1.3))
        grey = picture.mean(axis=2, keepdims=True)
        picture = grey + (picture - grey) * saturation
        picture = picture + rng.standard_normal(picture.shape) * rng.uniform(0, 9)
        image = textures.to_image(picture)
        if rng.random() < 0.6:
            quality = int(rng.integers(30, 96))
            _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
            image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
        return image


def _person(image: Image, rng: np.random.Generator, x: float, y: float, tall: float) -> None:
    """Someone on foot or on a bicycle, crudely, in place."""
    top, trousers = rng.uniform(10, 230, 3).tolist(), rng.uniform(10, 120, 3).tolist()
    head = (int(x), int(y))
    width = max(int(tall * 0.13), 1)
    cv2.line(image, (int(x), int(y + tall * 0.5)), (int(x - width), int(y + tall)), trousers, width)
    cv2.line(image, (int(x), int(y + tall * 0.5)), (int(x + width), int(y + tall)), trousers, width)
    axes = (max(int(tall * 0.14), 1), max(int(tall * 0.24), 1))
    cv2.ellipse(image, (int(x), int(y + tall * 0.32)), axes, 0, 0, 360, top, -1, cv2.LINE_AA)
    cv2.circle(image, head, max(int(tall * 0.09), 1), (120, 150, 190), -1, cv2.LINE_AA)


def _direction(rng: np.random.Generator) -> tuple[float, float, float]:
    """A unit vector towards a sun that is up."""
    angle, height = rng.uniform(0, 2 * math.pi), rng.uniform(0.4, 1.4)
    flat = math.cos(height)
    return flat * math.cos(angle), flat * math.sin(angle), math.sin(height)


def _to_sample(image: Image, objects: _Objects, size: int) -> Sample:
    """Clip the boxes to the picture and drop what is too small or outside."""
    boxes, labels, visibles = [], [], []
    for (x0, y0, x1, y1), label, visible in objects:
        left, right = (min(max(v, 0.0), float(size)) for v in (x0, x1))
        top, bottom = (min(max(v, 0.0), float(size)) for v in (y0, y1))
        inside = (right - left) * (bottom - top) / max((x1 - x0) * (y1 - y0), 1e-6)
        if min(right - left, bottom - top) < _LEAST_SIDE_PX or inside < 0.08:
            continue
        boxes.append((left, top, right, bottom))
        labels.append(label)
        visibles.append(min(visible, 1.0))
    return Sample(
        image=image,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.array(labels, np.int64),
        visible=np.array(visibles, np.float32),
    )
