from __future__ import annotations

import pytest

from evaluation.errors import MeasurementError
from evaluation.waiting import Stall, wait_until


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pass_a_second(self) -> None:
        self.now += 1.0


def test_a_wait_ends_when_what_is_waited_for_is_there() -> None:
    clock = Clock()
    wait_until(
        lambda: clock.now >= 7,
        "it has not come",
        seconds=10,
        pause=clock.pass_a_second,
        clock=clock,
    )
    assert clock.now == 7


def test_a_wait_for_what_never_comes_ends_with_what_is_missing() -> None:
    clock = Clock()
    with pytest.raises(MeasurementError, match="it has not come within 10 s"):
        wait_until(
            lambda: False, "it has not come", seconds=10, pause=clock.pass_a_second, clock=clock
        )
    assert clock.now == 11


def test_work_that_goes_on_slowly_is_waited_for_and_work_that_stands_still_is_not() -> None:
    clock = Clock()
    stall = Stall("worker", 100, seconds=60, clock=clock)
    for done in range(5):
        clock.now += 60
        stall.check(done)
    clock.now += 61
    with pytest.raises(MeasurementError, match="worker stands still: 4 of 100 done"):
        stall.check(4)
