"""Which waiting items a function takes next."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal, Protocol

from agents.balancing.values import Waiting


class Order(Protocol):
    """Chooses the next batch."""

    def take(self, waiting: Sequence[Waiting], most: int) -> list[int]:
        """Places in ``waiting`` (oldest first) of up to ``most`` items, in processing order."""
        ...


class Fifo:
    """Oldest first: the response time is bounded by the queue's limit."""

    def take(self, waiting: Sequence[Waiting], most: int) -> list[int]:
        """The first ``most``."""
        return list(range(min(most, len(waiting))))


class ThesisOrder:
    """The original's: items from neighbours first; the newest with p = 0.8, else the oldest.

    Old items starve: neither lost nor done. Leftovers have to be counted as not processed.

    Args:
        generator: draws; seed it.
        newest: probability of taking the newest.
    """

    def __init__(self, generator: random.Random, *, newest: float = 0.8) -> None:
        self._generator = generator
        self._newest = newest

    def take(self, waiting: Sequence[Waiting], most: int) -> list[int]:
        """One draw an item."""
        offloaded = [place for place, item in enumerate(waiting) if item.hops]
        upstream = [place for place, item in enumerate(waiting) if not item.hops]
        chosen = []
        for _ in range(min(most, len(waiting))):
            group = offloaded or upstream
            chosen.append(group.pop(-1 if self._generator.random() < self._newest else 0))
        return chosen


def make_order(name: Literal["fifo", "thesis"], *, seed: int = 0) -> Order:
    """An order by its name in topics.yaml."""
    return Fifo() if name == "fifo" else ThesisOrder(random.Random(seed))  # noqa: S311 - no secret
