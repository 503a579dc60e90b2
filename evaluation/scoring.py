"""How much of the truth was found: vehicles by overlap, plates letter by letter. Pure."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from dataflow.functions.base import Box
from dataflow.results import Found, Plate, ResultBox
from dataflow.viewing import JoinedFrame
from evaluation.scenes import Truth, VehicleTruth

LEAST_IOU = 0.3
"""A detection finds a vehicle when the boxes overlap at least so much: shadows widen a moving
region, and hidden parts narrow it."""
LEAST_VISIBLE = 0.5
"""A vehicle of which less is visible is not asked for (but finding it is no fault)."""
LEAST_WIDTH_PX = 60.0
"""Nor is one that is narrower."""
LEAST_MOTION_PX = 3.0
"""A vehicle whose middle has moved less in a second stands still: at a red light, say."""


@dataclass(slots=True)
class Sightings:
    """What was read of one vehicle's plate."""

    truth: str
    legible: int = 0
    right: int = 0
    read: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Score:
    """Sums over the frames of one camera.

    Attributes:
        frames: frames that were compared.
        vehicles: vehicles that should be found, over all frames.
        found: those that were.
        reported: vehicles reported.
        false: reported where there is none.
        plates: legible plates of vehicles, over all frames.
        read_right: those of which every letter was read.
        by_vehicle: the same by vehicle id.
    """

    frames: int = 0
    vehicles: int = 0
    found: int = 0
    reported: int = 0
    false: int = 0
    plates: int = 0
    read_right: int = 0
    by_vehicle: dict[int, Sightings] = field(default_factory=dict)

    @property
    def vehicles_with_plates(self) -> int:
        """Different vehicles whose plate was legible in at least one frame."""
        return sum(s.legible > 0 for s in self.by_vehicle.values())

    @property
    def vehicles_read(self) -> int:
        """Those whose plate was most often read as what it says."""
        return sum(
            s.legible > 0 and bool(s.read) and s.read.most_common(1)[0][0] == s.truth
            for s in self.by_vehicle.values()
        )


def score_frame(
    score: Score, joined: JoinedFrame, truth: Truth, *, before: Truth | None = None
) -> None:
    """Compare one frame with its truth.

    Args:
        score: is added to.
        joined: what was found.
        truth: what is there.
        before: what was there about a second earlier, for a pipeline that looks for what moves:
            vehicles that stand still are then not asked for. None asks for all.
    """
    score.frames += 1
    asked = [v for v in truth.vehicles if _asked(v, before)]
    found = _matches(asked, joined.vehicles)
    score.vehicles += len(asked)
    score.found += len(found)
    score.reported += len(joined.vehicles)
    score.false += sum(
        not any(_box(reported.box).iou(v.box) > 0.1 for v in truth.vehicles)
        for reported in joined.vehicles
    )
    for vehicle in truth.vehicles:
        if _moves(vehicle, before):
            _score_plate(score, vehicle, joined.plates)


def total(scores: Sequence[Score]) -> Score:
    """Sum over cameras; vehicles of different cameras are different vehicles."""
    whole = Score()
    for number, score in enumerate(scores):
        for name in ("frames", "vehicles", "found", "reported", "false", "plates", "read_right"):
            setattr(whole, name, getattr(whole, name) + getattr(score, name))
        for vehicle, sightings in score.by_vehicle.items():
            whole.by_vehicle[number * 2**32 + vehicle] = sightings
    return whole


def _asked(vehicle: VehicleTruth, before: Truth | None) -> bool:
    return (
        vehicle.visible >= LEAST_VISIBLE
        and vehicle.box.w >= LEAST_WIDTH_PX
        and _moves(vehicle, before)
    )


def _moves(vehicle: VehicleTruth, before: Truth | None) -> bool:
    if before is None:
        return True
    earlier = next((v for v in before.vehicles if v.vehicle == vehicle.vehicle), None)
    if earlier is None:
        return vehicle.moving
    dx = (vehicle.box.x + vehicle.box.w / 2) - (earlier.box.x + earlier.box.w / 2)
    dy = (vehicle.box.y + vehicle.box.h / 2) - (earlier.box.y + earlier.box.h / 2)
    return math.hypot(dx, dy) >= LEAST_MOTION_PX


def _matches(asked: Sequence[VehicleTruth], reported: Sequence[Found]) -> set[int]:
    """Indices of the vehicles that were found; each detection finds one, best overlap first."""
    pairs = sorted(
        (
            (_box(detection.box).iou(vehicle.box), i, j)
            for i, vehicle in enumerate(asked)
            for j, detection in enumerate(reported)
        ),
        reverse=True,
    )
    found: set[int] = set()
    used: set[int] = set()
    for overlap, i, j in pairs:
        if overlap < LEAST_IOU:
            break
        if i not in found and j not in used:
            found.add(i)
            used.add(j)
    return found


def _score_plate(score: Score, vehicle: VehicleTruth, plates: Sequence[Plate]) -> None:
    if vehicle.plate_box is None or not vehicle.plate_legible:
        return
    sightings = score.by_vehicle.setdefault(vehicle.vehicle, Sightings(vehicle.plate))
    score.plates += 1
    sightings.legible += 1
    texts: dict[str, float] = defaultdict(float)
    for plate in plates:
        if _contains(vehicle.plate_box, plate.box):
            texts[plate.text] = max(texts[plate.text], plate.confidence)
    if not texts:
        return
    best = max(texts, key=lambda text: texts[text])
    sightings.read[best] += 1
    if best == vehicle.plate:
        score.read_right += 1
        sightings.right += 1


def _contains(truth: Box, box: ResultBox) -> bool:
    """Whether the middle of ``box`` lies in the plate, give or take half its height."""
    x, y = box.x + box.w / 2, box.y + box.h / 2
    slack = truth.h / 2
    return (
        truth.x - slack <= x <= truth.x + truth.w + slack
        and truth.y - slack <= y <= truth.y + truth.h + slack
    )


def _box(box: ResultBox) -> Box:
    return Box(x=box.x, y=box.y, w=box.w, h=box.h)
