"""Clocks that are never set."""

from __future__ import annotations

from dataflow.moments import steady


def test_a_steady_clock_goes_on_when_the_machines_is_set_back() -> None:
    wall, passed = [1000.0], [7.0]
    clock = steady(lambda: wall[0], lambda: passed[0])
    assert clock() == 1000.0
    wall[0], passed[0] = 500.0, 8.5
    assert clock() == 1001.5
