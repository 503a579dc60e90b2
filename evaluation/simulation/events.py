"""The clock of a simulation.

Events of equal times happen by rank, and those of equal rank in the order in which they were
scheduled: a run depends on its seed and nothing else.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from enum import IntEnum


class Rank(IntEnum):
    """What comes first of what happens at the same time: as `agents.balancing.Priority`."""

    FAULT = 0
    """A replica dies or comes back."""
    SIGNAL = 1
    """Rows, signals and acknowledgements."""
    DATA = 2
    """Items arrive or are done."""
    TICK = 3
    """The shell's timer: it sees all of the above."""


class Loop:
    """Runs events in order of time."""

    def __init__(self) -> None:
        self._events: list[tuple[float, Rank, int, Callable[[], None]]] = []
        self._scheduled = 0
        self._now = 0.0

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return self._now

    def at(self, time: float, rank: Rank, event: Callable[[], None]) -> None:
        """Schedule; an event of the past happens now."""
        self._scheduled += 1
        heapq.heappush(self._events, (max(time, self._now), rank, self._scheduled, event))

    def run(self, until: float) -> None:
        """Up to and including ``until``."""
        while self._events and self._events[0][0] <= until:
            self._now, _, _, event = heapq.heappop(self._events)
            event()
        self._now = max(self._now, until)
