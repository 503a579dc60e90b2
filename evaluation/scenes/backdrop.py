"""The street without its vehicles: sky, ground, rows of houses, trees, seen by a pinhole camera."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.scenes import textures
from evaluation.scenes.pinhole import Pinhole

Image = NDArray[np.uint8]
FAR_M = 130.0  # the street ends in haze here
_GROUND_PX_PER_M = 26.0
_FACADE_PX_PER_M = 22.0
_FACADE_HEIGHT_M = 16.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Street:
    """Plan of a street along Y.

    Attributes:
        road_half_m: half width of the carriageway.
        lane_lines_m: X of the dashed lines between lanes.
        houses_m: distance of the houses' fronts from the middle of the road.
        crossing: Y from and to of a street that crosses, or None.
        period_m: the plan repeats along Y after this length.
    """

    road_half_m: float
    lane_lines_m: tuple[float, ...]
    houses_m: float
    crossing: tuple[float, float] | None
    period_m: float


class Backdrop:
    """Renders the street from a camera that may move along it.

    All maps from pixels to textures are computed once; a move along Y selects another part of the
    textures, which repeat with the street's period.

    Args:
        rng: source of everything random in the street.
        camera: where it is seen from.
        street: its plan.
        coarse: houses are drawn at the resolution divided by this, for speed.
    """

    def __init__(
        self, rng: np.random.Generator, camera: Pinhole, street: Street, *, coarse: int = 1
    ) -> None:
        self._camera, self._street, self._coarse = camera, street, coarse
        self._shape = (camera.height, camera.width)
        rays = camera.rays()
        self._horizon = int(
            np.clip(np.count_nonzero(rays[:, camera.width // 2, 2] > 0), 1, camera.height)
        )
        self._sky = self._make_sky(rng)
        self._ground_texture, self._ground_map, self._ground_rows = self._make_ground(rng, rays)
        self._walls = [self._make_wall(rng, rays, side) for side in (-1.0, 1.0)]
        self._end_wall = None if street.crossing is None else self._make_end_wall(rng, rays)
        self._trees = self._plant(rng)

    def _make_sky(self, rng: np.random.Generator) -> Image:
        height, width = self._shape
        picture = np.empty((height, width, 3), np.uint8)
        picture[: self._horizon] = textures.sky(rng, self._horizon, width)
        picture[self._horizon :] = picture[self._horizon - 1]
        # a skyline of distant trees and roofs
        ridge = textures.fractal_noise(rng, 1, width, coarsest=12, octaves=6)[0]
        tops = (self._horizon - 14 - 12 * np.clip(ridge, -1, 1.5)).astype(int)
        rows = np.arange(height)[:, None]
        hills = (rows >= tops[None, :]) & (rows < self._horizon + 3)
        shade = np.array([135, 142, 128]) * rng.uniform(0.8, 1.1)
        picture[hills] = (picture[hills] * 0.35 + shade * 0.65).astype(np.uint8)
        return picture

    def _make_ground(
        self, rng: np.random.Generator, rays: NDArray[np.float32]
    ) -> tuple[Image, tuple[NDArray[np.int16], NDArray[np.uint16]], int]:
        street, camera = self._street, self._camera
        half = 14.0 if street.crossing is None else 32.0
        texture = textures.ground(
            rng,
            half_width_m=half,
            length_m=street.period_m,
            px_per_m=_GROUND_PX_PER_M,
            road_half_m=street.road_half_m,
            lane_lines_m=street.lane_lines_m,
            crossing=street.crossing,
        )
        top = min(self._horizon + 1, camera.height - 1)
        down = rays[top:]
        reach = camera.position[2] / np.maximum(-down[..., 2], 1e-4)
        x = (camera.position[0] + down[..., 0] * reach + half) * _GROUND_PX_PER_M
        y = np.minimum(down[..., 1] * reach, FAR_M) * _GROUND_PX_PER_M
        x = np.clip(x, 0, texture.shape[1] - 2)
        maps = cv2.convertMaps(x.astype(np.float32), y.astype(np.float32), cv2.CV_16SC2)
        return self._repeated(texture, axis=0), (maps[0], maps[1]), top  # type: ignore[return-value] # the stubs do not know the types of the fixed-point maps

    def _repeated(self, texture: Image, *, axis: int) -> Image:
        copies = int(np.ceil((FAR_M + 2) / self._street.period_m)) + 1
        return np.concatenate([texture] * copies, axis=axis)

    def _make_wall(
        self, rng: np.random.Generator, rays: NDArray[np.float32], side: float
    ) -> tuple[Image, NDArray[np.int16], NDArray[np.uint16], slice, slice]:
        street, camera = self._street, self._camera
        texture = textures.facades(
            rng, length_m=street.period_m, height_m=_FACADE_HEIGHT_M, px_per_m=_FACADE_PX_PER_M
        )
        if street.crossing is not None:
            first, last = (
                round((v + d) * _FACADE_PX_PER_M)
                for v, d in zip(street.crossing, (-4, 4), strict=True)
            )
            texture[:, first:last, 3] = 0
        texture[..., :3] = (texture[..., :3] * (0.86 if side > 0 else 0.98)).astype(np.uint8)
        distance = side * street.houses_m - camera.position[0]
        across = rays[..., 0] * side
        reach = abs(distance) / np.maximum(across, 1e-4)
        y = rays[..., 1] * reach
        z = camera.position[2] + rays[..., 2] * reach
        seen = (across > 1e-3) & (y < FAR_M) & (y > 0.0) & (z > 0) & (z < _FACADE_HEIGHT_M)
        rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        where = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        tx = np.where(seen, y * _FACADE_PX_PER_M, -50)[where]
        ty = np.where(seen, (_FACADE_HEIGHT_M - z) * _FACADE_PX_PER_M, -50)[where]
        middle, step = self._coarse // 2, self._coarse
        tx, ty = (m[middle::step, middle::step].astype(np.float32) for m in (tx, ty))
        fixed, part = cv2.convertMaps(tx, ty, cv2.CV_16SC2)
        repeated = self._repeated(texture, axis=1)
        return (repeated, fixed, part, *where)  # type: ignore[return-value] # as above

    def _make_end_wall(
        self, rng: np.random.Generator, rays: NDArray[np.float32]
    ) -> tuple[Image, NDArray[np.bool_]]:
        """Houses on the far side of the crossing street, which face the camera."""
        street, camera = self._street, self._camera
        assert street.crossing is not None  # noqa: S101 - the caller has looked
        texture = textures.facades(
            rng, length_m=120.0, height_m=_FACADE_HEIGHT_M, px_per_m=_FACADE_PX_PER_M
        )
        plane = street.crossing[1] + 4.0 - camera.position[1]
        reach = plane / np.maximum(rays[..., 1], 1e-4)
        x = camera.position[0] + rays[..., 0] * reach
        z = camera.position[2] + rays[..., 2] * reach
        seen = (np.abs(x) > street.houses_m) & (np.abs(x) < 60) & (z > 0) & (z < _FACADE_HEIGHT_M)
        tx = np.where(seen, (x + 60) * _FACADE_PX_PER_M, -50).astype(np.float32)
        ty = np.where(seen, (_FACADE_HEIGHT_M - z) * _FACADE_PX_PER_M, -50).astype(np.float32)
        picture = np.asarray(cv2.remap(texture, tx, ty, cv2.INTER_LINEAR), np.uint8)
        return picture[..., :3], picture[..., 3] > 127

    def _plant(
        self, rng: np.random.Generator
    ) -> list[tuple[float, float, float, tuple[Image, Image]]]:
        """Trees and lamps: X, Y and height in metres, sharp and blurred picture."""
        street = self._street
        sharp = [textures.tree(rng) for _ in range(6)]
        # distant trees are drawn from a blurred picture, lest they flicker
        sprites = [(sprite, np.asarray(cv2.blur(sprite, (5, 5)), np.uint8)) for sprite in sharp]
        trees = []
        for side in (-1.0, 1.0):
            y = float(rng.uniform(2, 12))
            while y < street.period_m - 4:
                blocked = street.crossing is not None and (
                    street.crossing[0] - 3 < y < street.crossing[1] + 3
                )
                if not blocked:
                    x = side * (street.road_half_m + float(rng.uniform(1.6, 2.4)))
                    sprite = sprites[int(rng.integers(len(sprites)))]
                    trees.append((x, y, float(rng.uniform(5.0, 8.0)), sprite))
                y += float(rng.uniform(9, 20))
        return trees

    def render(self, travelled_m: float = 0.0) -> Image:
        """The street as seen after the camera has moved along Y by ``travelled_m``.

        Returns:
            uint8 [height, width, 3], BGR, a fresh array.
        """
        offset = travelled_m % self._street.period_m
        image = self._sky.copy()
        start = round((offset + self._camera.position[1]) * _GROUND_PX_PER_M)
        image[self._ground_rows :] = cv2.remap(
            self._ground_texture[start : start + 32_000],
            *self._ground_map,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        if self._end_wall is not None:
            picture, mask = self._end_wall
            image[mask] = picture[mask]
        start = round((offset + self._camera.position[1]) * _FACADE_PX_PER_M)
        for texture, fixed, part, rows, columns in self._walls:
            seen = cv2.remap(texture[:, start : start + 32_000], fixed, part, cv2.INTER_LINEAR)
            region = image[rows, columns]
            if self._coarse > 1:
                seen = cv2.resize(seen, (region.shape[1], region.shape[0]))
            _paste(region, seen)
        self._draw_trees(image, offset)
        return image

    def _draw_trees(self, image: Image, offset: float) -> None:
        period = self._street.period_m
        visible = []
        for x, y, height, sprite in self._trees:
            ahead = (y - offset - self._camera.position[1]) % period
            visible += [
                (distance, x, height, sprite)
                for distance in (ahead, ahead + period)
                if 3.0 < distance < 90.0
            ]
        for distance, x, height, sprite in sorted(visible, key=lambda tree: -tree[0]):
            foot = np.array([[x, self._camera.position[1] + distance, 0.0]])
            pixels, depth = self._camera.project(foot)
            if depth[0] < 2.0:
                continue
            tall = height * self._camera.focal_px / depth[0]
            chosen = sprite[1] if tall < 0.4 * sprite[0].shape[0] else sprite[0]
            _blend_sprite(image, chosen, float(pixels[0, 0]), float(pixels[0, 1]), tall)


def _blend_sprite(image: Image, sprite: Image, x: float, foot: float, tall: float) -> None:
    """Paste a sprite of ``tall`` pixels with its foot at (x, foot), only its visible part."""
    height, width = image.shape[:2]
    scale = tall / sprite.shape[0]
    left, top = x - sprite.shape[1] * scale / 2, foot - tall
    x0, x1 = max(int(left), 0), min(int(left + sprite.shape[1] * scale), width)
    y0, y1 = max(int(top), 0), min(int(foot), height)
    if x1 - x0 < 2 or y1 - y0 < 4:
        return
    matrix = np.array([[1 / scale, 0, (x0 - left) / scale], [0, 1 / scale, (y0 - top) / scale]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    patch = cv2.warpAffine(sprite, matrix, (x1 - x0, y1 - y0), flags=flags)
    _paste(image[y0:y1, x0:x1], patch)


def _paste(region: Image, patch: cv2.typing.MatLike) -> None:
    """Copy the opaque pixels of a picture with alpha, in place."""
    colour = np.empty(region.shape, np.uint8)
    alpha = np.empty(region.shape[:2], np.uint8)
    cv2.mixChannels([patch], [colour, alpha], [0, 0, 1, 1, 2, 2, 3, 3])
    cv2.threshold(alpha, 127, 255, cv2.THRESH_BINARY, dst=alpha)
    cv2.copyTo(colour, alpha, region)
