"""How models on one GPU slow each other: thesis Algorithm 2, with the readings of its gaps.

Two kernels interfere if together they ask for more than an SM has of warps, registers, shared
memory or block slots (Eq 4.2). Of two models, pairs of kernels are looked at in lockstep from
n x n starting points, and the median of the delays counts (Eq 4.7 to 4.10).

Lockstep lets a kernel of 3 us face one kernel of 3 ms as if they took the same time, and sees, from
a starting point in the middle, half of the model. The alternative here, ``expected``, has neither
fault and is cheaper: models under load drift against each other, so each kernel of one meets each
kernel of the other in proportion to the time that it takes. Under proportional sharing both slow by
the same factor, and the expectation is exact for two models that are always busy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from roomie.tables import OVER, Floats, Integers, KernelTable

Mode = Literal["printed", "swapped", "adjusted", "dominant"]
Gamma = Literal["count", "time"]
Alignment = Literal["lockstep", "expected"]

MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True, kw_only=True)
class InterferenceSettings:
    """Which reading of Algorithm 2.

    Attributes:
        mode: the delay of a kernel that takes d alone, o_i and o_j being occupancies:

            - ``printed``: d * o_i / (o_i + o_j), as in Eq 4.8. A small neighbour delays most.
            - ``swapped``: d * o_j / (o_i + o_j): the neighbour's share of the two.
            - ``adjusted``: d * max(0, o_i + o_j - 1) of the resident occupancies, which follows
              from Eq 4.3 when warps are shared proportionally.
            - ``dominant``: the same for whichever of the four resources is scarcest; not in the
              thesis. Registers or shared memory collide where warps do not.
        alignment: which kernels meet: ``lockstep`` is Algorithm 2, ``expected`` all of them in
            proportion to their times.
        gamma: of ``lockstep``, the overlap factor max(1, q_i / q_j) of kernel counts (Eq 4.11), or
            of inference times.
        starts: of ``lockstep``, n starting points a model.
    """

    mode: Mode = "dominant"
    alignment: Alignment = "expected"
    gamma: Gamma = "count"
    starts: int = 5

    @property
    def symmetric(self) -> bool:
        """Whether two models slow each other by the same factor, whatever they are."""
        return self.alignment == "expected" and self.mode in ("adjusted", "dominant")


PRINTED = InterferenceSettings(mode="printed", alignment="lockstep", gamma="count")
"""Algorithm 2 as it is printed."""


@dataclass(frozen=True, kw_only=True)
class Interference:
    """What neighbours do to a model.

    Attributes:
        alone_s: inference time T without them.
        added_s: what they add to it.
    """

    alone_s: float
    added_s: float

    @property
    def inference_time_s(self) -> float:
        """T~ of Eq 4.12."""
        return self.alone_s + self.added_s

    @property
    def slowdown(self) -> float:
        """(T~ - T) / T, Eq 4.6: 1 doubles the inference time."""
        return self.added_s / self.alone_s

    @property
    def throughput_loss(self) -> float:
        """(T~ - T) / T~, Algorithm 2 line 23: 0.5 halves the throughput."""
        return self.added_s / self.inference_time_s


def crowding(first: KernelTable, second: KernelTable) -> Floats:
    """What kernels of two signatures ask for of the scarcest resource, shape (s_i, s_j).

    Above 1 they interfere (Eq 4.2).
    """
    most: Floats = first.demand[:, 0][:, None] + second.demand[:, 0][None, :]
    for resource in range(1, first.demand.shape[1]):
        together = first.demand[:, resource][:, None] + second.demand[:, resource][None, :]
        np.maximum(most, together, out=most)
    return most


def delay_shares(first: KernelTable, second: KernelTable, mode: Mode) -> Floats:
    """Delay of a kernel of ``first`` over its duration, by signatures, shape (s_i, s_j)."""
    crowd = crowding(first, second)
    if mode == "dominant":
        return np.where(crowd > 1 + OVER, crowd - 1, 0.0)
    mine, theirs = first.occupancy[:, None], second.occupancy[None, :]
    shares: Floats
    if mode == "printed":
        shares = mine / (mine + theirs)
    elif mode == "swapped":
        shares = theirs / (mine + theirs)
    else:
        warps = first.resident_occupancy[:, None] + second.resident_occupancy[None, :]
        shares = np.maximum(0.0, warps - 1)
    return np.where(crowd > 1 + OVER, shares, 0.0)


def starting_points(kernels: int, count: int) -> Integers:
    """Evenly spaced kernels, s = floor(t * q / n)."""
    points: Integers = np.arange(count, dtype=np.intp) * kernels // count
    return points


def pair_delays(first: KernelTable, second: KernelTable, settings: InterferenceSettings) -> Floats:
    """Delay of ``first`` by ``second`` for each pair of starting points, seconds (Eq 4.9)."""
    shares = delay_shares(first, second, settings.mode)
    mine = starting_points(first.kernels, settings.starts)
    theirs = starting_points(second.kernels, settings.starts)
    starts_i = np.repeat(mine, len(theirs))
    starts_j = np.tile(theirs, len(mine))
    # Both advance in lockstep until one ends; all pairs of starts in one pass.
    lengths = np.minimum(first.kernels - starts_i, second.kernels - starts_j)
    begins = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    steps = np.arange(lengths.sum()) - np.repeat(begins, lengths)
    at_i = np.repeat(starts_i, lengths) + steps
    at_j = np.repeat(starts_j, lengths) + steps
    delays = first.durations_s[at_i] * shares[first.signature[at_i], second.signature[at_j]]
    summed: Floats = np.add.reduceat(delays, begins)
    return summed


def overlap_factor(first: KernelTable, second: KernelTable, gamma: Gamma) -> float:
    """gamma_ij of Eq 4.11: how often ``second`` runs while ``first`` runs once."""
    if gamma == "count":
        return max(first.kernels / second.kernels, 1.0)
    return max(first.inference_time_s / second.inference_time_s, 1.0)


def added_time_s(first: KernelTable, second: KernelTable, settings: InterferenceSettings) -> float:
    """What ``second`` adds to the inference time of ``first``: gamma_ij * Delta_ij (Eq 4.12)."""
    if settings.alignment == "expected":
        shares = delay_shares(first, second, settings.mode)
        met = second.signature_times_s / second.inference_time_s
        # Not "@": a threaded BLAS costs more than it gains on arrays as small as these.
        return float(np.einsum("i,ij,j->", first.signature_times_s, shares, met))
    delay = float(np.median(pair_delays(first, second, settings)))
    return overlap_factor(first, second, settings.gamma) * delay


def performance_drop(
    tables: Sequence[KernelTable], settings: InterferenceSettings
) -> list[Interference]:
    """Algorithm 2: what models on one GPU do to each other, in their order."""
    return [
        Interference(
            alone_s=table.inference_time_s,
            added_s=sum(
                added_time_s(table, other, settings)
                for position, other in enumerate(tables)
                if position != mine
            ),
        )
        for mine, table in enumerate(tables)
    ]
