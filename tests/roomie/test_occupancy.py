"""Blocks per SM against published vectors and against what a real trace recorded."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomie.devices import load_devices
from roomie.occupancy import RESOURCES, demand, occupancy, resident_blocks
from tests.roomie.kit import SHARED_TRACE

LIMITS = load_devices().limits
CAPABILITIES = sorted(LIMITS)

# (threads, registers, shared memory) -> blocks on CC 7.2, 8.0, 9.0
VECTORS = [
    ((256, 64, 0), (4, 4, 4)),
    ((512, 40, 0), (3, 3, 3)),
    ((256, 255, 0), (1, 1, 1)),
    ((128, 128, 49152), (2, 3, 4)),
    ((64, 96, 16384), (6, 9, 10)),
]


@pytest.mark.parametrize(("launch", "blocks"), VECTORS)
def test_resident_blocks_match_the_published_vectors(
    launch: tuple[int, int, int], blocks: tuple[int, int, int]
) -> None:
    threads, registers, shared = launch
    found = [
        occupancy(LIMITS[cc], threads=threads, registers=registers, shared_memory=shared).blocks
        for cc in ("7.2", "8.0", "9.0")
    ]
    assert tuple(found) == blocks


# What the CUDA occupancy calculator's sheet gives for other capabilities, worked out by its rules:
# 48 warps, 100 KiB of which each block gives 1 KiB to the driver, 16 or 24 blocks.
@pytest.mark.parametrize(
    ("capability", "launch", "blocks", "limited_by"),
    [
        ("8.6", (256, 32, 0), 6, "warps"),
        ("8.6", (32, 16, 0), 16, "blocks"),
        ("8.9", (32, 16, 0), 24, "blocks"),
        ("8.6", (128, 32, 33 * 1024), 2, "shared memory"),
        ("8.9", (1024, 32, 0), 1, "warps"),
        ("8.9", (256, 168, 0), 1, "registers"),
        ("7.5", (256, 32, 0), 4, "warps"),
        ("8.7", (128, 32, 54 * 1024), 2, "shared memory"),
    ],
)
def test_capabilities_beyond_the_thesis(
    capability: str, launch: tuple[int, int, int], blocks: int, limited_by: str
) -> None:
    threads, registers, shared = launch
    found = occupancy(
        LIMITS[capability], threads=threads, registers=registers, shared_memory=shared
    )
    assert (found.blocks, found.limited_by) == (blocks, limited_by)


def test_theoretical_occupancy_is_resident_warps_over_all_warps() -> None:
    found = occupancy(LIMITS["8.0"], threads=512, registers=40, shared_memory=0)
    assert found.occupancy == 3 * 16 / 64


@pytest.mark.parametrize(
    ("threads", "registers", "shared", "what"),
    [
        (1025, 32, 0, "warps"),
        (128, 256, 0, "registers"),
        (1024, 128, 0, "registers"),
        (128, 32, 166913, "shared memory"),
    ],
)
def test_a_kernel_that_exceeds_the_sm_has_no_block_and_says_what_it_exceeds(
    threads: int, registers: int, shared: int, what: str
) -> None:
    found = occupancy(LIMITS["8.0"], threads=threads, registers=registers, shared_memory=shared)
    assert (found.blocks, found.limited_by) == (0, what)


def test_a_grid_below_one_wave_is_resident_in_part() -> None:
    device = load_devices().device("A100-SXM4-40GB")
    found = occupancy(device.limits, threads=256, registers=64, shared_memory=0)
    assert resident_blocks(found, grid_blocks=27, sms=108) == 0.25
    assert resident_blocks(found, grid_blocks=10_000, sms=108) == 4
    assert demand(found, device, grid_blocks=27)[0] == pytest.approx(0.25 * 8 / 64)


launches = st.tuples(
    st.sampled_from(CAPABILITIES),
    st.integers(1, 1024),
    st.integers(1, 255),
    st.integers(0, 60_000),
)


@given(launches)
def test_resident_blocks_never_exceed_any_resource_and_one_more_would(
    launch: tuple[str, int, int, int],
) -> None:
    capability, threads, registers, shared = launch
    limits = LIMITS[capability]
    found = occupancy(limits, threads=threads, registers=registers, shared_memory=shared)
    shares = np.array(found.per_block)
    assert (found.blocks * shares <= 1 + 1e-12).all()
    limit = found.block_limits[RESOURCES.index(found.limited_by)]
    assert limit == found.blocks
    # Registers are handed out by partition: up to three warps' worth may stay unused.
    if found.limited_by != "registers":
        share = shares[RESOURCES.index(found.limited_by)]
        assert (found.blocks + 1) * share > 1


@given(launches, st.integers(0, 3))
def test_asking_for_more_never_gives_more_blocks(
    launch: tuple[str, int, int, int], which: int
) -> None:
    capability, threads, registers, shared = launch
    more = {
        "threads": threads + 32 * (which == 0),
        "registers": registers + 8 * (which == 1),
        "shared_memory": shared + 512 * (which == 2),
    }
    limits = LIMITS[capability]
    before = occupancy(limits, threads=threads, registers=registers, shared_memory=shared)
    assert occupancy(limits, **more).blocks <= before.blocks


@pytest.mark.shared_data
@pytest.mark.skipif(not SHARED_TRACE.is_file(), reason=f"no real trace at {SHARED_TRACE}")
def test_occupancy_agrees_with_what_kineto_estimated_on_a_real_a100() -> None:
    device = load_devices().device("A100-SXM4-40GB")
    events = json.loads(gzip.decompress(SHARED_TRACE.read_bytes()))["traceEvents"]
    compared = 0
    for event in events:
        if event.get("cat") != "kernel":
            continue
        args = event["args"]
        shared = args["shared memory"]
        if shared > 48 * 1024:
            continue  # Kineto of that time knew no opt-in shared memory and wrote 0 %
        found = occupancy(
            device.limits,
            threads=int(np.prod(args["block"])),
            registers=args["registers per thread"],
            shared_memory=shared,
        )
        share = demand(found, device, grid_blocks=int(np.prod(args["grid"])))[0]
        assert round(100 * share) == pytest.approx(args["est. achieved occupancy %"], abs=1)
        compared += 1
    assert compared > 60
