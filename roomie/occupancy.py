"""How many blocks of a kernel fit on one SM, and what they take of it.

Thesis sec. 4.4.1 (Eq 4.1), with the rules of the CUDA occupancy calculator.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from roomie.devices import Device, SmLimits

Resource = Literal["warps", "registers", "shared memory", "blocks"]

RESOURCES: tuple[Resource, ...] = ("warps", "registers", "shared memory", "blocks")
"""Order of the components of a demand vector."""

_WARP = 32
_PARTITIONS = 4
"""Of an SM; a warp's registers come out of one of them (CUDA occupancy calculator)."""


@dataclass(frozen=True, kw_only=True)
class Occupancy:
    """What limits a kernel on an SM that it has for itself.

    Attributes:
        blocks: resident blocks b; 0 where not even one fits.
        warps_per_block: W_b.
        occupancy: b * W_b / W, in [0, 1] (thesis Eq 4.1).
        limited_by: the resource with the smallest limit; ties go to the first of `RESOURCES`.
        per_block: what one block takes of each of `RESOURCES`, as a share of the SM.
        block_limits: blocks that each of `RESOURCES` alone would admit.
    """

    blocks: int
    warps_per_block: int
    occupancy: float
    limited_by: Resource
    per_block: tuple[float, float, float, float]
    block_limits: tuple[int, int, int, int]


@lru_cache(maxsize=65536)
def occupancy(limits: SmLimits, *, threads: int, registers: int, shared_memory: int) -> Occupancy:
    """Resident blocks of a kernel on one SM.

    Args:
        limits: of the SM.
        threads: of a block.
        registers: of a thread.
        shared_memory: bytes of a block, static and dynamic together.
    """
    warps = -(-threads // _WARP)
    by_warps = limits.warps // warps if threads <= limits.threads_per_block else 0

    per_warp = _round_up(max(registers, 1) * _WARP, limits.register_unit)
    if registers > limits.registers_per_thread:
        by_registers = 0
    else:
        by_registers = (limits.registers // _PARTITIONS // per_warp) * _PARTITIONS // warps

    taken = _round_up(shared_memory + limits.reserved_shared_memory, limits.shared_memory_unit)
    if shared_memory > limits.shared_memory_per_block:
        by_shared = 0
    else:
        by_shared = limits.shared_memory // max(taken, 1)

    by = (by_warps, by_registers, by_shared, limits.blocks)
    blocks = min(by)
    return Occupancy(
        blocks=blocks,
        warps_per_block=warps,
        occupancy=blocks * warps / limits.warps,
        limited_by=RESOURCES[by.index(blocks)],
        per_block=(
            warps / limits.warps,
            warps * per_warp / limits.registers,
            taken / limits.shared_memory,
            1 / limits.blocks,
        ),
        block_limits=by,
    )


def resident_blocks(found: Occupancy, *, grid_blocks: int, sms: int) -> float:
    """Blocks of a kernel on an average SM: fractional while the grid is below one wave."""
    return min(float(found.blocks), grid_blocks / sms)


def demand(found: Occupancy, device: Device, *, grid_blocks: int) -> NDArray[np.float64]:
    """The kernel's phi of thesis Eq 4.2: shares of an average SM, in the order of `RESOURCES`."""
    resident = resident_blocks(found, grid_blocks=grid_blocks, sms=device.sms)
    return resident * np.array(found.per_block)


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
