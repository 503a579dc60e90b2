"""Puts rendered plates into scenes and photographs them badly: perspective, blur, noise, JPEG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.training.plate_render import Floats, Pixels, Plate, PlateRenderer, line_mask

PHOTO_PACKAGES = "gnome-backgrounds mate-backgrounds plasma-workspace-wallpapers"
"""Debian packages with free photographs (no plates in them) that serve as backgrounds."""

_PHOTO_FOLDERS = (Path("/usr/share/backgrounds"), Path("/usr/share/wallpapers"))


def load_backgrounds(limit: int = 120, longest: int = 1000) -> list[Pixels]:
    """Installed wallpapers, each uint8 [h, w, 3] BGR with a longest side of ``longest`` pixels."""
    paths = sorted(
        p
        for folder in _PHOTO_FOLDERS
        if folder.is_dir()
        for p in folder.rglob("*")
        if p.suffix.lower() in {".jpg", ".png", ".webp"} and not p.is_symlink()
    )
    images: list[Pixels] = []
    for path in paths[:: max(1, len(paths) // limit)]:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None or min(image.shape[:2]) < 300:
            continue
        scale = longest / max(image.shape[:2])
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        images.append(np.asarray(small, dtype=np.uint8))
    return images


def random_quad(
    rng: np.random.Generator, centre: tuple[float, float], width: float, height: float
) -> NDArray[np.float32]:
    """The corners of a turned, sheared, foreshortened plate: float32 [4, 2], clockwise."""
    w, h = width / 2, height / 2
    corners = np.array([[-w, -h], [w, -h], [w, h], [-w, h]], np.float64)
    turn = np.deg2rad(rng.normal(0, 4.5) if rng.random() < 0.85 else rng.uniform(-16, 16))
    shear = np.tan(np.deg2rad(rng.normal(0, 6)))
    across = np.array([[1, shear], [0, 1]])
    spin = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    corners = corners @ (spin @ across).T
    corners += rng.normal(0, 0.02, (4, 2)) * np.array([width, height])
    corners *= np.array([rng.uniform(0.75, 1.05), 1.0])
    return np.asarray(corners + np.array(centre), np.float32)


def paste(scene: Pixels, plate: Plate, quad: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Draw the plate into ``scene`` at ``quad``, with the light of its place; in place."""
    height, width = plate.mask.shape
    source = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    shrink = width / max(8.0, float(np.ptp(quad[:, 0])))
    pixels: NDArray[Any] = plate.pixels
    mask: NDArray[Any] = plate.mask
    if shrink > 1.3:  # a lens and a sensor average over what one pixel covers
        sigma = 0.42 * shrink
        pixels = cv2.GaussianBlur(pixels, (0, 0), sigma)
        mask = cv2.GaussianBlur(mask, (0, 0), sigma * 0.6)
    x0, y0 = np.floor(quad.min(axis=0)).astype(int) - 1
    x1, y1 = np.ceil(quad.max(axis=0)).astype(int) + 2
    x0, y0 = max(x0, 0), max(y0, 0)
    x1, y1 = min(x1, scene.shape[1]), min(y1, scene.shape[0])
    if x1 <= x0 or y1 <= y0:
        return
    matrix = cv2.getPerspectiveTransform(source, quad - np.array([x0, y0], np.float32))
    size = (int(x1 - x0), int(y1 - y0))
    drawn = cv2.warpPerspective(pixels, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    drawn = _light(drawn.astype(np.float32), rng)
    alpha = cv2.warpPerspective(mask, matrix, size)[:, :, None]
    view = scene[y0:y1, x0:x1]
    view[:] = np.clip(view + alpha * (drawn - view), 0, 255).astype(np.uint8)


def _light(pixels: Floats, rng: np.random.Generator) -> Floats:
    """Exposure, colour cast, shadow edge and glare on the plate alone."""
    height, width = pixels.shape[:2]
    gain = rng.uniform(0.35, 1.05) * rng.uniform(0.9, 1.1, 3)
    pixels = pixels * gain.astype(np.float32)
    if rng.random() < 0.35:
        ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
        angle = rng.uniform(0, 2 * np.pi)
        across = np.cos(angle) * (xs / width - rng.uniform(0.2, 0.8))
        along = np.sin(angle) * (ys / height - rng.uniform(0.2, 0.8))
        edge = 1 / (1 + np.exp(-(across + along) * rng.uniform(3, 60)))
        pixels = pixels * (1 - np.float32(rng.uniform(0.2, 0.6)) * edge[:, :, None])
    if rng.random() < 0.08:
        ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
        gx, gy = rng.uniform(0, width), rng.uniform(0, height)
        far = ((xs - gx) / width) ** 2 + ((ys - gy) / height) ** 2
        spot = np.exp(-far / rng.uniform(0.01, 0.1)).astype(np.float32)
        pixels = pixels + spot[:, :, None] * np.float32(rng.uniform(30, 160))
    return np.asarray(pixels, dtype=np.float32)


def photograph(image: Pixels, rng: np.random.Generator, *, harsh: float = 1.0) -> Pixels:
    """Lens, sensor and codec: blur, contrast, noise, sharpening, JPEG.

    Args:
        image: uint8 [h, w, 3].
        rng: random source.
        harsh: scales the strength of blur and noise.
    """
    pixels: NDArray[Any] = image
    if rng.random() < 0.6:
        sigma = float(rng.uniform(0.3, 1.1)) * harsh
        pixels = cv2.GaussianBlur(
            pixels, (0, 0), sigma, sigmaY=sigma * float(rng.uniform(0.7, 1.4))
        )
    if rng.random() < 0.10:
        pixels = _smear(pixels, rng, harsh)
    work = pixels.astype(np.float32)
    if rng.random() < 0.5:
        middle = float(work.mean())
        work = middle + (work - middle) * rng.uniform(0.5, 1.3) + rng.uniform(-25, 35)
    if rng.random() < 0.6:
        sigma = abs(rng.normal(0, 5)) * harsh
        grain = rng.standard_normal(work.shape[:2], dtype=np.float32) * np.float32(sigma)
        work = work + grain[:, :, None]
    if rng.random() < 0.35:  # the halo of in-camera sharpening
        soft = cv2.GaussianBlur(work, (0, 0), float(rng.uniform(0.8, 1.6)))
        work = work + (work - soft) * np.float32(rng.uniform(0.3, 1.6))
    if rng.random() < 0.25:
        gamma = rng.uniform(0.6, 1.6)
        work = 255 * np.power(np.clip(work, 0, 255) / 255, gamma)
    pixels = np.clip(work, 0, 255).astype(np.uint8)
    if rng.random() < 0.7:
        quality = int(rng.uniform(25, 95))
        _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
        pixels = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return np.asarray(pixels, dtype=np.uint8)


def _smear(pixels: Pixels, rng: np.random.Generator, harsh: float) -> Pixels:
    length = max(2, round(float(rng.uniform(2, 5)) * harsh))
    kernel = np.zeros((length, length), np.float32)
    if rng.random() < 0.7:
        kernel[length // 2] = 1 / length
    else:
        np.fill_diagonal(kernel, 1 / length)
    return np.asarray(cv2.filter2D(pixels, -1, kernel), dtype=np.uint8)


class SceneRenderer:
    """Draws backgrounds: pieces of photographs, vehicle-like shapes, text that is no plate."""

    def __init__(
        self, plates: PlateRenderer, photos: Sequence[Pixels], rng: np.random.Generator
    ) -> None:
        self._plates = plates
        self._photos = photos
        self._rng = rng

    def background(self, height: int, width: int) -> Pixels:
        """A plate-free scene, uint8 [height, width, 3] BGR."""
        rng = self._rng
        if self._photos and rng.random() < 0.55:
            scene = self._piece(height, width)
        else:
            scene = self._gradient(height, width)
        if rng.random() < 0.75:
            self._vehicle(scene)
        for _ in range(int(rng.integers(0, 4))):
            self._lettering(scene)
        return scene

    def _piece(self, height: int, width: int) -> Pixels:
        rng = self._rng
        photo = self._photos[int(rng.integers(len(self._photos)))]
        zoom = rng.uniform(0.7, 3.0)
        h = max(8, min(photo.shape[0], int(height * zoom)))
        w = max(8, min(photo.shape[1], int(width * zoom)))
        y = int(rng.integers(photo.shape[0] - h + 1))
        x = int(rng.integers(photo.shape[1] - w + 1))
        piece = cv2.resize(
            photo[y : y + h, x : x + w], (width, height), interpolation=cv2.INTER_AREA
        )
        return np.array(piece, dtype=np.uint8)

    def _gradient(self, height: int, width: int) -> Pixels:
        rng = self._rng
        corners = rng.uniform(0, 255) + rng.uniform(-60, 60, (2, 2, 3))
        big = cv2.resize(
            corners.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR
        )
        return np.clip(big, 0, 255).astype(np.uint8)

    def _vehicle(self, scene: Pixels) -> None:
        """Body, glass, bumper, lamps and grille as flat shapes: edges like those around plates."""
        rng = self._rng
        height, width = scene.shape[:2]
        body = np.clip(rng.uniform(10, 245) + rng.uniform(-60, 60, 3), 0, 255)
        x0, x1 = sorted(rng.uniform(-0.2, 1.2, 2) * width)
        y0 = rng.uniform(-0.3, 0.4) * height
        y1 = rng.uniform(0.6, 1.3) * height
        if x1 - x0 < width * 0.4:
            x0, x1 = -5, width + 5
        for _ in range(int(rng.integers(2, 9))):
            tone = np.clip(body * rng.uniform(0.3, 1.3), 0, 255).tolist()
            ax, bx = sorted(rng.uniform(x0, x1, 2))
            ay = rng.uniform(y0, y1)
            by = ay + rng.uniform(0.02, 0.35) * height
            slant = rng.normal(0, 0.04) * height
            shape = np.array([[ax, ay], [bx, ay + slant], [bx, by + slant], [ax, by]], np.int32)
            cv2.fillConvexPoly(scene, shape, tone, lineType=cv2.LINE_AA)
        for _ in range(int(rng.integers(0, 4))):  # lamps
            centre = (int(rng.uniform(x0, x1)), int(rng.uniform(y0, y1)))
            axes = (
                int(rng.uniform(0.02, 0.12) * width) + 1,
                int(rng.uniform(0.02, 0.1) * height) + 1,
            )
            red = (rng.uniform(0, 80), rng.uniform(0, 80), rng.uniform(100, 255))
            white = (rng.uniform(180, 255),) * 3
            colour = red if rng.random() < 0.6 else white
            cv2.ellipse(scene, centre, axes, 0, 0, 360, colour, -1, cv2.LINE_AA)
        if rng.random() < 0.5:  # grille, louvres, railings
            self._stripes(scene)

    def _stripes(self, scene: Pixels) -> None:
        rng = self._rng
        height, width = scene.shape[:2]
        w, h = int(rng.uniform(0.1, 0.6) * width), int(rng.uniform(0.05, 0.3) * height)
        x, y = int(rng.integers(max(1, width - w))), int(rng.integers(max(1, height - h)))
        part = scene[y : y + h, x : x + w]
        tones = rng.uniform(0, 255, (2, 3))
        part[:] = tones[0].astype(np.uint8)
        step = int(rng.integers(3, 14))
        if rng.random() < 0.6:
            for k in range(0, h, step):
                cv2.line(part, (0, k), (w, k), tones[1].tolist(), max(1, step // 3))
        if rng.random() < 0.5:
            for k in range(0, w, step):
                cv2.line(part, (k, 0), (k, h), tones[1].tolist(), max(1, step // 3))

    def _lettering(self, scene: Pixels) -> None:
        """Emblems, stickers, shop signs and time stamps."""
        rng = self._rng
        height, width = scene.shape[:2]
        size = int(rng.uniform(0.02, 0.12) * height)
        if size < 4:
            return
        mask = line_mask(rng, self._plates.any_face(), self._plates.words(), size, 1.0)
        mask = mask[:, : width - 1]
        x = int(rng.integers(max(1, width - mask.shape[1])))
        y = int(rng.integers(max(1, height - size)))
        part = scene[y : y + mask.shape[0], x : x + mask.shape[1]]
        alpha = mask[: part.shape[0], : part.shape[1], None] * np.float32(rng.uniform(0.4, 1))
        colour = rng.uniform(0, 255, 3).astype(np.float32)
        part[:] = (part + alpha * (colour - part)).astype(np.uint8)


def reader_crop(
    plates: PlateRenderer, scenes: SceneRenderer, rng: np.random.Generator
) -> tuple[Pixels, str]:
    """A crop like those that a localiser hands to a reader.

    Returns:
        uint8 [h, w, 3] BGR, the plate 38 to 230 pixels wide with a margin that is often wrong
        by a tenth; and the plate's text.
    """
    width = float(np.exp(rng.uniform(np.log(44), np.log(230))))
    plate = plates.plate(80 if width < 130 else 112)
    aspect = plate.mask.shape[1] / plate.mask.shape[0]
    if aspect > 2.4:
        width *= 1.5
    height = width / aspect
    rows, columns = int(height * 1.9) + 8, int(width * 1.6) + 8
    scene = scenes.background(rows, columns)
    quad = random_quad(rng, (columns / 2, rows / 2), width, height)
    paste(scene, plate, quad, rng)
    scene = photograph(scene, rng, harsh=float(np.clip(width / 110, 0.45, 1.8)))
    (x0, y0), (x1, y1) = quad.min(axis=0), quad.max(axis=0)
    w, h = x1 - x0, y1 - y0
    margins = rng.normal(0.09, 0.08, 4).clip(-0.03, 0.35) * np.array([w, h, w, h])
    left, top = max(0, int(x0 - margins[0])), max(0, int(y0 - margins[1]))
    right, bottom = int(np.ceil(x1 + margins[2])), int(np.ceil(y1 + margins[3]))
    return scene[top:bottom, left:right], plate.text


def finder_scene(
    plates: PlateRenderer, scenes: SceneRenderer, rng: np.random.Generator, size: int = 192
) -> tuple[Pixels, list[tuple[float, float, float, float]]]:
    """A scene with no, one or two plates, 20 to 110 pixels wide.

    Returns:
        uint8 [size, size, 3] BGR, and the plates' bounding boxes (centre x, centre y, w, h).
    """
    scene = scenes.background(size, size)
    count = int(rng.choice([0, 1, 2], p=[0.17, 0.7, 0.13]))
    boxes: list[tuple[float, float, float, float]] = []
    for _ in range(count):
        width = float(np.exp(rng.uniform(np.log(20), np.log(110))))
        plate = plates.plate(64 if width < 70 else 96)
        height = width * plate.mask.shape[0] / plate.mask.shape[1]
        x = float(rng.uniform(0.45 * width, size - 0.45 * width))
        y = float(rng.uniform(0.5 * height, size - 0.5 * height))
        quad = random_quad(rng, (x, y), width, height)
        (x0, y0), (x1, y1) = quad.min(axis=0), quad.max(axis=0)
        box = (float(x0 + x1) / 2, float(y0 + y1) / 2, float(x1 - x0), float(y1 - y0))
        if any(
            abs(box[0] - b[0]) < (box[2] + b[2]) / 2 + 4
            and abs(box[1] - b[1]) < (box[3] + b[3]) / 2 + 4
            for b in boxes
        ):
            continue
        if rng.random() < 0.5:  # the recess or holder that most plates sit in
            tone = rng.uniform(0, 110, 3).tolist()
            grow = (rng.uniform(1.03, 1.5), rng.uniform(1.05, 1.8))
            seat = (quad - np.array([x, y])) * np.array(grow) + np.array([x, y])
            cv2.fillConvexPoly(scene, seat.astype(np.int32), tone, lineType=cv2.LINE_AA)
        paste(scene, plate, quad, rng)
        boxes.append(box)
    return photograph(scene, rng, harsh=0.7), boxes
