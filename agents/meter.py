"""Rates and times of a replica over the last seconds. Pure: times are arguments."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Batch:
    at: float
    items: int
    busy: float
    response: float


class Meter:
    """Sliding means over ``window`` seconds."""

    def __init__(self, window: float = 5.0) -> None:
        self._window = window
        self._batches: deque[_Batch] = deque()
        self._since: float | None = None

    def add(self, at: float, *, items: int, busy: float, response: float) -> None:
        """A batch of ``items`` ended at ``at``.

        Args:
            at: seconds of a monotonic clock.
            items: how many.
            busy: seconds that the function took.
            response: sum over the items of the seconds from their capture until now.
        """
        if self._since is None:
            self._since = at - busy
        self._batches.append(_Batch(at, items, busy, response))
        self._expire(at)

    def rate(self, now: float) -> float:
        """Items a second."""
        return self._sum(now, "items") / self._span(now)

    def busy(self, now: float) -> float:
        """Fraction of the time spent in the function, in [0, 1]."""
        return min(1.0, self._sum(now, "busy") / self._span(now))

    def service_seconds(self, now: float) -> float | None:
        """Mean seconds of the function per item; None without items."""
        items = self._sum(now, "items")
        return self._sum(now, "busy") / items if items else None

    def response_seconds(self, now: float) -> float | None:
        """Mean seconds from capture to the end of this function; None without items."""
        items = self._sum(now, "items")
        return self._sum(now, "response") / items if items else None

    def _span(self, now: float) -> float:
        since = now if self._since is None else self._since
        return max(1.0, min(self._window, now - since))

    def _sum(self, now: float, name: str) -> float:
        self._expire(now)
        return float(sum(getattr(batch, name) for batch in self._batches))

    def _expire(self, now: float) -> None:
        while self._batches and self._batches[0].at < now - self._window:
            self._batches.popleft()
