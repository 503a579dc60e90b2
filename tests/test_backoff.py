"""Pauses that double."""

from __future__ import annotations

import pytest

from dataflow.backoff import doubled


@pytest.mark.parametrize(
    ("times", "seconds"),
    [(-1, 0.5), (0, 0.5), (1, 1.0), (2, 2.0), (5, 16.0), (6, 30.0), (7, 30.0)],
)
def test_it_doubles_up_to_the_longest(times: int, seconds: float) -> None:
    assert doubled(0.5, 30.0, times) == seconds


@pytest.mark.parametrize("times", [1023, 1024, 1100, 10**9])
def test_failures_without_end_keep_the_longest(times: int) -> None:
    assert doubled(0.5, 30.0, times) == 30.0


def test_the_first_is_no_longer_than_the_longest() -> None:
    assert doubled(5.0, 2.0, 0) == 2.0
