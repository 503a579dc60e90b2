"""The event-driven co-execution: shares of an SM, and runs worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomie.coexecution import (
    POLICIES,
    CoExecution,
    Policy,
    Span,
    adjusted_blocks,
    reference_drop,
)
from roomie.interference import InterferenceSettings, performance_drop
from roomie.profiles import Kernel
from roomie.tables import KernelTable, kernel_table
from tests.roomie.kit import kernel, profile

# What a block takes of an SM's warps, registers, shared memory and block slots.
QUARTER = (0.25, 0.1, 0.0, 1 / 32)
HALF = (0.5, 0.1, 0.0, 1 / 32)
SHARED = (0.1, 0.1, 0.5, 1 / 32)

demands = st.lists(
    st.tuples(
        st.floats(0.01, 8),
        st.tuples(*[st.sampled_from([1 / 32, 1 / 16, 1 / 8]) for _ in range(4)]),
    ),
    min_size=1,
    max_size=4,
)


def table(made: Sequence[Kernel]) -> KernelTable:
    return kernel_table(profile(kernels=made))


@given(demands, st.sampled_from(POLICIES))
def test_shares_never_exceed_an_sm_nor_what_was_asked_for(
    wanted: list[tuple[float, tuple[float, ...]]], policy: Policy
) -> None:
    # As from `KernelTable`: alone, a kernel never asks for more than an SM has.
    asked = [(min(blocks, 1 / max(share)), share) for blocks, share in wanted]
    got = adjusted_blocks(asked, policy)
    used = [blocks * np.array(share) for blocks, (_, share) in zip(got, asked, strict=True)]
    assert np.sum(used, axis=0).max() <= 1 + 1e-6
    for blocks, (most, _) in zip(got, asked, strict=True):
        assert -1e-12 <= blocks <= most + 1e-9
    # Whoever comes first gets something, and all get all when all fits; whole blocks may not.
    assert got[0] > 0
    if (
        policy != "first-come"
        and np.sum([most * np.array(share) for most, share in asked], axis=0).max() <= 1
    ):
        assert got == pytest.approx([most for most, _ in asked], abs=1e-6)


def test_proportional_shares_shrink_all_by_one_factor() -> None:
    assert adjusted_blocks([(4, QUARTER), (2, HALF)], "proportional") == pytest.approx([2, 1])


def test_equal_shares_leave_the_small_its_demand() -> None:
    assert adjusted_blocks([(4, QUARTER), (0.4, HALF)], "equal") == pytest.approx([3.2, 0.4])
    assert adjusted_blocks([(4, QUARTER), (2, HALF)], "equal") == pytest.approx([2, 1])


def test_who_comes_first_keeps_all_and_the_next_gets_the_whole_blocks_that_fit() -> None:
    assert adjusted_blocks([(2, QUARTER), (2, HALF)], "first-come") == pytest.approx([2, 1])
    assert adjusted_blocks([(3, QUARTER), (2, HALF)], "first-come") == pytest.approx([3, 0])
    # On half of the SMs the first has no block: there both of the second's fit.
    assert adjusted_blocks([(0.5, HALF), (2, HALF)], "first-come") == pytest.approx([0.5, 1.5])


def test_shared_memory_limits_like_warps_do() -> None:
    assert adjusted_blocks([(2, SHARED), (2, SHARED)], "proportional") == pytest.approx([1, 1])
    assert adjusted_blocks([(2, SHARED), (2, SHARED)], "first-come") == pytest.approx([2, 0])


def test_two_equal_kernels_that_fill_the_gpu_take_twice_as_long() -> None:
    full = table([kernel(us=10)])
    for policy in ("proportional", "equal"):
        drops = reference_drop([full, full], policy=policy)
        assert [drop.slowdown for drop in drops] == pytest.approx([1, 1])


def test_the_longer_kernel_goes_on_alone_at_full_speed() -> None:
    """Thesis Eq 4.4: half speed until the shorter one ends, then its rest at full speed."""
    long, short = table([kernel(us=30), kernel(us=1)]), table([kernel(us=10), kernel(us=40)])
    spans: list[Span] = []
    CoExecution([long, short], "proportional").run([0, 0], spans=spans)
    ended = {(s.model, s.kernel): s for s in reversed(spans)}
    # Both at half speed: the short one's first ends at 20 us; its next, 40 us long, comes then.
    assert ended[1, 0].end_s == pytest.approx(20e-6)
    assert ended[0, 0].end_s == pytest.approx(60e-6)
    assert ended[0, 0].delay_s == pytest.approx(30e-6)


def test_kernels_that_fit_together_do_not_delay_each_other() -> None:
    small = table([kernel(blocks=1, threads=32, us=5)] * 3)
    for policy in POLICIES:
        assert [d.added_s for d in reference_drop([small, small], policy=policy)] == [0, 0]


def test_a_blocked_kernel_waits_for_the_blockers_end() -> None:
    first, second = table([kernel(us=10)]), table([kernel(us=30)])
    spans: list[Span] = []
    CoExecution([first, second], "first-come").run([0, 0], spans=spans)
    assert [(s.model, round(s.end_s * 1e6)) for s in spans] == [(0, 10), (1, 40)]
    assert spans[1].delay_s == pytest.approx(10e-6)


def test_of_equal_times_the_first_model_comes_first() -> None:
    same = table([kernel(us=10)])
    spans: list[Span] = []
    CoExecution([same, same], "first-come").run([0, 0], spans=spans)
    assert [s.model for s in spans] == [0, 1]


def test_three_models_share_too() -> None:
    full = table([kernel(us=10)])
    drops = reference_drop([full, full, full])
    assert [drop.slowdown for drop in drops] == pytest.approx([2, 2, 2])


networks = st.lists(
    st.builds(
        kernel,
        blocks=st.sampled_from([1, 54, 500, 10_000]),
        threads=st.sampled_from([32, 256, 1024]),
        shared=st.sampled_from([0, 80_000]),
        us=st.integers(1, 40).map(float),
    ),
    min_size=1,
    max_size=6,
)


@given(networks, networks, st.sampled_from(POLICIES))
def test_work_is_conserved(first: list[Kernel], second: list[Kernel], policy: Policy) -> None:
    tables = [table(first), table(second)]
    spans: list[Span] = []
    drops = CoExecution(tables, policy).run([0, 0], spans=spans)
    end = max(span.end_s for span in spans)
    for position, (own, drop) in enumerate(zip(tables, drops, strict=True)):
        mine = [span for span in spans if span.model == position]
        # One kernel after the other, each at least as long as alone, and each model once.
        assert len(mine) >= own.kernels
        assert all(a.end_s <= b.start_s + 1e-12 for a, b in pairwise(mine))
        for span in mine:
            alone = own.durations_s[span.kernel]
            assert span.end_s - span.start_s >= alone - 1e-12
        # The rate over the run is one inference per stretched inference time.
        whole = sum(own.durations_s[span.kernel] for span in mine)
        assert whole <= end / (1 + drop.slowdown) + 1e-12


def test_the_expectation_is_the_average_over_all_alignments() -> None:
    """Two models of whose kernels each meets each: no sampling error is left."""
    first = table([kernel(us=10), kernel(blocks=1, threads=32, us=10)])
    second = table([kernel(us=10), kernel(blocks=54, threads=512, us=10)])
    runs = [CoExecution([first, second], "proportional").run([0, start])[0] for start in (0, 1)]
    expected = performance_drop([first, second], InterferenceSettings())[0]
    # In phase or out of phase: with equal durations these are all alignments.
    assert np.mean([run.slowdown for run in runs]) == pytest.approx(expected.slowdown)
