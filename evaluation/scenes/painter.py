"""Drawing vehicles into a picture: projection, hidden faces, light, shadow, plates."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.scenes.pinhole import NEAR_M, Pinhole
from evaluation.scenes.plates import plate_picture
from evaluation.scenes.vehicle_parts import BODY, TRIM, UNDER
from evaluation.scenes.vehicles import Vehicle

Image = NDArray[np.uint8]
_SHIFT = 4  # fractional bits of the coordinates given to OpenCV
_MIN_PLATE_PX = 6.0  # narrower plates are a bright speck


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """Where light comes from.

    Attributes:
        sun: unit vector towards the sun in the world.
        strength: of the sun, 0 (overcast) to 1.
        ambient: brightness of a face in shade, about 0.5.
        sky: colour that glass and glossy paint reflect, BGR.
    """

    sun: tuple[float, float, float] = (0.45, -0.35, 0.82)
    strength: float = 0.5
    ambient: float = 0.55
    sky: tuple[float, float, float] = (225, 205, 180)


class Model:
    """A vehicle prepared for drawing: all corners in one array, normals and colours by face."""

    def __init__(self, vehicle: Vehicle) -> None:
        self.vehicle = vehicle
        faces = vehicle.faces
        counts = np.array([len(face.corners) for face in faces])
        self.points = np.concatenate([face.corners for face in faces])
        self.parts = np.array([face.part for face in faces])
        self.starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        self.ends = self.starts + counts
        self.centres = np.add.reduceat(self.points, self.starts) / counts[:, None]
        # the normal of a flat polygon is perpendicular to two of its chords
        first, second = (
            self.points[self.starts + k + 2] - self.points[self.starts + k] for k in (0, 1)
        )
        stacked = np.cross(first, second)
        self.normals = stacked / np.maximum(np.linalg.norm(stacked, axis=1, keepdims=True), 1e-9)
        self._turn_outwards()
        self.colours = np.array([face.colour for face in faces])
        self.layers = np.array([face.layer for face in faces])
        self.glass = np.array([face.material == "glass" for face in faces])
        self.plain = np.array([face.material in {"light", "flat"} for face in faces])
        self.body = np.array([face.layer == BODY for face in faces])
        # treads and mirrors are thin and dark: painted whichever way they face
        self.always = np.array([face.layer == UNDER for face in faces])

    def _turn_outwards(self) -> None:
        """Turn each normal away from the middle of its part, measured relative to its size."""
        for part in np.unique(self.parts):
            members = np.flatnonzero(self.parts == part)
            low, high = self.centres[members].min(axis=0), self.centres[members].max(axis=0)
            outwards = (self.centres[members] - (low + high) / 2) / np.maximum(high - low, 0.1) ** 2
            inverted = np.einsum("ij,ij->i", outwards, self.normals[members]) < 0
            upright = self.normals[members, 2]  # every nearly level face is a bonnet or a roof
            inverted = np.where(np.abs(upright) > 0.6, upright < 0, inverted)
            self.normals[members[inverted]] *= -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A vehicle in the world: where its centre stands on the ground and where it heads.

    ``heading`` is in radians, 0 along +Y, positive to the right (towards +X).
    """

    model: Model
    x: float
    y: float
    heading: float

    def to_world(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Vehicle coordinates to world coordinates, float64 [n, 3]."""
        return points @ self.rotation.T + (self.x, self.y, 0.0)

    @property
    def rotation(self) -> NDArray[np.float64]:
        """Turns vehicle directions into world directions, float64 [3, 3]."""
        s, c = np.sin(self.heading), np.cos(self.heading)
        return np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What was drawn of one vehicle, in pixels, not clipped to the picture.

    Attributes:
        extent: left, top, right, bottom.
        hull: outline of the whole vehicle, float32 [n, 2].
        plate: corners of the plate that is turned to the camera, float64 [4, 2], or None.
    """

    extent: tuple[float, float, float, float]
    hull: NDArray[np.float32]
    plate: NDArray[np.float64] | None


def draw_shadow(image: Image, camera: Pinhole, placed: Placed, light: Light) -> None:
    """Darken the ground under and beside a vehicle, in place."""
    vehicle = placed.model.vehicle
    half_w, half_l = vehicle.width / 2 + 0.06, vehicle.length / 2 + 0.05
    corners = np.array([(-half_w, -half_l, 0), (half_w, -half_l, 0), (half_w, half_l, 0)])
    corners = np.concatenate([corners, [(-half_w, half_l, 0)]])
    if _surely_outside(camera, placed):
        return
    ground = placed.to_world(corners)
    _darken(image, camera, ground, 0.5)
    if light.strength > 0.15:
        sun = np.array(light.sun)
        offset = -sun[:2] / max(sun[2], 0.3) * vehicle.height * 0.8
        cast = np.concatenate([ground, ground + np.array([offset[0], offset[1], 0.0])])
        _darken(image, camera, cast, 1.0 - 0.55 * light.strength)


def _darken(image: Image, camera: Pinhole, ground: NDArray[np.float64], factor: float) -> None:
    """Multiply the picture by ``factor`` inside the hull of some ground points, softly."""
    pixels, depth = camera.project(ground)
    if depth.max() < NEAR_M or depth.min() < -2.0:
        return
    hull = cv2.convexHull(pixels.astype(np.float32))[:, 0]
    soft = max(float(np.ptp(hull[:, 1])) * 0.12, 1.0)
    left, top = np.floor(hull.min(axis=0) - 2 * soft).astype(int)
    right, bottom = np.ceil(hull.max(axis=0) + 2 * soft).astype(int)
    left, top = max(left, 0), max(top, 0)
    right, bottom = min(right, image.shape[1]), min(bottom, image.shape[0])
    if right - left < 2 or bottom - top < 2:
        return
    shrink = max(1.0, soft / 2)  # the soft edge is made at a lower resolution
    size = (max(int((right - left) / shrink), 2), max(int((bottom - top) / shrink), 2))
    mask = np.full((size[1], size[0]), 255, np.uint8)
    scale = np.array([size[0] / (right - left), size[1] / (bottom - top)])
    local = (hull - (left, top)) * scale
    cv2.fillConvexPoly(mask, np.round(local * 16).astype(np.int32), 255.0 * factor, 16, _SHIFT)
    mask = np.asarray(cv2.blur(mask, (5, 5)), np.uint8)
    mask = np.asarray(cv2.resize(mask, (right - left, bottom - top)), np.uint8)
    region = image[top:bottom, left:right]
    cv2.multiply(region, cv2.merge([mask, mask, mask]), dst=region, scale=1 / 255)


def draw_vehicle(image: Image, camera: Pinhole, placed: Placed, light: Light) -> Drawn | None:
    """Draw a vehicle in place.

    Returns:
        Where it was drawn; None where it is behind the camera or wholly outside the picture.
    """
    model = placed.model
    if _surely_outside(camera, placed):
        return None
    pixels, depth = camera.project(placed.to_world(model.points))
    if depth.max() < 1.0:
        return None
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    if high[0] < 0 or high[1] < 0 or low[0] >= camera.width or low[1] >= camera.height:
        return None
    eye = (np.array(camera.position) - (placed.x, placed.y, 0.0)) @ placed.rotation
    towards = eye - model.centres
    distance = np.linalg.norm(towards, axis=1)
    facing = model.always | (np.einsum("ij,ij->i", model.normals, towards) > 0)
    colours = _shade(model, placed, light, towards / distance[:, None])
    hull = cv2.convexHull(pixels.astype(np.float32))[:, 0]
    fixed = np.round(pixels * (1 << _SHIFT)).astype(np.int32)
    fine = float(high[0] - low[0]) > 40  # below this, trims are smaller than a pixel or two
    for part in _far_to_near(model, eye):
        chosen = np.flatnonzero(facing & (model.parts == part) & (fine | (model.layers < TRIM)))
        order = np.lexsort((-distance[chosen], model.layers[chosen]))
        for index in chosen[order]:
            corners = fixed[model.starts[index] : model.ends[index]]
            cv2.fillConvexPoly(image, corners, colours[index], cv2.LINE_AA, _SHIFT)
    plate = _draw_plate(image, camera, placed, eye)
    extent = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    return Drawn(extent=extent, hull=np.asarray(hull, np.float32), plate=plate)


def _surely_outside(camera: Pinhole, placed: Placed) -> bool:
    """Whether a vehicle's bounding sphere misses the picture; cheap, may say no in doubt."""
    vehicle = placed.model.vehicle
    radius = 0.5 * (vehicle.length + vehicle.width)
    pixels, depth = camera.project(np.array([[placed.x, placed.y, vehicle.height / 2]]))
    if depth[0] < -radius:
        return True
    if depth[0] < 2 * radius:
        return False
    reach = 1.5 * radius * camera.focal_px / depth[0]
    return bool(pixels[0, 0] < -reach or pixels[0, 0] > camera.width + reach)


def _far_to_near(model: Model, eye: NDArray[np.float64]) -> list[int]:
    """Parts in painting order: part 0 lies behind part 1 along the vehicle."""
    if not model.parts.any():
        return [0]
    rear_of_front = model.centres[model.parts == 1, 1].min()
    return [0, 1] if eye[1] > rear_of_front else [1, 0]


def _shade(
    model: Model, placed: Placed, light: Light, view: NDArray[np.float64]
) -> list[tuple[float, float, float]]:
    """Colour of each face: Lambert's law, sky light from above, reflections on glass and paint."""
    normals = model.normals @ placed.rotation.T
    sun = np.maximum(normals @ np.array(light.sun), 0.0) * light.strength
    level = light.ambient * (0.82 + 0.3 * normals[:, 2]) + sun
    level = np.where(model.plain, np.maximum(level, 0.75), level)
    shaded = model.colours * level[:, None]
    grazing = 1.0 - np.abs(np.einsum("ij,ij->i", model.normals, view))
    mirror = np.where(model.glass, 0.12 + 0.3 * np.maximum(normals[:, 2], 0), 0.0)
    mirror += np.where(model.body, 0.22 * grazing**3 * np.maximum(normals[:, 2], 0.15), 0.0)
    mirror += np.where(model.glass, 0.35 * grazing**3, 0.0)
    mixed = shaded * (1 - mirror[:, None]) + np.array(light.sky) * mirror[:, None]
    return [(b, g, r) for b, g, r in np.clip(mixed, 0, 255).tolist()]


def _draw_plate(
    image: Image, camera: Pinhole, placed: Placed, eye: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Draw the plate that faces the camera; its corners, or None where none does."""
    vehicle = placed.model.vehicle
    for mount in vehicle.mounts:
        y = mount.corners[0, 1]
        if (eye[1] - y) * y <= 0:
            continue
        pixels, depth = camera.project(placed.to_world(mount.corners))
        if depth.min() < NEAR_M:
            return None
        width = float(np.linalg.norm(pixels[1] - pixels[0]))
        if width >= _MIN_PLATE_PX:
            _warp(image, pixels, width, plate_picture(vehicle.plate_printed, vehicle.plate_style))
        return pixels
    return None


def _warp(
    image: Image, corners: NDArray[np.float64], width: float, levels: tuple[Image, ...]
) -> None:
    """Paste the fitting level of a picture pyramid onto a quadrilateral, with soft edges."""
    fitting = [level for level in levels if level.shape[1] >= width]
    source = fitting[-1] if fitting else levels[0]
    left, top = np.floor(corners.min(axis=0)).astype(int) - 1
    right, bottom = np.ceil(corners.max(axis=0)).astype(int) + 2
    left, top = max(left, 0), max(top, 0)
    right, bottom = min(right, image.shape[1]), min(bottom, image.shape[0])
    if right - left < 2 or bottom - top < 2:
        return
    h, w = source.shape[:2]
    outline = np.array([(0, 0), (w, 0), (w, h), (0, h)], np.float32) - 0.5
    target = (corners - (left, top)).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(outline, target)
    size = (right - left, bottom - top)
    picture = cv2.warpPerspective(source, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    mask = np.zeros((size[1], size[0]), np.uint8)
    cv2.fillConvexPoly(mask, np.round(target * 16).astype(np.int32), 255, cv2.LINE_AA, _SHIFT)
    weight = mask[..., None].astype(np.float32) / 255
    region = image[top:bottom, left:right]
    region[:] = (region * (1 - weight) + picture * weight).astype(np.uint8)
