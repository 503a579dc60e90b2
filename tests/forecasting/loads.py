"""Loads that the tests share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from forecasting import Loads, Window
from forecasting.traces import Trace

WINDOW = Window()
SMALL = Window(slots=3, history=6)
DATA = Path(os.environ.get("VIDEOJAM_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
KITTI = DATA / "traces" / "kitti_vehicles_per_frame.csv"
ORIGINAL = DATA / "models" / "original-forecaster-dense512.pb"


def needs(file: Path) -> None:
    """Skip, saying why, where the shared data is not there."""
    if not file.is_file():
        pytest.skip(f"{file} is not there; set VIDEOJAM_SHARED_DATA")


def busy(count: int, window: Window = WINDOW, seed: int = 0) -> Loads:
    """Histories of a street with 0 to 15 vehicles at 20 frames a second, float32 [n, h]."""
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(0, 12, (count, window.history)), axis=1) + 80
    return np.clip(walk, 1, 300).astype(np.float32)


def steady(name: str, seconds: float, vehicles: float = 3, fps: float = 10.0) -> Trace:
    """A camera that sees as many vehicles all the time."""
    return Trace(name=name, vehicles=np.full(round(seconds * fps), vehicles, np.float32), fps=fps)
