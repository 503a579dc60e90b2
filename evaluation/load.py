"""Load for experiments: what, when, from which cameras."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

import cv2
import numpy as np
from numpy.typing import NDArray

from dataflow.transport.partitioning import partition_for_key
from evaluation.simulation.cameras import capture_times


def picture(width: int = 320, height: int = 180, seed: int = 0) -> bytes:
    """A JPEG of noise: as large as a photograph of that many pixels."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    image: NDArray[np.uint8] = cv2.resize(noise, (width, height)).astype(np.uint8)
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])
    if not done:
        raise RuntimeError("cannot encode the picture")
    return data.tobytes()


def frame_times(seconds: float, fps: float, rng: np.random.Generator) -> list[float]:
    """Capture times of a camera, as those of the simulator.

    Args:
        seconds: length.
        fps: mean frames a second.
        rng: seeded generator.
    """
    return list(takewhile(lambda time: time < seconds, capture_times(fps, rng)))


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
