"""A profile's kernels as arrays, for what looks at all of them.

Kernels of one launch configuration share a signature: networks have hundreds of kernels and tens
of signatures, so that pairs of kernels are looked up in small tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from roomie.occupancy import resident_blocks
from roomie.profiles import Profile

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]

OVER = 1e-9
"""By how much shares may exceed 1 from rounding alone."""


@dataclass(frozen=True, kw_only=True, eq=False)
class KernelTable:
    """Kernels of a profile on its device.

    Attributes:
        durations_s: of each kernel, shape (q,); they sum up to the inference time.
        signature: of each kernel, an index into the arrays below, shape (q,).
        occupancy: theoretical, thesis Eq 4.1, shape (s,).
        resident: blocks on an average SM, shape (s,); fractional below one wave.
        per_block: what a block takes of an SM, in the order of `RESOURCES`, shape (s, 4).
        demand: phi of thesis Eq 4.2, ``resident * per_block``, shape (s, 4).
    """

    durations_s: Floats
    signature: Integers
    occupancy: Floats
    resident: Floats
    per_block: Floats
    demand: Floats

    @property
    def kernels(self) -> int:
        """How many kernels, q."""
        return len(self.durations_s)

    @cached_property
    def inference_time_s(self) -> float:
        """T."""
        return float(self.durations_s.sum())

    @cached_property
    def signature_times_s(self) -> Floats:
        """Time in kernels of each signature, shape (s,)."""
        times = np.zeros(len(self.occupancy))
        np.add.at(times, self.signature, self.durations_s)
        return times

    @property
    def resident_occupancy(self) -> Floats:
        """Share of an average SM's warps, below `occupancy` for grids below one wave."""
        warps: Floats = self.demand[:, 0]
        return warps


def kernel_table(profile: Profile) -> KernelTable:
    """The arrays of a profile; durations are scaled to its inference time."""
    device = profile.device
    seen: dict[tuple[int, int, int, float], int] = {}
    signature = np.empty(len(profile.kernels), dtype=np.intp)
    occupancies: list[float] = []
    residents: list[float] = []
    shares: list[tuple[float, float, float, float]] = []
    for position, kernel in enumerate(profile.kernels):
        found = kernel.occupancy(device)
        resident = resident_blocks(found, grid_blocks=kernel.grid_blocks, sms=device.sms)
        key = (kernel.threads, kernel.registers, kernel.shared_memory, resident)
        index = seen.setdefault(key, len(seen))
        if index == len(occupancies):
            occupancies.append(found.occupancy)
            residents.append(resident)
            shares.append(found.per_block)
        signature[position] = index
    durations = np.array([kernel.duration_ns for kernel in profile.kernels], dtype=np.float64)
    resident_array = np.array(residents)
    per_block = np.array(shares)
    return KernelTable(
        durations_s=durations * (profile.inference_time_s / durations.sum()),
        signature=signature,
        occupancy=np.array(occupancies),
        resident=resident_array,
        per_block=per_block,
        demand=resident_array[:, None] * per_block,
    )
