"""When and where vehicles drive: lanes with constant speeds, so that nobody runs into anybody."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from evaluation.scenes.painter import Model, Placed
from evaluation.scenes.vehicles import random_vehicle

PERIOD_S = 240.0  # the schedule repeats after this time, with new vehicle ids
_GAP_M = 5.0  # least distance between two vehicles of a lane


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """A straight lane.

    Attributes:
        x, y: world position at the lane's start, metres.
        heading: radians, 0 along +Y, positive towards +X.
        length_m: vehicles appear at its start and vanish at its end.
        speed: metres a second, the same for all of its vehicles.
        mean_gap_s: mean time between two vehicles.
        green: when a vehicle may pass ``gate_m``, as (cycle, from, to) in seconds; None always.
        gate_m: distance of the crossing from the lane's start.
    """

    x: float
    y: float
    heading: float
    length_m: float
    speed: float
    mean_gap_s: float
    green: tuple[float, float, float] | None = None
    gate_m: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """A vehicle's place in the schedule: it enters its lane at ``enters_s``."""

    number: int
    lane: Lane
    enters_s: float
    model: Model
    offset_m: float = 0.0


class Traffic:
    """All vehicles of a scene as a function of time."""

    def __init__(
        self,
        rng: np.random.Generator,
        lanes: tuple[Lane, ...],
        *,
        labels: Callable[[np.random.Generator], str | None] = lambda _: None,
    ) -> None:
        self._drivers: list[Driver] = []
        for lane in lanes:
            self._fill(rng, lane, labels)

    def _fill(
        self,
        rng: np.random.Generator,
        lane: Lane,
        labels: Callable[[np.random.Generator], str | None],
    ) -> None:
        time, last_end = float(rng.exponential(lane.mean_gap_s * 0.5)), -math.inf
        while time < PERIOD_S - lane.mean_gap_s:
            model = Model(random_vehicle(rng, labels(rng)))
            half = model.vehicle.length / 2
            enters = max(time, last_end + half / lane.speed)
            if self._may_pass(lane, enters):
                self._drivers.append(
                    Driver(
                        number=len(self._drivers),
                        lane=lane,
                        enters_s=enters,
                        model=model,
                        offset_m=float(rng.normal(0, 0.12)),
                    )
                )
                last_end = enters + (half + _GAP_M) / lane.speed
            time = enters + float(rng.exponential(lane.mean_gap_s))

    @staticmethod
    def _may_pass(lane: Lane, enters: float) -> bool:
        if lane.green is None:
            return True
        cycle, first, last = lane.green
        return first <= (enters + lane.gate_m / lane.speed) % cycle < last

    def at(self, seconds: float, *, forward_m: float = 0.0) -> list[tuple[int, Placed]]:
        """Vehicles on their lanes at a time.

        Args:
            seconds: since the scene began.
            forward_m: how far along Y the origin of the lanes has moved (unused by static scenes).

        Returns:
            (vehicle id, placed vehicle); the id is unique over all time.
        """
        found = []
        for driver in self._drivers:
            lane = driver.lane
            travel_s = lane.length_m / lane.speed
            cycle = math.floor((seconds - driver.enters_s) / PERIOD_S)
            since = seconds - driver.enters_s - cycle * PERIOD_S
            if since > travel_s or cycle < -1:
                continue
            number = (cycle + 1) * len(self._drivers) + driver.number
            along = since * lane.speed
            sine, cosine = math.sin(lane.heading), math.cos(lane.heading)
            found.append(
                (
                    number,
                    Placed(
                        model=driver.model,
                        x=lane.x + sine * along + cosine * driver.offset_m,
                        y=lane.y + cosine * along - sine * driver.offset_m + forward_m,
                        heading=lane.heading,
                    ),
                )
            )
        return found
