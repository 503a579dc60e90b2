"""Parts that vehicles are built of: lofted bodies, cabins, wheels, lamps, doors, plate mounts.

Vehicle coordinates are metres: X to the vehicle's right, Y forward, Z up, origin on the ground
under its centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from evaluation.scenes import plates

Points = NDArray[np.float64]
Corner = Sequence[float] | Points
Colour = tuple[float, float, float]  # BGR, 0..255

UNDER, BODY, DETAIL, TRIM = 0, 1, 2, 3  # order of painting within a part

GLASS: Colour = (52, 46, 40)
_RUBBER: Colour = (26, 26, 27)
PLASTIC: Colour = (38, 38, 40)


@dataclass(frozen=True, slots=True)
class Face:
    """One flat polygon: its corners, colour, layer within the part, and how it takes light."""

    corners: Points
    colour: Colour
    layer: int
    material: str = "paint"  # paint, glass, light or flat
    part: int = 0


@dataclass(frozen=True, slots=True)
class PlateMount:
    """Where a plate hangs: its corners in reading order from top left, clockwise."""

    corners: Points


@dataclass
class Builder:
    """Collects the faces of a vehicle.

    Attributes:
        faces: so far.
        part: that the next ones belong to; parts are painted from far to near.
    """

    faces: list[Face] = field(default_factory=list)
    part: int = 0

    def add(
        self, corners: Sequence[Corner] | Points, colour: Colour, layer: int, material: str
    ) -> None:
        """Add a face of the current part."""
        self.faces.append(Face(np.asarray(corners, np.float64), colour, layer, material, self.part))

    def both_sides(
        self, corners: Sequence[Corner], colour: Colour, layer: int, material: str
    ) -> None:
        """Add a face of the right-hand side (seen from outside, clockwise) and its mirror image."""
        right = np.asarray(corners, np.float64)
        self.add(right, colour, layer, material)
        self.add((right * (-1.0, 1.0, 1.0))[::-1], colour, layer, material)


def loft(
    build: Builder,
    stations: Sequence[tuple[float, float, float, float]],
    colour: Colour,
    *,
    shoulder: float = 0.9,
    lower: Colour | None = None,
) -> None:
    """A body from cross-sections along Y.

    Args:
        build: takes the faces.
        stations: (y, bottom, top, half width), from the rear to the front.
        colour: of the body.
        shoulder: half width of the top edge relative to the widest line.
        lower: colour of the lowest strip of the sides, the body's where None.
    """
    profile = ((0.93, 0.0), (1.0, 0.3), (0.985, 0.72), (shoulder, 1.0))
    rings = [
        np.array([(half * w, y, low + (high - low) * z) for w, z in profile])
        for y, low, high, half in stations
    ]
    for rear, front in pairwise(rings):
        for k in range(len(profile) - 1):
            tint = lower if lower is not None and k == 0 else colour
            build.both_sides([rear[k], rear[k + 1], front[k + 1], front[k]], tint, BODY, "paint")
        mirror = (-1.0, 1.0, 1.0)
        build.add(
            [rear[-1], rear[-1] * mirror, front[-1] * mirror, front[-1]], colour, BODY, "paint"
        )
    for ring, order in ((rings[0], 1), (rings[-1], -1)):
        outline = np.concatenate([ring, (ring * (-1.0, 1.0, 1.0))[::-1]])
        build.add(outline[::-order], colour, BODY, "paint")


def cabin(
    build: Builder,
    *,
    base: tuple[float, float, float],
    roof: tuple[float, float, float],
    half: tuple[float, float],
    colour: Colour,
    windows: Sequence[tuple[float, float]],
    rear_glass: bool = True,
) -> None:
    """A greenhouse: a frustum with windscreen, rear window and side windows.

    Args:
        build: takes the faces.
        base: rear y, front y, z of the belt line.
        roof: rear y, front y, z of the roof.
        half: half width at the belt line and at the roof.
        colour: of pillars and roof.
        windows: spans of the side windows along the cabin, as fractions from rear to front.
        rear_glass: whether there is a rear window.
    """
    (rear0, front0, z0), (rear1, front1, z1) = base, roof
    wide, narrow = half
    low_rear, low_front = np.array([wide, rear0, z0]), np.array([wide, front0, z0])
    top_rear, top_front = np.array([narrow, rear1, z1]), np.array([narrow, front1, z1])
    mirror = np.array([-1.0, 1.0, 1.0])
    crown = np.array([0.88, 1.0, 1.0])
    lift = np.array([0.0, 0.0, 0.045])
    build.both_sides([low_rear, top_rear, top_front, low_front], colour, BODY, "paint")
    crown_rear, crown_front = top_rear * crown + lift, top_front * crown + lift
    build.both_sides([top_rear, crown_rear, crown_front, top_front], colour, BODY, "paint")
    build.add(
        [crown_rear, crown_rear * mirror, crown_front * mirror, crown_front], colour, BODY, "paint"
    )
    front = [low_front, top_front, top_front * mirror, low_front * mirror]
    rear = [low_rear * mirror, top_rear * mirror, top_rear, low_rear]
    build.add(front, colour, BODY, "paint")
    build.add(rear, colour, BODY, "paint")
    build.add(
        [top_front, crown_front, crown_front * mirror, top_front * mirror], colour, BODY, "paint"
    )
    build.add([top_rear * mirror, crown_rear * mirror, crown_rear, top_rear], colour, BODY, "paint")
    build.add(_inset(front, 0.06, 0.95, 0.05, 0.95), GLASS, DETAIL, "glass")
    if rear_glass:
        build.add(_inset(rear, 0.14, 0.9, 0.08, 0.92), GLASS, DETAIL, "glass")
    side = [low_rear, top_rear, top_front, low_front]
    for start, end in windows:
        build.both_sides(_inset(side, 0.1, 0.9, start, end), GLASS, DETAIL, "glass")


def _inset(corners: Sequence[Points], v0: float, v1: float, u0: float, u1: float) -> list[Points]:
    """Part of a quad (low left, top left, top right, low right): v upwards, u to the right."""
    low_left, top_left, top_right, low_right = (np.asarray(c, np.float64) for c in corners)

    def at(u: float, v: float) -> Points:
        bottom = low_left + (low_right - low_left) * u
        top = top_left + (top_right - top_left) * u
        return np.asarray(bottom + (top - bottom) * v)

    return [at(u0, v0), at(u0, v1), at(u1, v1), at(u1, v0)]


def wheel(build: Builder, half: float, y: float, radius: float, rng: np.random.Generator) -> None:
    """Arch, tyre, rim and hub on both sides, and the tyres' treads seen from front and rear."""
    angles = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    circle = np.stack([np.zeros(14), np.sin(angles), np.cos(angles)], axis=1)
    rim = tuple(float(rng.uniform(90, 190)) for _ in range(1)) * 3
    outer = half * 1.003

    def disc(scale: float, x: float, drop: float = 0.0) -> Points:
        return circle * (1, radius * scale, radius * scale) + (x, y, radius + drop)

    # clockwise seen from the right-hand side: +Y lies to the right of an onlooker there
    arch = disc(1.14, outer, 0.015)
    arch[:, 2] = np.maximum(arch[:, 2], 0.2)
    build.both_sides(list(arch), PLASTIC, DETAIL, "flat")
    build.both_sides(list(disc(1.0, outer * 1.002)), _RUBBER, TRIM, "flat")
    build.both_sides(list(disc(0.66, outer * 1.004)), (rim[0], rim[0], rim[0]), TRIM, "flat")
    build.both_sides(list(disc(0.2, outer * 1.006)), PLASTIC, TRIM, "flat")
    inner, out = half - 0.24, half * 0.99
    for sign in (-1.0, 1.0):
        low, high = y - radius * 0.8, y + radius * 0.8
        near, far = sorted((inner * sign, out * sign))
        for face_y, order in ((high, 1), (low, -1)):
            corners = np.array(
                [
                    (near, face_y, 0.0),
                    (far, face_y, 0.0),
                    (far, face_y, 2 * radius * 0.9),
                    (near, face_y, 2 * radius * 0.9),
                ]
            )
            build.add(corners[::-order], _RUBBER, UNDER, "flat")


def end_quad(x0: float, x1: float, z0: float, z1: float, y: float) -> Points:
    """A rectangle on the front (y > 0) or the rear, seen clockwise from outside."""
    corners = np.array([(x1, y, z0), (x1, y, z1), (x0, y, z1), (x0, y, z0)])
    return corners if y > 0 else corners[::-1]


def _mount(y: float, z: float) -> PlateMount:
    half_w, half_h = plates.WIDTH_M / 2, plates.HEIGHT_M / 2
    side = 1.0 if y > 0 else -1.0  # an onlooker before the front sees +X on the left
    return PlateMount(
        np.array(
            [
                (side * half_w, y, z + half_h),
                (-side * half_w, y, z + half_h),
                (-side * half_w, y, z - half_h),
                (side * half_w, y, z - half_h),
            ]
        )
    )


def ends(
    build: Builder,
    rng: np.random.Generator,
    *,
    length: float,
    half: float,
    bottom: float,
    lamps: float,
    lamp_height: float,
) -> tuple[PlateMount, PlateMount]:
    """Grille, bumpers, head and tail lamps, and where the plates hang."""
    front, rear = length / 2 + 0.012, -length / 2 - 0.012
    inner, outer = half * rng.uniform(0.42, 0.55), half * 0.8
    lit = bool(rng.random() < 0.35)
    white: Colour = (250, 252, 252) if lit else (205, 208, 205)
    red: Colour = (60, 50, 235) if lit else (36, 30, 165)
    for y in (front, rear):
        build.add(
            end_quad(-half * 0.76, half * 0.76, bottom + 0.02, bottom + 0.15, y),
            PLASTIC,
            DETAIL,
            "flat",
        )
    grille_z = (lamps - 0.16, lamps + 0.08)
    build.add(
        end_quad(-inner * 0.95, inner * 0.95, *grille_z, front),
        (30, 30, 31) if rng.random() < 0.7 else (110, 112, 114),
        DETAIL,
        "flat",
    )
    for side in (-1.0, 1.0):
        a, b = sorted((side * inner, side * outer))
        build.add(
            end_quad(a, b, lamps - lamp_height / 2, lamps + lamp_height / 2, front),
            white,
            DETAIL,
            "light",
        )
        build.add(
            end_quad(a, b, lamps - lamp_height * 0.3, lamps + lamp_height * 0.8, rear),
            red,
            DETAIL,
            "light",
        )
    plate_front = bottom + 0.24
    plate_rear = plate_front + float(rng.uniform(0.0, 0.22))
    return _mount(front + 0.012, plate_front), _mount(rear - 0.012, plate_rear)


def doors(
    build: Builder, half: float, spans: Sequence[float], z: tuple[float, float], colour: Colour
) -> None:
    """Gaps between the doors, and their handles."""
    dark = tuple(c * 0.35 for c in colour)
    x = half * 1.004
    for y in spans:
        gap = [(x, y - 0.01, z[0]), (x, y - 0.01, z[1]), (x, y + 0.01, z[1]), (x, y + 0.01, z[0])]
        build.both_sides(gap, (dark[0], dark[1], dark[2]), DETAIL, "flat")
        top = z[1] - 0.1
        grip = [(x, y + 0.06, top), (x, y + 0.06, top + 0.035)]
        grip += [(x, y + 0.22, top + 0.035), (x, y + 0.22, top)]
        build.both_sides(grip, (dark[0], dark[1], dark[2]), DETAIL, "flat")


def mirrors(build: Builder, half: float, y: float, z: float, colour: Colour) -> None:
    """Mirrors on both sides."""
    x0, x1 = half * 0.95, half + 0.17
    corners = [(x1, y, z), (x1, y + 0.03, z + 0.14), (x0, y + 0.03, z + 0.14), (x0, y, z)]
    build.both_sides(corners, colour, UNDER, "paint")
