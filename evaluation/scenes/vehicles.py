"""Vehicles as small polygon models: lofted bodies with windows, lights, wheels and plates.

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

LABELS = ("car", "van", "truck", "bus")

Points = NDArray[np.float64]
Corner = Sequence[float] | Points
Colour = tuple[float, float, float]  # BGR, 0..255

UNDER, BODY, DETAIL, TRIM = 0, 1, 2, 3  # order of painting within a part

PAINTS: tuple[Colour, ...] = (
    (225, 226, 226),
    (190, 192, 192),
    (130, 132, 134),
    (70, 72, 75),
    (34, 34, 36),
    (150, 70, 30),
    (90, 45, 20),
    (40, 40, 170),
    (28, 28, 110),
    (60, 110, 60),
    (50, 160, 215),
    (120, 170, 195),
    (170, 130, 70),
    (40, 95, 190),
)
_GLASS: Colour = (52, 46, 40)
_RUBBER: Colour = (26, 26, 27)
_PLASTIC: Colour = (38, 38, 40)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Vehicle:
    """A vehicle to draw.

    Attributes:
        label: ``car``, ``van``, ``truck`` or ``bus``.
        length, width, height: metres.
        faces: everything that is painted.
        mounts: front and rear plate.
        plate: the plate's characters, without spaces.
        plate_printed: the same as it is printed.
        plate_style: see :func:`evaluation.scenes.plates.plate_picture`.
    """

    label: str
    length: float
    width: float
    height: float
    faces: tuple[Face, ...]
    mounts: tuple[PlateMount, ...]
    plate: str
    plate_printed: str
    plate_style: int


@dataclass
class _Builder:
    faces: list[Face] = field(default_factory=list)
    part: int = 0

    def add(
        self, corners: Sequence[Corner] | Points, colour: Colour, layer: int, material: str
    ) -> None:
        self.faces.append(Face(np.asarray(corners, np.float64), colour, layer, material, self.part))

    def both_sides(
        self, corners: Sequence[Corner], colour: Colour, layer: int, material: str
    ) -> None:
        """Add a face of the right-hand side (seen from outside, clockwise) and its mirror image."""
        right = np.asarray(corners, np.float64)
        self.add(right, colour, layer, material)
        self.add((right * (-1.0, 1.0, 1.0))[::-1], colour, layer, material)


def _loft(
    build: _Builder,
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


def _cabin(
    build: _Builder,
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
    build.add(_inset(front, 0.06, 0.95, 0.05, 0.95), _GLASS, DETAIL, "glass")
    if rear_glass:
        build.add(_inset(rear, 0.14, 0.9, 0.08, 0.92), _GLASS, DETAIL, "glass")
    side = [low_rear, top_rear, top_front, low_front]
    for start, end in windows:
        build.both_sides(_inset(side, 0.1, 0.9, start, end), _GLASS, DETAIL, "glass")


def _inset(corners: Sequence[Points], v0: float, v1: float, u0: float, u1: float) -> list[Points]:
    """Part of a quad (low left, top left, top right, low right): v upwards, u to the right."""
    low_left, top_left, top_right, low_right = (np.asarray(c, np.float64) for c in corners)

    def at(u: float, v: float) -> Points:
        bottom = low_left + (low_right - low_left) * u
        top = top_left + (top_right - top_left) * u
        return np.asarray(bottom + (top - bottom) * v)

    return [at(u0, v0), at(u0, v1), at(u1, v1), at(u1, v0)]


def _wheel(build: _Builder, half: float, y: float, radius: float, rng: np.random.Generator) -> None:
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
    build.both_sides(list(arch), _PLASTIC, DETAIL, "flat")
    build.both_sides(list(disc(1.0, outer * 1.002)), _RUBBER, TRIM, "flat")
    build.both_sides(list(disc(0.66, outer * 1.004)), (rim[0], rim[0], rim[0]), TRIM, "flat")
    build.both_sides(list(disc(0.2, outer * 1.006)), _PLASTIC, TRIM, "flat")
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


def _end_quad(x0: float, x1: float, z0: float, z1: float, y: float) -> Points:
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


def _ends(
    build: _Builder,
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
            _end_quad(-half * 0.76, half * 0.76, bottom + 0.02, bottom + 0.15, y),
            _PLASTIC,
            DETAIL,
            "flat",
        )
    grille_z = (lamps - 0.16, lamps + 0.08)
    build.add(
        _end_quad(-inner * 0.95, inner * 0.95, *grille_z, front),
        (30, 30, 31) if rng.random() < 0.7 else (110, 112, 114),
        DETAIL,
        "flat",
    )
    for side in (-1.0, 1.0):
        a, b = sorted((side * inner, side * outer))
        build.add(
            _end_quad(a, b, lamps - lamp_height / 2, lamps + lamp_height / 2, front),
            white,
            DETAIL,
            "light",
        )
        build.add(
            _end_quad(a, b, lamps - lamp_height * 0.3, lamps + lamp_height * 0.8, rear),
            red,
            DETAIL,
            "light",
        )
    plate_front = bottom + 0.24
    plate_rear = plate_front + float(rng.uniform(0.0, 0.22))
    return _mount(front + 0.012, plate_front), _mount(rear - 0.012, plate_rear)


def _doors(
    build: _Builder, half: float, spans: Sequence[float], z: tuple[float, float], colour: Colour
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


def _mirrors(build: _Builder, half: float, y: float, z: float, colour: Colour) -> None:
    x0, x1 = half * 0.95, half + 0.17
    corners = [(x1, y, z), (x1, y + 0.03, z + 0.14), (x0, y + 0.03, z + 0.14), (x0, y, z)]
    build.both_sides(corners, colour, UNDER, "paint")


def _car(build: _Builder, rng: np.random.Generator, paint: Colour) -> tuple[float, ...]:
    """A sedan, hatchback, estate, pick-up or sport utility vehicle; gives length, half, height."""
    shape = str(rng.choice(["sedan", "hatchback", "estate", "suv"], p=[0.35, 0.3, 0.15, 0.2]))
    tall = shape == "suv"
    length = float(rng.uniform(3.7, 4.2) if shape == "hatchback" else rng.uniform(4.3, 4.9))
    half = float(rng.uniform(0.86, 0.95))
    height = float(rng.uniform(1.6, 1.78) if tall else rng.uniform(1.4, 1.52))
    bottom = 0.28 if tall else 0.2
    belt = height * float(rng.uniform(0.6, 0.65))
    hood = belt - float(rng.uniform(0.05, 0.12))
    tail = belt if shape != "sedan" else belt - 0.02
    e = length / 2
    stations = [
        (-e, bottom + 0.12, tail - 0.16, half * 0.84),
        (-e + 0.1, bottom + 0.02, tail - 0.03, half * 0.94),
        (-e * 0.7, bottom, tail, half),
        (-e * 0.2, bottom, belt, half),
        (e * 0.34, bottom, belt, half),
        (e * 0.62, bottom, hood, half * 0.99),
        (e - 0.16, bottom + 0.02, hood - 0.1, half * 0.92),
        (e, bottom + 0.1, hood - 0.22, half * 0.8),
    ]
    sill: Colour = _PLASTIC if tall or rng.random() < 0.3 else paint
    _loft(build, stations, paint, lower=sill)
    rear_base = {"sedan": -e * 0.66, "hatchback": -e * 0.93, "estate": -e * 0.95, "suv": -e * 0.94}
    rear_roof = {"sedan": -e * 0.36, "hatchback": -e * 0.7, "estate": -e * 0.84, "suv": -e * 0.82}
    roof_front = e * float(rng.uniform(0.05, 0.16))
    windows = [(0.52, 0.9), (0.14, 0.49)]
    if shape in {"estate", "suv"}:
        windows = [(0.64, 0.93), (0.37, 0.61), (0.08, 0.34)]
    _cabin(
        build,
        base=(rear_base[shape], e * 0.44, belt - 0.02),
        roof=(rear_roof[shape], roof_front, height - 0.045),
        half=(half * 0.9, half * float(rng.uniform(0.7, 0.78))),
        colour=paint if rng.random() < 0.85 else _PLASTIC,
        windows=windows,
    )
    _doors(build, half, (-e * 0.34, e * 0.06), (bottom + 0.12, belt - 0.1), paint)
    _mirrors(build, half, e * 0.3, belt, paint)
    return length, half, height, bottom, hood - 0.32, 0.33 if not tall else 0.38


def _van(build: _Builder, rng: np.random.Generator, paint: Colour) -> tuple[float, ...]:
    """A panel van or a minibus."""
    length = float(rng.uniform(4.6, 5.6))
    half, height = float(rng.uniform(0.95, 1.02)), float(rng.uniform(1.95, 2.4))
    bottom, belt, e = 0.26, 1.15, length / 2
    stations = [
        (-e, bottom + 0.05, height - 0.14, half * 0.93),
        (-e + 0.12, bottom, height, half * 0.97),
        (-e * 0.5, bottom, height, half),
        (e * 0.36, bottom, height, half),
        (e * 0.46, bottom, height - 0.06, half * 0.99),
    ]
    _loft(build, stations, paint, shoulder=0.86)
    build.part = 1
    nose = [
        (e * 0.44, bottom, belt, half * 0.99),
        (e * 0.82, bottom, belt - 0.1, half * 0.97),
        (e - 0.1, bottom + 0.02, belt - 0.26, half * 0.9),
        (e, bottom + 0.08, belt - 0.36, half * 0.82),
    ]
    _loft(build, nose, paint)
    _cabin(
        build,
        base=(e * 0.3, e * 0.84, belt - 0.06),
        roof=(e * 0.32, e * 0.44, height - 0.1),
        half=(half * 0.95, half * 0.86),
        colour=paint,
        windows=[(0.12, 0.82)],
        rear_glass=False,
    )
    build.part = 0
    x = half * 1.0
    if rng.random() < 0.5:
        for start, end in ((-0.86, -0.34), (-0.28, 0.22)):
            pane = [(x, e * start, 1.25), (x * 0.94, e * start, height - 0.3)]
            pane += [(x * 0.94, e * end, height - 0.3), (x, e * end, 1.25)]
            build.both_sides(pane, _GLASS, DETAIL, "glass")
    for side in (-1.0, 1.0):
        a, b = sorted((side * 0.06, side * half * 0.78))
        build.add(_end_quad(a, b, 1.25, height - 0.32, -e - 0.012), _GLASS, DETAIL, "glass")
    _doors(build, half, (-e * 0.3, e * 0.3), (bottom + 0.12, height - 0.25), paint)
    _mirrors(build, half, e * 0.6, belt, _PLASTIC)
    return length, half, height, bottom, belt - 0.5, 0.34


def _truck(build: _Builder, rng: np.random.Generator, paint: Colour) -> tuple[float, ...]:
    """A lorry: cab, and a box, a tarpaulin or a flat bed."""
    length = float(rng.uniform(6.0, 9.0))
    half, height, e = 1.2, float(rng.uniform(2.7, 3.5)), length / 2
    cab_rear, bottom = e - float(rng.uniform(1.6, 2.0)), 0.42
    cab_top = min(height, float(rng.uniform(2.4, 2.9)))
    cargo = PAINTS[int(rng.integers(0, len(PAINTS)))] if rng.random() < 0.5 else (222, 224, 222)
    flat_bed = rng.random() < 0.2
    box_top = 1.5 if flat_bed else height
    _loft(
        build,
        [
            (-e, 0.95, box_top, half),
            (0.0, 0.95, box_top, half),
            (cab_rear - 0.15, 0.95, box_top, half),
        ],
        cargo,
        shoulder=0.985,
    )
    build.add(_end_quad(-half * 0.8, half * 0.8, 0.5, 0.93, -e + 0.02), _PLASTIC, UNDER, "flat")
    frame = [
        (0.9, -e + 0.05, 0.5),
        (0.9, -e + 0.05, 0.95),
        (0.9, cab_rear, 0.95),
        (0.9, cab_rear, 0.5),
    ]
    build.both_sides(frame, _PLASTIC, UNDER, "flat")
    stripe = tuple(float(v) for v in rng.uniform(30, 220, 3))
    if not flat_bed and rng.random() < 0.6:
        x, z0 = half * 1.006, box_top - float(rng.uniform(0.6, 1.0))
        band = [(x, -e * 0.9, z0 - 0.35), (x, -e * 0.9, z0), (x, cab_rear * 0.5, z0)]
        band.append((x, cab_rear * 0.5, z0 - 0.35))
        build.both_sides(band, (stripe[0], stripe[1], stripe[2]), DETAIL, "paint")
    if not flat_bed:
        seam = _end_quad(-0.012, 0.012, 1.0, box_top - 0.1, -e - 0.012)
        build.add(seam, (90, 90, 90), DETAIL, "flat")
    build.part = 1
    _loft(
        build,
        [
            (cab_rear, bottom, cab_top, half * 0.97),
            (e - 0.5, bottom, cab_top, half * 0.98),
            (e - 0.12, bottom, cab_top - 0.12, half * 0.97),
            (e, bottom + 0.03, cab_top - 0.35, half * 0.94),
        ],
        paint,
        shoulder=0.9,
        lower=_PLASTIC,
    )
    screen = _end_quad(-half * 0.84, half * 0.84, 1.5, cab_top - 0.42, e + 0.012)
    build.add(screen, _GLASS, DETAIL, "glass")
    x, z1 = half * 0.985, cab_top - 0.4
    pane = [
        (x, cab_rear + 0.45, 1.5),
        (x, cab_rear + 0.45, z1),
        (x, e - 0.3, z1),
        (x, e - 0.3, 1.5),
    ]
    build.both_sides(pane, _GLASS, DETAIL, "glass")
    _doors(build, half * 0.985, (cab_rear + 0.4,), (bottom + 0.3, cab_top - 0.3), paint)
    _mirrors(build, half, e - 0.2, 1.7, _PLASTIC)
    return length, half, height, bottom, 0.85, 0.48


def _bus(build: _Builder, rng: np.random.Generator, paint: Colour) -> tuple[float, ...]:
    """A city bus with a row of windows."""
    length = float(rng.uniform(8.5, 11.5))
    half, height, bottom, e = 1.25, float(rng.uniform(2.9, 3.2)), 0.32, length / 2
    top = tuple(float(c) for c in (paint if rng.random() < 0.6 else (225, 228, 230)))
    _loft(
        build,
        [
            (-e, bottom + 0.05, height - 0.12, half * 0.95),
            (-e + 0.2, bottom, height, half * 0.99),
            (0.0, bottom, height, half),
            (e - 0.25, bottom, height, half * 0.99),
            (e, bottom + 0.05, height - 0.15, half * 0.94),
        ],
        (top[0], top[1], top[2]),
        shoulder=0.93,
        lower=paint,
    )
    x, panes = half * 1.004, int(length // 1.5)
    step = (length - 1.0) / panes
    for k in range(panes):
        y0 = -e + 0.5 + k * step + 0.06
        y1 = y0 + step - 0.12
        pane = [(x, y0, 1.35), (x * 0.985, y0, height - 0.5)]
        pane += [(x * 0.985, y1, height - 0.5), (x, y1, 1.35)]
        build.both_sides(pane, _GLASS, DETAIL, "glass")
    front = _end_quad(-half * 0.86, half * 0.86, 1.15, height - 0.5, e + 0.012)
    build.add(front, _GLASS, DETAIL, "glass")
    sign = _end_quad(-half * 0.6, half * 0.6, height - 0.44, height - 0.2, e + 0.012)
    build.add(sign, (20, 30, 30), DETAIL, "flat")
    text = _end_quad(-half * 0.45, half * 0.3, height - 0.38, height - 0.27, e + 0.02)
    build.add(text, (40, 170, 240), TRIM, "light")
    rear = _end_quad(-half * 0.7, half * 0.7, 1.6, height - 0.55, -e - 0.012)
    build.add(rear, _GLASS, DETAIL, "glass")
    _mirrors(build, half, e - 0.05, 1.9, _PLASTIC)
    return length, half, height, bottom, 0.85, 0.47


_SHAPES = {"car": _car, "van": _van, "truck": _truck, "bus": _bus}


def random_vehicle(rng: np.random.Generator, label: str | None = None) -> Vehicle:
    """A vehicle of random shape, size, colour and plate.

    Args:
        rng: the source of everything random in it.
        label: one of :data:`LABELS`; drawn at random, mostly cars, where None.
    """
    if label is None:
        label = str(rng.choice(LABELS, p=[0.66, 0.14, 0.13, 0.07]))
    neutral = rng.random() < 0.5  # most of the world's cars are white, grey or black
    base = PAINTS[int(rng.integers(0, 5) if neutral else rng.integers(0, len(PAINTS)))]
    jitter = rng.uniform(0.8, 1.15, 3)
    paint = tuple(float(min(c * j, 245.0)) for c, j in zip(base, jitter, strict=True))
    build = _Builder()
    length, half, height, bottom, lamps, radius = _SHAPES[label](
        build, rng, (paint[0], paint[1], paint[2])
    )
    end_part = build.part
    e = length / 2
    rear_axle = -e * (0.58 if label != "bus" else 0.5)
    front_axle = e - {"car": 0.85, "van": 0.9, "truck": 0.95, "bus": 2.3}[label]
    for part, y in ((0, rear_axle), (end_part, front_axle)):
        build.part = part
        _wheel(build, half, y, radius, rng)
    first = len(build.faces)
    mounts = _ends(
        build,
        rng,
        length=length,
        half=half,
        bottom=bottom,
        lamps=lamps,
        lamp_height=float(rng.uniform(0.1, 0.2)),
    )
    for index in range(first, len(build.faces)):  # the rear's lamps belong to the rear part
        face = build.faces[index]
        if face.corners[0, 1] < 0:
            build.faces[index] = Face(face.corners, face.colour, face.layer, face.material, 0)
    plate, printed = plates.random_text(rng)
    return Vehicle(
        label=label,
        length=length,
        width=2 * half,
        height=height,
        faces=tuple(build.faces),
        mounts=mounts,
        plate=plate,
        plate_printed=printed,
        plate_style=int(rng.choice([0, 1, 2], p=[0.5, 0.35, 0.15])),
    )
