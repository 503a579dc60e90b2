"""Load for experiments: what, when, from which cameras."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from dataflow.transport.partitioning import partition_for_key


def picture(width: int = 320, height: int = 180, seed: int = 0) -> bytes:
    """A JPEG of noise: as large as a photograph of that many pixels."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    image: NDArray[np.uint8] = cv2.resize(noise, (width, height)).astype(np.uint8)
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])
    if not done:
        raise RuntimeError("cannot encode the picture")
    return data.tobytes()


def frame_times(seconds: float, fps: float, rng: np.random.Generator) -> list[float]:
    """Capture times of a camera: a steady rate, but a real camera is not a metronome.

    Args:
        seconds: length.
        fps: mean frames a second.
        rng: seeded generator.
    """
    times: list[float] = []
    now = float(rng.uniform(0, 1 / fps))
    while now < seconds:
        times.append(now)
        now += float(rng.uniform(0.9, 1.1)) / fps
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
