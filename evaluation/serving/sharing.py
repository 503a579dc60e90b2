"""How much slower models run that compute on one GPU at the same time: the simulator's truth.

The reference is the event-driven co-execution of thesis sec. 4.4.2 (`roomie.coexecution`) under
proportional sharing, for the whole set that computes at a time and not pair by pair. There, all
kernels on the GPU slow by one factor, what they ask for of the scarcest resource together, if that
is above 1. So models advance at one speed, drift against each other as their lengths differ, and
each combination of their kernels occurs in proportion to the product of their times: the mean of
the factor over these combinations is the limit of long co-executions, at a thousandth of their
cost. Placers do not see it. ROOMIE's predictor reads the same profiles, but adds pairs up (Eq 4.12)
as if all were always busy; the others read throughput, memory and occupancy only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from roomie.tables import KernelTable

SAMPLES = 512
"""Combinations of kernels that a factor is the mean of; its standard error is below 1 %."""
_SEED = 44


class Sharing:
    """Factors of sets of models, each worked out once.

    Args:
        tables: of each variant that may run, by an index of the caller's.
    """

    def __init__(self, tables: dict[int, KernelTable]) -> None:
        self._tables = tables
        self._known: dict[tuple[int, ...], float] = {}
        self._samples: dict[tuple[int, int], NDArray[np.float64]] = {}

    @property
    def sets(self) -> int:
        """How many have been worked out."""
        return len(self._known)

    def stretch(self, active: tuple[int, ...]) -> float:
        """Seconds that a second of computing alone takes in a set, 1 or more.

        Args:
            active: variants that compute, ascending; one may be there more than once.
        """
        known = self._known.get(active)
        if known is None:
            known = self._known[active] = self._work_out(active)
        return known

    def _work_out(self, active: tuple[int, ...]) -> float:
        if len(active) < 2:
            return 1.0
        together = sum(self._demands(variant, place) for place, variant in enumerate(active))
        return float(np.maximum(1.0, np.max(together, axis=1)).mean())

    def _demands(self, variant: int, place: int) -> NDArray[np.float64]:
        """What kernels of a variant ask for of an SM, met at random times, shape (SAMPLES, 4).

        Evenly spaced over the inference, in an order of their own for each place in a set, so that
        those of one place do not go with those of another.
        """
        found = self._samples.get((variant, place))
        if found is None:
            table = self._tables[variant]
            generator = np.random.default_rng((_SEED, variant, place))
            ends = np.cumsum(table.durations_s) / table.inference_time_s
            moments = (generator.permutation(SAMPLES) + generator.random(SAMPLES)) / SAMPLES
            kernels = np.minimum(np.searchsorted(ends, moments), table.kernels - 1)
            found = self._samples[variant, place] = table.demand[table.signature[kernels]]
        return found
