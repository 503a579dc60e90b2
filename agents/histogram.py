"""How often a time was how long: counts in fixed buckets. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

RESPONSE_SECONDS = (
    *(0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5),
    *(0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 20.0, 30.0, 60.0),
)
"""Upper bounds, seconds: fine where response times of live video lie."""


@dataclass(frozen=True, slots=True)
class Counts:
    """A histogram at one moment.

    Attributes:
        bounds: upper bounds of the buckets, ascending.
        counts: values of each bucket, and last of those beyond all bounds.
        total: sum of the values.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    def cumulative(self) -> list[tuple[float, int]]:
        """(upper bound, values up to it), the last bound being infinity."""
        pairs = []
        below = 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            below += count
            pairs.append((bound, below))
        return pairs


class Histogram:
    """Counts values in buckets, a batch at a time.

    Args:
        bounds: upper bounds of the buckets, ascending; a value that equals one is below it.
    """

    def __init__(self, bounds: Sequence[float] = RESPONSE_SECONDS) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._total = 0.0

    def add(self, values: Iterable[float]) -> None:
        """Count values; one below 0 (two clocks) counts as 0, as the total may never fall."""
        bounds, counts = self._bounds, self._counts
        for value in values:
            known = max(0.0, value)
            counts[bisect_left(bounds, known)] += 1
            self._total += known

    def snapshot(self) -> Counts:
        """The histogram now."""
        return Counts(self._bounds, tuple(self._counts), self._total)
