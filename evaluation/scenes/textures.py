"""Textures of a street: noise, ground, facades, trees, sky; BGR, from a seeded generator."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Field = NDArray[np.float32]


def fractal_noise(
    rng: np.random.Generator, height: int, width: int, *, coarsest: int = 4, octaves: int = 6
) -> Field:
    """Sum of smoothed noises, each twice as fine and half as strong, float32, about -1..1.

    Args:
        rng: source of the noise.
        height: of the result in pixels.
        width: of the result in pixels.
        coarsest: cells of the first octave along the longer side.
        octaves: how many are summed.
    """
    total = np.zeros((height, width), np.float32)
    strength, cells = 1.0, coarsest
    for _ in range(octaves):
        rows = max(2, min(height, round(cells * height / max(height, width))))
        columns = max(2, min(width, round(cells * width / max(height, width))))
        grid = rng.standard_normal((rows, columns)).astype(np.float32)
        total += strength * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        strength, cells = strength * 0.6, cells * 2
    return np.asarray(total / 1.8, np.float32)


def to_image(pixels: NDArray[np.floating]) -> Image:
    """Clip to 0..255 and convert to uint8."""
    return np.asarray(np.clip(pixels, 0, 255), np.uint8)


def sky(rng: np.random.Generator, height: int, width: int) -> Image:
    """A sky with clouds, brightest at the horizon (the lowest row), uint8 [height, width, 3]."""
    top = np.array([(190, 140, 95), (200, 170, 140), (175, 168, 162)][int(rng.integers(3))])
    low = np.array([232, 222, 210])
    t = np.linspace(0, 1, height)[:, None, None] ** 0.7
    base = top * (1 - t) + low * t
    clouds = fractal_noise(rng, height, width, coarsest=5)
    cover = np.clip(clouds * 0.9 + rng.uniform(-0.2, 0.4), 0, 1)[..., None] * 0.75
    white = 238 - 22 * np.clip(fractal_noise(rng, height, width), -1, 1)[..., None]
    return to_image(base * (1 - cover) + white * cover)


def ground(
    rng: np.random.Generator,
    *,
    half_width_m: float,
    length_m: float,
    px_per_m: float,
    road_half_m: float,
    lane_lines_m: tuple[float, ...],
    crossing: tuple[float, float] | None,
) -> Image:
    """Road, markings, kerbs, pavements and grass seen from above.

    Rows run along the road (row 0 is Y = 0), columns across it (column 0 is X = -half_width_m).

    Args:
        rng: source of stains and cracks.
        half_width_m: extent to either side.
        length_m: extent along the road.
        px_per_m: resolution.
        road_half_m: half width of the carriageway.
        lane_lines_m: X of the dashed lines.
        crossing: Y from and to of a street that crosses, or None; without one the texture repeats
            seamlessly along Y where length_m is a multiple of 6 m.
    """
    rows, columns = round(length_m * px_per_m), round(2 * half_width_m * px_per_m)
    x = (np.arange(columns) + 0.5) / px_per_m - half_width_m
    y = (np.arange(rows) + 0.5) / px_per_m
    on_road = np.abs(x) < road_half_m
    crossed = np.zeros(rows, bool) if crossing is None else (y > crossing[0]) & (y < crossing[1])
    asphalt = on_road[None, :] | crossed[:, None]
    pavement = (np.abs(x) < road_half_m + 2.6)[None, :] | np.zeros((rows, 1), bool)
    if crossing is not None:
        near = (y > crossing[0] - 2.6) & (y < crossing[1] + 2.6)
        pavement = pavement | near[:, None]
    tone = float(rng.uniform(78, 118))
    picture = np.empty((rows, columns, 3), np.float32)
    grass = rng.random() < 0.6
    picture[:] = (58, 112, 92) if grass else (140, 146, 150)
    picture[pavement] = (158, 164, 168)
    picture[asphalt] = (tone * 1.03, tone, tone * 0.98)
    slabs = pavement & ~asphalt & (((x % 0.9) < 0.03)[None, :] | ((y % 0.9) < 0.03)[:, None])
    picture[slabs] *= 0.82
    kerb = (np.abs(np.abs(x) - road_half_m - 0.08) < 0.09)[None, :] & ~crossed[:, None]
    picture[kerb] = (188, 190, 192)
    paint = np.zeros((rows, columns), bool)
    for line in lane_lines_m:
        paint |= (np.abs(x - line) < 0.07)[None, :] & ((y % 6.0) < 3.0)[:, None]
    paint |= (np.abs(np.abs(x) - road_half_m + 0.3) < 0.06)[None, :]
    paint &= ~crossed[:, None]
    if crossing is not None:
        stop = (y > crossing[0] - 1.6) & (y < crossing[0] - 1.2)
        paint |= stop[:, None] & ((x > 0) & (x < road_half_m))[None, :]
        zebra = (y > crossing[1] + 0.6) & (y < crossing[1] + 3.4)
        paint |= zebra[:, None] & (on_road & ((x % 1.0) < 0.5))[None, :]
        middle = sum(crossing) / 2
        paint |= (np.abs(y - middle) < 0.07)[:, None] & (~on_road & ((x % 6) < 3))[None, :]
    picture[paint] = (215, 222, 224)
    stains = fractal_noise(rng, rows, columns, coarsest=9, octaves=7)
    if crossing is None:  # blend the ends so that the texture repeats
        ramp = np.clip(y / 6.0, 0, 1)[:, None].astype(np.float32)
        stains = stains * ramp + np.roll(stains, rows // 3, axis=0)[::-1] * (1 - ramp) * 0
    grain = rng.standard_normal((rows, columns)).astype(np.float32)
    weight = np.where(asphalt, 0.055, 0.09) if grass else np.full(asphalt.shape, 0.055)
    picture *= (1 + stains * weight + grain * 0.045)[..., None]
    wear = (np.abs(np.abs(x % 3.5 - 1.75) - 0.8) < 0.35) & on_road
    picture[:, wear] *= 0.95
    _repairs(
        rng,
        picture,
        px_per_m=px_per_m,
        half_width_m=half_width_m,
        road_half_m=road_half_m,
        length_m=length_m,
    )
    return to_image(picture)


def _repairs(
    rng: np.random.Generator,
    picture: NDArray[np.float32],
    *,
    px_per_m: float,
    half_width_m: float,
    road_half_m: float,
    length_m: float,
) -> None:
    """Patches, cracks and manhole covers on the carriageway, in place."""
    for _ in range(int(length_m / 7)):
        cx = (half_width_m + rng.uniform(-1, 1) * (road_half_m - 1)) * px_per_m
        cy = rng.uniform(2, length_m - 2) * px_per_m
        centre = (int(cx), int(cy))
        kind = rng.random()
        if kind < 0.35:
            size = (rng.uniform(0.4, 1.5, 2) * px_per_m).astype(int)
            patch = picture[
                centre[1] : centre[1] + int(size[1]), centre[0] : centre[0] + int(size[0])
            ]
            patch *= rng.uniform(0.72, 0.92)
        elif kind < 0.55:
            cv2.circle(picture, centre, int(0.32 * px_per_m), (62, 62, 64), -1, cv2.LINE_AA)
            cv2.circle(picture, centre, int(0.27 * px_per_m), (84, 84, 86), 2, cv2.LINE_AA)
        else:
            steps = np.cumsum(rng.normal((0.0, 0.22), 0.18, (14, 2)), axis=0) * px_per_m
            path = (steps + centre).astype(np.int32)
            cv2.polylines(picture, [path], False, (58, 58, 60), max(1, int(px_per_m * 0.03)))


def facades(
    rng: np.random.Generator, *, length_m: float, height_m: float, px_per_m: float
) -> Image:
    """A row of houses, uint8 [height, length, 4] with alpha; the lowest row is the ground."""
    rows, columns = round(height_m * px_per_m), round(length_m * px_per_m)
    picture = np.zeros((rows, columns, 4), np.float32)
    grain = fractal_noise(rng, rows, columns, coarsest=24, octaves=5)
    start = 0.0
    while start < length_m - 1:
        width = min(float(rng.uniform(6, 13)), length_m - start)
        left, right = round(start * px_per_m), round((start + width) * px_per_m)
        start += width
        if rng.random() < 0.14:  # a gap: garden wall and hedge
            top = rows - round(2.0 * px_per_m)
            picture[top:, left:right] = (48, 88, 70, 255)
            picture[rows - round(0.7 * px_per_m) :, left:right] = (120, 130, 140, 255)
            continue
        storeys = int(rng.integers(2, max(3, int(height_m / 3.1))))
        wall_top = rows - round((storeys * 2.9 + 0.4) * px_per_m)
        wall = np.array(
            [(150, 185, 205), (190, 200, 205), (95, 115, 160), (170, 190, 190), (120, 160, 190)][
                int(rng.integers(5))
            ],
            np.float32,
        ) * rng.uniform(0.75, 1.1)
        picture[wall_top:, left:right] = (*wall, 255)
        if rng.random() < 0.4:  # bricks
            picture[wall_top : rows : max(3, int(px_per_m / 6)), left:right, :3] *= 0.88
        roof = max(0, wall_top - round(rng.uniform(0.5, 2.2) * px_per_m))
        tile = np.array([(70, 80, 120), (80, 82, 86), (60, 70, 95)][int(rng.integers(3))])
        slope = round((wall_top - roof) * 0.7)
        outline = np.array(
            [(left, wall_top), (left + slope, roof), (right - slope, roof), (right, wall_top)]
        )
        layer = np.ascontiguousarray(picture)
        cv2.fillPoly(layer, [outline.astype(np.int32)], (*tile.tolist(), 255.0))
        picture = layer
        _windows(rng, picture, left=left, right=right, storeys=storeys, px_per_m=px_per_m)
    picture[..., :3] *= (1 + 0.06 * grain)[..., None]
    return to_image(picture)


def _windows(
    rng: np.random.Generator,
    picture: NDArray[np.float32],
    *,
    left: int,
    right: int,
    storeys: int,
    px_per_m: float,
) -> None:
    """Windows of each storey, and a door or a shop front on the ground floor, in place."""
    rows = picture.shape[0]
    pane = rng.uniform(1.0, 1.5) * px_per_m
    count = max(1, int((right - left) / (pane * rng.uniform(1.7, 2.4))))
    pitch = (right - left) / count
    frame = (225, 228, 230, 255) if rng.random() < 0.7 else (60, 70, 80, 255)
    shop = rng.random() < 0.3
    for storey in range(storeys):
        floor = rows - round((storey * 2.9 + 0.9) * px_per_m)
        for k in range(count):
            x0 = round(left + pitch * (k + 0.5) - pane / 2)
            x1, y1, y0 = round(x0 + pane), floor, floor - round(1.5 * px_per_m)
            if storey == 0 and k == count // 2:
                y1 = rows
            if storey == 0 and shop:
                x0, x1 = round(left + pitch * k + 2), round(left + pitch * (k + 1) - 2)
                y1 = rows - round(0.3 * px_per_m)
            cv2.rectangle(picture, (x0 - 2, y0 - 2), (x1 + 1, y1 + 1), frame, -1)
            glass = rng.uniform(35, 110)
            cv2.rectangle(
                picture, (x0, y0), (x1 - 1, y1 - 1), (glass * 1.15, glass, glass, 255), -1
            )
            if rng.random() < 0.5:
                middle = (x0 + x1) // 2
                cv2.line(picture, (middle, y0), (middle, y1), frame, 1)
    if shop:
        band = rng.uniform(20, 220, 3).tolist()
        top = rows - round(2.95 * px_per_m)
        cv2.rectangle(
            picture, (left + 3, top), (right - 3, top + round(0.45 * px_per_m)), (*band, 255.0), -1
        )


def tree(rng: np.random.Generator, height: int = 320) -> Image:
    """A tree or a street lamp, uint8 [height, width, 4] with alpha, foot at the bottom centre."""
    width = int(height * 0.75)
    picture = np.zeros((height, width, 4), np.float32)
    middle = width // 2
    if rng.random() < 0.2:
        pole = (105, 108, 110, 255)
        cv2.rectangle(picture, (middle - 2, int(height * 0.06)), (middle + 2, height), pole, -1)
        cv2.line(
            picture, (middle, int(height * 0.06)), (int(width * 0.8), int(height * 0.03)), pole, 3
        )
        cv2.rectangle(
            picture,
            (int(width * 0.7), int(height * 0.025)),
            (int(width * 0.86), int(height * 0.045)),
            (190, 195, 198, 255),
            -1,
        )
        return to_image(picture)
    trunk = int(height * rng.uniform(0.018, 0.03))
    cv2.rectangle(
        picture, (middle - trunk, height // 2), (middle + trunk, height), (45, 62, 80, 255), -1
    )
    leaf = np.array([rng.uniform(25, 60), rng.uniform(75, 125), rng.uniform(45, 105)])
    for _ in range(170):
        angle, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random())
        cx = middle + np.cos(angle) * reach * width * 0.36
        cy = height * 0.36 + np.sin(angle) * reach * height * 0.29
        light = 0.62 + 0.5 * (1 - cy / (height * 0.7)) + rng.normal(0, 0.09)
        size = int(height * rng.uniform(0.025, 0.065))
        cv2.circle(
            picture, (int(cx), int(cy)), size, (*(leaf * light).tolist(), 255.0), -1, cv2.LINE_AA
        )
    grain = rng.standard_normal((height, width)).astype(np.float32)
    picture[..., :3] *= (1 + 0.16 * cv2.GaussianBlur(grain, (0, 0), 1.2) * 2)[..., None]
    return to_image(picture)
