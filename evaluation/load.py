"""Load for experiments: how many objects, when, from which cameras."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from dataflow.transport.partitioning import partition_for_key

VEHICLES = (0.10, 0.13, 0.17, 0.17, 0.13, 0.09, 0.07, 0.05, 0.035, 0.025, 0.015, 0.015)
"""Probabilities of 0, 1, 2, ... vehicles in a frame: mean 3.2, median 3, a tail to 11."""


def picture(width: int = 320, height: int = 180, seed: int = 0) -> bytes:
    """A JPEG of noise: as large as a photograph of that many pixels."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    image: NDArray[np.uint8] = cv2.resize(noise, (width, height)).astype(np.uint8)
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])
    if not done:
        raise RuntimeError("cannot encode the picture")
    return data.tobytes()


def bursty_times(
    seconds: float, fps: float, rng: np.random.Generator, *, peak: float = 2.0
) -> list[float]:
    """Capture times of a camera that is busy now and then.

    It alternates between ``fps * peak`` for about 2 s and the rate that makes the mean ``fps`` for
    about 4 s; both lengths are exponential.

    Args:
        seconds: length.
        fps: mean frames a second.
        rng: seeded generator.
        peak: rate in a burst over the mean rate, 1 to 3.
    """
    quiet = fps * (3 - peak) / 2
    times: list[float] = []
    now, busy = 0.0, bool(rng.integers(2))
    while now < seconds:
        until = min(seconds, now + rng.exponential(2.0 if busy else 4.0))
        rate = fps * peak if busy else quiet
        while rate > 0 and now < until:
            times.append(now)
            now += 1 / rate
        now, busy = max(now, until), not busy
    return times


def names_for_partitions(partitions: Sequence[int], total: int, prefix: str = "cam") -> list[str]:
    """Camera names whose home is the partition asked for."""
    names: list[str] = []
    for wanted in partitions:
        number = 0
        while True:
            name = f"{prefix}-{len(names)}-{number}"
            if partition_for_key(name.encode(), total) == wanted:
                break
            number += 1
        names.append(name)
    return names
