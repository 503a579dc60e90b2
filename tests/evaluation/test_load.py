"""Load: as the simulator's, at the pace of one machine."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from evaluation import thesis_case
from evaluation.load import frame_times
from evaluation.simulation.cameras import Camera, frames


def test_cameras_take_frames_as_those_of_the_simulator_do() -> None:
    times = frame_times(60.0, 5.0, np.random.default_rng(3))
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert 0 <= times[0] < 0.2
    assert 59.7 < times[-1] < 60
    assert min(pauses) >= 0.18 - 1e-9
    assert max(pauses) <= 0.22 + 1e-9
    simulated = [f.at for f in frames(Camera(name="c", fps=5.0), 60.0, np.random.default_rng(3))]
    assert simulated[0] == times[0]
    assert len(simulated) == pytest.approx(len(times), abs=3)


def test_the_thesis_case_runs_at_a_third_of_the_thesis_pace() -> None:
    assert pytest.approx((28 / 3, 7, 7)) == thesis_case.YOLO_RATES
    assert pytest.approx((76 / 3, 19, 38 / 3, 19 / 3, 19 / 3)) == thesis_case.OCR_RATES
    assert (thesis_case.FPS, thesis_case.QUEUE_ITEMS) == (5.0, 50)
    functions = thesis_case.declare("host:1", policy="none")["functions"]
    assert functions["yolo"]["parameters"]["objects_per_item"] == {
        "distribution": "traffic", "mean": 3.0, "swing": 0.8, "phase": 30.0, "dwell": 7.5,
    }  # fmt: skip
    assert functions["ocr"]["parameters"]["service"]["cv"] == 0.4
