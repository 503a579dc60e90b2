"""Emulated GPUs: how models slow each other, against the reference, and the clock of batches."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.serving.hardware import EmulatedGpu
from evaluation.serving.sharing import Sharing
from evaluation.simulation.events import Loop, Rank
from roomie.coexecution import reference_drop
from roomie.tables import KernelTable, kernel_table
from tests.roomie.kit import kernel, profile

FULL = kernel(blocks=100_000, threads=256, us=100)
"""Fills the GPU."""
SMALL = kernel(blocks=108, threads=256, us=73)
"""One block an SM: an eighth of the warps."""


def mixed(name: str, lengths: list[int]) -> KernelTable:
    kernels = [
        kernel(blocks=100_000 if n % 2 else 108 * (1 + n % 5), us=length, threads=256)
        for n, length in enumerate(lengths)
    ]
    return kernel_table(profile(name, kernels=kernels))


def test_alone_a_model_is_not_stretched_and_two_that_fill_the_gpu_take_twice_as_long() -> None:
    full, small = (kernel_table(profile("n", kernels=[k])) for k in (FULL, SMALL))
    sharing = Sharing({0: full, 1: small})
    assert sharing.stretch((0,)) == 1
    assert sharing.stretch((0, 0)) == pytest.approx(2)
    assert sharing.stretch((0, 0, 0)) == pytest.approx(3)
    assert sharing.stretch((1,) * 8) == pytest.approx(1)
    assert sharing.stretch((1,) * 16) == pytest.approx(2)


def test_sets_are_stretched_as_the_reference_co_execution_has_it() -> None:
    tables = {
        0: mixed("a", [71, 93, 37, 11, 59, 83, 29]),
        1: mixed("b", [43, 101, 19, 67, 31]),
        2: mixed("c", [97, 13, 53, 79, 23, 47]),
    }
    sharing = Sharing(tables)
    for together in ((0, 1), (0, 2), (1, 2), (0, 1, 2)):
        # Repeated, so that the models drift over each other as servers' do.
        long = [
            dataclasses.replace(
                tables[n],
                durations_s=np.tile(tables[n].durations_s, 40),
                signature=np.tile(tables[n].signature, 40),
            )
            for n in together
        ]
        for drop in reference_drop(long, policy="proportional", starts=1):
            assert sharing.stretch(together) == pytest.approx(1 + drop.slowdown, rel=0.03)
    assert sharing.sets == 4


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=5), st.integers(0, 2))
def test_one_more_never_makes_the_others_faster(active: list[int], more: int) -> None:
    sharing = Sharing({n: mixed(str(n), [7 + n, 13, 5 * n + 3]) for n in range(3)})
    without = sharing.stretch(tuple(sorted(active)))
    with_it = sharing.stretch(tuple(sorted([*active, more])))
    # Samples of another place are drawn anew: equal within their error.
    assert with_it >= without * 0.97


# -- the GPU ------------------------------------------------------------------------------------


class Doubling(Sharing):
    """Any two take twice as long, any three three times."""

    def __init__(self) -> None:
        super().__init__({})

    def stretch(self, active: tuple[int, ...]) -> float:
        return float(max(1, len(active)))


def test_batches_slow_down_while_they_overlap_and_only_then() -> None:
    loop = Loop()
    gpu = EmulatedGpu(loop, Doubling())
    ends: dict[str, float] = {}

    def run(name: str, at: float, seconds: float) -> None:
        def start() -> None:
            gpu.run(0, seconds, lambda: ends.__setitem__(name, loop.now))

        loop.at(at, Rank.DATA, start)

    run("long", 0.0, 4.0)
    run("short", 1.0, 1.0)
    run("later", 10.0, 2.0)
    loop.run(20.0)
    # From 1 to 3 both run at half speed.
    assert ends == pytest.approx({"short": 3.0, "long": 5.0, "later": 12.0})
    assert gpu.busy_s() == pytest.approx(7.0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0.01, 5)), min_size=1, max_size=12))
def test_work_is_conserved(batches: list[tuple[float, float]]) -> None:
    loop = Loop()
    gpu = EmulatedGpu(loop, Doubling())
    done: list[float] = []
    for at, seconds in batches:

        def start(seconds: float = seconds) -> None:
            gpu.run(0, seconds, lambda: done.append(seconds))

        loop.at(at, Rank.DATA, start)
    loop.run(1000.0)
    assert sorted(done) == sorted(seconds for _, seconds in batches)
    # Shared in proportion, it is busy for as long as it would be with one after the other.
    assert gpu.busy_s() == pytest.approx(sum(done), rel=1e-6)
