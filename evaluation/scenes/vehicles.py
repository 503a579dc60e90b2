"""Cars, vans, trucks and buses of random shape, size and colour, as small polygon models.

Coordinates are those of `evaluation.scenes.vehicle_parts`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluation.scenes import plates
from evaluation.scenes.vehicle_parts import (
    DETAIL,
    GLASS,
    PLASTIC,
    TRIM,
    UNDER,
    Builder,
    Colour,
    Face,
    PlateMount,
    cabin,
    doors,
    end_quad,
    ends,
    loft,
    mirrors,
    wheel,
)

LABELS = ("car", "van", "truck", "bus")

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


def _car(build: Builder, rng: np.random.Generator, paint: Colour) -> tuple[float, ...]:
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
    sill: Colour = PLASTIC if tall or rng.random() < 0.3 else paint
    loft(build, stations, paint, lower=sill)
    rear_base = {"sedan": -e * 0.66, "hatchback": -e * 0.93, "estate": -e * 0.95, "suv": -e * 0.94}
    rear_roof = {"sedan": -e * 0.36, "hatchback": -e * 0.7, "estate": -e * 0.84, "suv": -e * 0.82}
    roof_front = e * float(rng.uniform(0.05, 0.16))
    windows = [(0.52, 0.9), (0.14, 0.49)]
    if shape in {"estate", "suv"}:
        windows = [(0.64, 0.93), (0.37, 0.61), (0.08, 0.34)]
    cabin(
        build,
        base=(rear_base[shape], e * 0.44, belt - 0.02),
        roof=(rear_roof[shape], roof_front, height - 0.045),
        half=(half * 0.9, half * float(rng.uniform(0.7, 0.78))),
        colour=paint if rng.random() < 0.85 else PLASTIC,
        windows=windows,
    )
    doors(build, half, (-e * 0.34, e * 0.06), (bottom + 0.12, belt - 0.1), paint)
    mirrors(build, half, e * 0.3, belt, paint)
    return length, half, height, bottom, hood - 0.32, 0.33 if not tall else 0.38


def _van(build: Builder, rng: np.random.Generator, paint: Colour) -> tuple[float, ...]:
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
    loft(build, stations, paint, shoulder=0.86)
    build.part = 1
    nose = [
        (e * 0.44, bottom, belt, half * 0.99),
        (e * 0.82, bottom, belt - 0.1, half * 0.97),
        (e - 0.1, bottom + 0.02, belt - 0.26, half * 0.9),
        (e, bottom + 0.08, belt - 0.36, half * 0.82),
    ]
    loft(build, nose, paint)
    cabin(
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
            build.both_sides(pane, GLASS, DETAIL, "glass")
    for side in (-1.0, 1.0):
        a, b = sorted((side * 0.06, side * half * 0.78))
        build.add(end_quad(a, b, 1.25, height - 0.32, -e - 0.012), GLASS, DETAIL, "glass")
    doors(build, half, (-e * 0.3, e * 0.3), (bottom + 0.12, height - 0.25), paint)
    mirrors(build, half, e * 0.6, belt, PLASTIC)
    return length, half, height, bottom, belt - 0.5, 0.34


def _truck(build: Builder, rng: np.random.Generator, paint: Colour) -> tuple[float, ...]:
    """A lorry: cab, and a box, a tarpaulin or a flat bed."""
    length = float(rng.uniform(6.0, 9.0))
    half, height, e = 1.2, float(rng.uniform(2.7, 3.5)), length / 2
    cab_rear, bottom = e - float(rng.uniform(1.6, 2.0)), 0.42
    cab_top = min(height, float(rng.uniform(2.4, 2.9)))
    cargo = PAINTS[int(rng.integers(0, len(PAINTS)))] if rng.random() < 0.5 else (222, 224, 222)
    flat_bed = rng.random() < 0.2
    box_top = 1.5 if flat_bed else height
    loft(
        build,
        [
            (-e, 0.95, box_top, half),
            (0.0, 0.95, box_top, half),
            (cab_rear - 0.15, 0.95, box_top, half),
        ],
        cargo,
        shoulder=0.985,
    )
    build.add(end_quad(-half * 0.8, half * 0.8, 0.5, 0.93, -e + 0.02), PLASTIC, UNDER, "flat")
    frame = [
        (0.9, -e + 0.05, 0.5),
        (0.9, -e + 0.05, 0.95),
        (0.9, cab_rear, 0.95),
        (0.9, cab_rear, 0.5),
    ]
    build.both_sides(frame, PLASTIC, UNDER, "flat")
    stripe = tuple(float(v) for v in rng.uniform(30, 220, 3))
    if not flat_bed and rng.random() < 0.6:
        x, z0 = half * 1.006, box_top - float(rng.uniform(0.6, 1.0))
        band = [(x, -e * 0.9, z0 - 0.35), (x, -e * 0.9, z0), (x, cab_rear * 0.5, z0)]
        band.append((x, cab_rear * 0.5, z0 - 0.35))
        build.both_sides(band, (stripe[0], stripe[1], stripe[2]), DETAIL, "paint")
    if not flat_bed:
        seam = end_quad(-0.012, 0.012, 1.0, box_top - 0.1, -e - 0.012)
        build.add(seam, (90, 90, 90), DETAIL, "flat")
    build.part = 1
    loft(
        build,
        [
            (cab_rear, bottom, cab_top, half * 0.97),
            (e - 0.5, bottom, cab_top, half * 0.98),
            (e - 0.12, bottom, cab_top - 0.12, half * 0.97),
            (e, bottom + 0.03, cab_top - 0.35, half * 0.94),
        ],
        paint,
        shoulder=0.9,
        lower=PLASTIC,
    )
    screen = end_quad(-half * 0.84, half * 0.84, 1.5, cab_top - 0.42, e + 0.012)
    build.add(screen, GLASS, DETAIL, "glass")
    x, z1 = half * 0.985, cab_top - 0.4
    pane = [
        (x, cab_rear + 0.45, 1.5),
        (x, cab_rear + 0.45, z1),
        (x, e - 0.3, z1),
        (x, e - 0.3, 1.5),
    ]
    build.both_sides(pane, GLASS, DETAIL, "glass")
    doors(build, half * 0.985, (cab_rear + 0.4,), (bottom + 0.3, cab_top - 0.3), paint)
    mirrors(build, half, e - 0.2, 1.7, PLASTIC)
    return length, half, height, bottom, 0.85, 0.48


def _bus(build: Builder, rng: np.random.Generator, paint: Colour) -> tuple[float, ...]:
    """A city bus with a row of windows."""
    length = float(rng.uniform(8.5, 11.5))
    half, height, bottom, e = 1.25, float(rng.uniform(2.9, 3.2)), 0.32, length / 2
    top = tuple(float(c) for c in (paint if rng.random() < 0.6 else (225, 228, 230)))
    loft(
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
        build.both_sides(pane, GLASS, DETAIL, "glass")
    front = end_quad(-half * 0.86, half * 0.86, 1.15, height - 0.5, e + 0.012)
    build.add(front, GLASS, DETAIL, "glass")
    sign = end_quad(-half * 0.6, half * 0.6, height - 0.44, height - 0.2, e + 0.012)
    build.add(sign, (20, 30, 30), DETAIL, "flat")
    text = end_quad(-half * 0.45, half * 0.3, height - 0.38, height - 0.27, e + 0.02)
    build.add(text, (40, 170, 240), TRIM, "light")
    rear = end_quad(-half * 0.7, half * 0.7, 1.6, height - 0.55, -e - 0.012)
    build.add(rear, GLASS, DETAIL, "glass")
    mirrors(build, half, e - 0.05, 1.9, PLASTIC)
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
    build = Builder()
    length, half, height, bottom, lamps, radius = _SHAPES[label](
        build, rng, (paint[0], paint[1], paint[2])
    )
    end_part = build.part
    e = length / 2
    rear_axle = -e * (0.58 if label != "bus" else 0.5)
    front_axle = e - {"car": 0.85, "van": 0.9, "truck": 0.95, "bus": 2.3}[label]
    for part, y in ((0, rear_axle), (end_part, front_axle)):
        build.part = part
        wheel(build, half, y, radius, rng)
    first = len(build.faces)
    mounts = ends(
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
