"""Algorithm 2 against a transcription of its pseudocode, and against its readings by hand."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomie.interference import (
    MODES,
    PRINTED,
    Interference,
    InterferenceSettings,
    Mode,
    added_time_s,
    crowding,
    delay_shares,
    overlap_factor,
    pair_delays,
    performance_drop,
    starting_points,
)
from roomie.profiles import Kernel
from roomie.tables import KernelTable, kernel_table
from tests.roomie.kit import kernel, profile

# Occupancies on an A100: FULL 1 (8 blocks of 8 warps), HALF 0.5 (2 blocks by shared memory of 16
# warps each), SMALL one block a GPU of one warp.
FULL = kernel(threads=256, registers=32)
HALF = kernel(threads=512, registers=32, shared=80 * 1024)
SMALL = kernel(blocks=1, threads=32)

kernels = st.builds(
    kernel,
    blocks=st.sampled_from([1, 20, 108, 500, 10_000]),
    threads=st.sampled_from([32, 128, 256, 512, 1024]),
    registers=st.sampled_from([16, 40, 64]),
    shared=st.sampled_from([0, 16_384, 80_000, 160_000]),
    us=st.floats(1, 1000),
)
networks = st.lists(kernels, min_size=1, max_size=12)
readings = st.builds(
    InterferenceSettings,
    mode=st.sampled_from(MODES),
    alignment=st.just("lockstep"),
    gamma=st.sampled_from(["count", "time"]),
    starts=st.integers(1, 6),
)


def table(made: Sequence[Kernel]) -> KernelTable:
    return kernel_table(profile(kernels=made))


def literal_algorithm_2(
    models: Sequence[KernelTable], settings: InterferenceSettings
) -> list[float]:
    """The pseudocode, line by line and one kernel at a time; throughput losses."""
    losses = []
    for i, first in enumerate(models):
        total = sum(first.durations_s)
        slowed: float = total
        for j, second in enumerate(models):
            if i == j:
                continue
            delays = []
            for turn_i in range(settings.starts):
                for turn_j in range(settings.starts):
                    k_i = turn_i * first.kernels // settings.starts
                    k_j = turn_j * second.kernels // settings.starts
                    delay = 0.0
                    while k_i < first.kernels and k_j < second.kernels:
                        delay += literal_delay(first, k_i, second, k_j, settings.mode)
                        k_i, k_j = k_i + 1, k_j + 1
                    delays.append(delay)
            gamma: float = max(first.kernels / second.kernels, 1)
            if settings.gamma == "time":
                gamma = max(total / sum(second.durations_s), 1)
            slowed += gamma * statistics.median(delays)
        losses.append((slowed - total) / slowed)
    return losses


def literal_delay(first: KernelTable, k_i: int, second: KernelTable, k_j: int, mode: Mode) -> float:
    a, b = first.signature[k_i], second.signature[k_j]
    phi_i, phi_j = first.demand[a], second.demand[b]
    if not any(x + y > 1 + 1e-9 for x, y in zip(phi_i, phi_j, strict=True)):
        return 0.0
    o_i, o_j = first.occupancy[a], second.occupancy[b]
    share = {
        "printed": o_i / (o_i + o_j),
        "swapped": o_j / (o_i + o_j),
        "adjusted": max(0.0, phi_i[0] + phi_j[0] - 1),
        "dominant": max(x + y for x, y in zip(phi_i, phi_j, strict=True)) - 1,
    }[mode]
    return float(first.durations_s[k_i] * share)


@given(st.lists(networks, min_size=2, max_size=3), readings)
def test_lockstep_is_the_pseudocode(
    made: list[list[Kernel]], settings: InterferenceSettings
) -> None:
    tables = [table(network) for network in made]
    found = [drop.throughput_loss for drop in performance_drop(tables, settings)]
    assert found == pytest.approx(literal_algorithm_2(tables, settings), rel=1e-9, abs=1e-15)


def test_the_printed_delay_grows_as_the_neighbour_shrinks() -> None:
    full, half = table([FULL]), table([HALF])
    assert delay_shares(full, half, "printed")[0, 0] == pytest.approx(1 / 1.5)
    assert delay_shares(half, full, "printed")[0, 0] == pytest.approx(0.5 / 1.5)
    assert delay_shares(full, half, "swapped")[0, 0] == pytest.approx(0.5 / 1.5)


def test_the_adjusted_delay_follows_from_shared_warps() -> None:
    full, half = table([FULL]), table([HALF])
    # d * o / o~ with o~ = o / (o_i + o_j) is d * 1.5: half of d is added.
    assert delay_shares(full, half, "adjusted")[0, 0] == pytest.approx(0.5)


def test_shared_memory_collides_where_warps_do_not_and_only_dominant_tells_how_much() -> None:
    hungry = table([kernel(threads=64, shared=80 * 1024)])
    assert crowding(hungry, hungry)[0, 0] > 1
    assert delay_shares(hungry, hungry, "adjusted")[0, 0] == 0
    assert delay_shares(hungry, hungry, "dominant")[0, 0] == pytest.approx(
        crowding(hungry, hungry)[0, 0] - 1
    )


def test_kernels_that_fit_together_do_not_interfere_in_any_mode() -> None:
    small = table([SMALL])
    for mode in MODES:
        assert delay_shares(small, small, mode)[0, 0] == 0


def test_starting_points_are_evenly_spaced_kernels() -> None:
    assert starting_points(13, 5).tolist() == [0, 2, 5, 7, 10]
    assert starting_points(1, 5).tolist() == [0] * 5


def test_the_median_of_an_even_count_is_the_mean_of_the_middle_two() -> None:
    first, second = table([FULL, SMALL]), table([FULL, SMALL])
    settings = InterferenceSettings(mode="printed", alignment="lockstep", starts=2)
    delays = sorted(pair_delays(first, second, settings))
    assert len(delays) == 4
    assert added_time_s(first, second, settings) == pytest.approx((delays[1] + delays[2]) / 2)


def test_gamma_compares_kernel_counts_or_times() -> None:
    long, short = table([kernel(us=1)] * 6), table([kernel(us=12)] * 2)
    assert overlap_factor(long, short, "count") == 3
    assert overlap_factor(long, short, "time") == 1
    assert overlap_factor(short, long, "count") == 1
    assert overlap_factor(short, long, "time") == pytest.approx(4)


def test_slowdown_and_throughput_loss_are_the_two_ways_of_the_thesis() -> None:
    drop = Interference(alone_s=2.0, added_s=2.0)
    assert (drop.slowdown, drop.throughput_loss, drop.inference_time_s) == (1.0, 0.5, 4.0)


def test_delays_of_sets_are_sums_over_pairs() -> None:
    tables = [table([FULL, HALF]), table([HALF] * 3), table([SMALL, FULL])]
    for settings in (PRINTED, InterferenceSettings()):
        drops = performance_drop(tables, settings)
        for i, drop in enumerate(drops):
            pairs = [
                performance_drop([tables[i], other], settings)[0].added_s
                for j, other in enumerate(tables)
                if j != i
            ]
            assert drop.added_s == pytest.approx(sum(pairs))


def test_the_expectation_weights_kernels_by_their_time() -> None:
    first = table([kernel(us=30), kernel(blocks=1, threads=32, us=10)])
    second = table([kernel(us=10), kernel(blocks=1, threads=32, us=30)])
    settings = InterferenceSettings(mode="dominant", alignment="expected")
    both_full = delay_shares(table([FULL]), table([FULL]), "dominant")[0, 0]
    tiny = float(crowding(table([FULL]), table([SMALL]))[0, 0]) - 1
    wanted = 30e-6 * (0.25 * both_full + 0.75 * tiny) + 10e-6 * 0.25 * tiny
    assert added_time_s(first, second, settings) == pytest.approx(wanted)


@given(networks, networks)
def test_dominant_expectation_slows_both_by_the_same_factor(
    first: list[Kernel], second: list[Kernel]
) -> None:
    settings = InterferenceSettings()
    assert settings.symmetric
    drops = performance_drop([table(first), table(second)], settings)
    assert drops[0].slowdown == pytest.approx(drops[1].slowdown)


@given(networks, networks, st.sampled_from(MODES), st.sampled_from(["lockstep", "expected"]))
def test_interference_never_speeds_up(
    first: list[Kernel], second: list[Kernel], mode: Mode, alignment: str
) -> None:
    settings = InterferenceSettings(mode=mode, alignment=alignment)  # type: ignore[arg-type] # parametrized literals
    for drop in performance_drop([table(first), table(second)], settings):
        assert 0 <= drop.throughput_loss < 1
        assert drop.slowdown >= 0


def test_a_model_alone_loses_nothing() -> None:
    assert performance_drop([table([FULL])], PRINTED)[0].slowdown == 0


@given(networks, st.floats(0.1, 10))
def test_durations_are_scaled_to_the_inference_time(made: list[Kernel], factor: float) -> None:
    plain = profile(kernels=made)
    scaled = profile(kernels=made, time_s=plain.inference_time_s * factor)
    assert scaled.overhead == pytest.approx(1 / factor)
    assert kernel_table(scaled).inference_time_s == pytest.approx(scaled.inference_time_s)
    assert np.allclose(kernel_table(scaled).durations_s, kernel_table(plain).durations_s * factor)
