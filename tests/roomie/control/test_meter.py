"""Telemetry out of a server's counters."""

from __future__ import annotations

import pytest

from roomie.control.meter import Meter
from roomie.triton.server import ModelStatistics


def counters(requests: int, failures: int = 0, full: int = 0, pending: int = 0) -> ModelStatistics:
    return ModelStatistics(
        requests=requests,
        failures=failures,
        items=requests + 3 * full,
        queue_seconds=0.01 * requests,
        compute_seconds=0.1 * requests,
        executions=requests,
        by_batch={1: (requests - full, 0.1 * (requests - full)), 4: (full, 0.1 * full)},
        pending=pending,
    )


def test_the_first_look_has_nothing_to_compare_with() -> None:
    assert Meter("w").measure({"m.1": counters(5)}, {"m.1": 4}, 100.0) is None


def test_what_was_done_between_two_looks_is_told() -> None:
    meter = Meter("w")
    meter.measure({"m.1": counters(10, full=2)}, {"m.1": 4}, 100.0)
    told = meter.measure(
        {"m.1": counters(16, failures=1, full=5, pending=3)}, {"m.1": 4}, 102.0, {"w/0": 7}
    )
    assert told is not None
    assert (told.worker, told.at, told.seconds, told.used_bytes) == ("w", 102.0, 2.0, {"w/0": 7})
    (entry,) = told.instances
    assert (entry.requests, entry.failures, entry.items) == (6, 1, 6 + 9)
    assert entry.queue_seconds == pytest.approx(0.06)
    assert entry.compute_seconds == pytest.approx(0.6)
    assert (entry.full_executions, entry.pending) == (3, 3)
    assert entry.full_seconds == pytest.approx(0.3)


def test_counters_that_begin_anew_are_never_negative_and_never_counted_twice() -> None:
    meter = Meter("w")
    meter.measure({"m.1": counters(10)}, {"m.1": 4}, 100.0)
    told = meter.measure({"m.1": counters(3)}, {"m.1": 4}, 101.0)
    assert told is not None
    assert told.instances[0].requests == 3
    again = meter.measure({"m.1": counters(4)}, {"m.1": 4}, 102.0)
    assert again is not None
    assert again.instances[0].requests == 1


def test_a_newcomer_counts_from_its_load_and_models_of_others_are_left_out() -> None:
    meter = Meter("w")
    meter.measure({}, {}, 100.0)
    told = meter.measure({"m.1": counters(2), "foreign": counters(9)}, {"m.1": 4}, 101.0)
    assert told is not None
    assert [(entry.id, entry.requests) for entry in told.instances] == [("m.1", 2)]


def test_a_clock_that_stands_still_tells_nothing() -> None:
    meter = Meter("w")
    meter.measure({}, {}, 100.0)
    assert meter.measure({}, {}, 100.0) is None
