"""Made-up load: vehicles a frame of cameras that nobody had to record.

All are seeded: the same generator gives the same trace.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from forecasting.traces import Trace

FPS = 10.0
"""Frames a second of generated traces."""


def thesis_load(seconds: float, rng: np.random.Generator, *, most: int = 15) -> Trace:
    """The thesis' load: 0 to 15 vehicles, mean and median 3 (sec. 3.5.2).

    Vehicles arrive, attract others (platoons) and leave: an immigration-birth-death process. Its
    stationary law is negative binomial with mean a/(d-b) and shape a/b; birth b = d/3 and
    immigration a = 2d make the mean 3 and, with the shape 6, the median 3 as well.

    Args:
        seconds: how long.
        rng: source of randomness.
        most: vehicles that fit into the picture.
    """
    leave = 1.0 / rng.uniform(4.0, 25.0)  # a vehicle is seen for 4 to 25 s
    join, arrive = leave / 3.0, 2.0 * leave
    frames = round(seconds * FPS)
    draws = rng.random((frames, 2))
    vehicles = np.empty(frames, np.float32)
    count = min(int(rng.negative_binomial(6, 2.0 / 3.0)), most)
    for frame in range(frames):
        # at most one comes and one goes in a tenth of a second
        come = count < most and draws[frame, 0] < (arrive + join * count) / FPS
        go = draws[frame, 1] < leave * count / FPS
        count += int(come) - int(go)
        vehicles[frame] = count
    return Trace(name="thesis", vehicles=vehicles, fps=FPS)


def bursty_load(seconds: float, rng: np.random.Generator) -> Trace:
    """Platoons behind a traffic light, with a light flow between them."""
    cycle = rng.uniform(20.0, 90.0)
    starts = np.arange(-cycle, seconds, cycle) + rng.normal(0.0, 0.05 * cycle)
    heads = np.sort(starts + rng.uniform(-0.1, 0.1, len(starts)) * cycle)
    sizes = rng.poisson(rng.uniform(2.0, 12.0), len(heads))
    platoons = [
        head + np.cumsum(rng.exponential(1.5, size))
        for head, size in zip(heads, sizes, strict=True)
    ]
    stray = rng.uniform(-cycle, seconds, rng.poisson((seconds + cycle) * rng.uniform(0.0, 0.15)))
    arrivals = np.concatenate([*platoons, stray])
    return _seen("bursty", arrivals, seconds, rng)


def diurnal_load(seconds: float, rng: np.random.Generator) -> Trace:
    """A flow that swells and ebbs, with Poisson arrivals; the day is made short."""
    day = rng.uniform(60.0, 900.0)
    mean, depth, phase = rng.uniform(0.05, 1.0), rng.uniform(0.3, 1.0), rng.uniform(0.0, 1.0)
    lead = 60.0  # begins earlier, so that the picture is not empty at first
    most = mean * (1.0 + depth)
    candidates = rng.uniform(-lead, seconds, rng.poisson(most * (seconds + lead)))
    flow = mean * (1.0 + depth * np.sin(2 * np.pi * (candidates / day + phase)))
    arrivals = candidates[rng.random(len(candidates)) * most < flow]
    return _seen("diurnal", arrivals, seconds, rng)


def drive_load(seconds: float, rng: np.random.Generator) -> Trace:
    """A dash camera: streets of different traffic one after the other, and waits in between."""
    arrivals = []
    start = -30.0
    while start < seconds:
        length = rng.exponential(20.0) + 3.0
        flow = rng.choice([0.0, 0.05, 0.2, 0.5, 1.2], p=[0.15, 0.2, 0.3, 0.25, 0.1])
        arrivals.append(rng.uniform(start, start + length, rng.poisson(flow * length)))
        start += length
    return _seen("drive", np.concatenate(arrivals), seconds, rng)


def _seen(
    name: str, arrivals: NDArray[np.float64], seconds: float, rng: np.random.Generator
) -> Trace:
    """Vehicles in the picture, each for a log-normal time."""
    frames = round(seconds * FPS)
    dwell = rng.lognormal(np.log(rng.uniform(2.0, 15.0)), rng.uniform(0.2, 0.9), len(arrivals))
    first = np.clip(np.ceil(arrivals * FPS), 0, frames).astype(np.int64)
    last = np.clip(np.ceil((arrivals + dwell) * FPS), 0, frames).astype(np.int64)
    change = np.bincount(first, minlength=frames + 1) - np.bincount(last, minlength=frames + 1)
    return Trace(name=name, vehicles=np.cumsum(change)[:frames].astype(np.float32), fps=FPS)


Generator = Callable[[float, np.random.Generator], Trace]
"""Makes a trace of so many seconds."""

GENERATORS: dict[str, Generator] = {
    "thesis": thesis_load,
    "bursty": bursty_load,
    "diurnal": diurnal_load,
    "drive": drive_load,
}
"""Generators by name."""
