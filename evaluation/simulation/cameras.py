"""Bursty cameras: frames at a steady rate, with as many objects as there is traffic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

MAX_OBJECTS = 15
"""Most vehicles in a frame of the thesis' videos; their mean and median are 3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """One camera.

    Attributes:
        name: unique.
        fps: frames a second.
        objects: mean vehicles in a frame.
        dwell: mean seconds that a vehicle stays in view.
        phase: mean seconds of a phase of dense or of thin traffic; 0 for steady traffic.
        swing: dense traffic is (1 + swing) times the mean, thin (1 - swing).
        frame_bytes: mean size of a frame.
        object_bytes: mean size of an object cut from it.
        off: (from, to) seconds in which it sends nothing.
    """

    name: str
    fps: float = 15.0
    objects: float = 3.0
    dwell: float = 1.5
    phase: float = 6.0
    swing: float = 0.8
    frame_bytes: int = 60_000
    object_bytes: int = 8_000
    off: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame.

    Attributes:
        at: when it was taken, seconds.
        size: bytes.
        objects: bytes of each vehicle in it.
    """

    at: float
    size: int
    objects: tuple[int, ...]


def capture_times(fps: float, generator: np.random.Generator) -> Iterator[float]:
    """When a camera takes its frames, without end: a real one is not a metronome.

    Args:
        fps: mean frames a second.
        generator: drawn from once for each time.
    """
    step = 1 / fps
    time = float(generator.uniform(0, step))
    while True:
        yield time
        time += step * float(generator.uniform(0.9, 1.1))


def frames(camera: Camera, seconds: float, generator: np.random.Generator) -> Iterator[Frame]:
    """The frames of a camera.

    Vehicles come as a Poisson process whose rate alternates between dense and thin traffic, and
    stay for an exponential time.
    """
    step = 1 / camera.fps
    times = capture_times(camera.fps, generator)
    time = next(times)
    dense = bool(generator.integers(2))
    change = float(generator.exponential(camera.phase)) if camera.phase else np.inf
    swing = camera.swing if camera.phase else 0.0
    in_view = int(generator.poisson(camera.objects))
    while time < seconds:
        if time >= change:
            dense = not dense
            change = time + float(generator.exponential(camera.phase))
        mean = camera.objects * (1 + swing if dense else 1 - swing)
        left = int(generator.binomial(in_view, 1 - np.exp(-step / camera.dwell)))
        came = int(generator.poisson(mean / camera.dwell * step))
        in_view = min(MAX_OBJECTS, in_view - left + came)
        sizes = generator.lognormal(0, 0.4, in_view + 1)
        off = camera.off
        if off is None or not off[0] <= time < off[1]:
            yield Frame(
                at=time,
                size=int(camera.frame_bytes * sizes[0]),
                objects=tuple((camera.object_bytes * sizes[1:]).astype(int).tolist()),
            )
        time = next(times)
