from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy as np
import pytest

from evaluation.benchmarks import forecasting as benchmark
from forecasting import build_forecaster


def ticking(step: float) -> Iterator[float]:
    return (step * tick for tick in count())


def test_every_call_is_timed_until_a_second_is_full() -> None:
    clock = ticking(0.01)
    forecaster = build_forecaster("last-window")
    seconds = benchmark.time_calls(forecaster, benchmark.street(6), lambda: next(clock))
    assert len(seconds) == 100
    assert seconds == pytest.approx([0.01] * 100)


def test_few_slow_calls_are_enough() -> None:
    clock = ticking(5.0)
    forecaster = build_forecaster("last-window")
    assert len(benchmark.time_calls(forecaster, benchmark.street(6), lambda: next(clock))) == 15


def test_ratios_are_to_the_last_window_of_the_same_run() -> None:
    clock = ticking(0.5)
    rows = benchmark.time_all(["ewma", "linear"], [6, 100], lambda: next(clock))
    assert [(row.forecaster, row.replicas, row.ratio) for row in rows] == [
        ("ewma", 6, 1.0),
        ("linear", 6, 1.0),
        ("ewma", 100, 1.0),
        ("linear", 100, 1.0),
    ]


def test_the_benchmarks_streets_have_whole_vehicles_at_twenty_frames_a_second() -> None:
    load = benchmark.street(50)
    assert load.shape == (50, 50)
    assert set(np.unique(load)) <= {20.0 * vehicles for vehicles in range(16)}


def test_memory_is_measured_in_a_process_of_its_own() -> None:
    found = benchmark.memory_of("mixture")
    assert found.forecaster == "mixture"
    assert 5 < found.import_mb < 500
    assert 0 < found.built_mb < 200
