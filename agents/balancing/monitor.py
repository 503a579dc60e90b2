"""Measures one replica: arrivals a slot, processing rate, sizes (thesis 3.4.3).

Pure: it is told what happened and when.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable
from statistics import median
from typing import NamedTuple

_RATES = 10
"""Batches that make up mu (baselines "Batching, mu")."""
_AGREEING = 4
"""So many batches in a row that are all slower, or all faster, than before are a change."""
_CHANGE = 1.25
"""By which factor they have to differ; below it the median moves by itself."""
_CAMERA_SLOTS = 10
"""Slots over which the rates of cameras are measured."""
_SIZE_WEIGHT = 0.05
"""Weight of an item in the mean size: some 20 items."""


class _Batch(NamedTuple):
    at: float
    items: int
    rate: float


class Rate:
    """Items a second that a replica can process.

    The median of the last 10 values of items/seconds of batches that are at least as large as the
    largest seen: small batches say nothing about what full ones would reach. Two additions, because
    mu changes while a replica runs:

    - "Largest seen" reaches back ``horizon`` seconds before the newest batch, so a large batch that
      never comes again does not freeze mu. A smaller batch that is faster than the median counts
      as well: the replica demonstrably reaches that.
    - When the last 4 of the batches that count differ from the median of those before by more than
      1.25 in the same direction, the earlier ones are forgotten: a model that became slower shows
      after 4 batches instead of 6.

    Args:
        horizon: seconds.
    """

    def __init__(self, *, horizon: float = 10.0) -> None:
        self._horizon = horizon
        self._larger: deque[_Batch] = deque()  # those that no later batch reaches, largest first
        self._counted: deque[_Batch] = deque(maxlen=_RATES)
        self._value: float | None = None

    @property
    def value(self) -> float | None:
        """The rate, None before the first batch."""
        return self._value

    def add(self, now: float, items: int, seconds: float) -> None:
        """A batch has been processed; one without items or duration is ignored."""
        if items <= 0 or not seconds > 0 or not math.isfinite(seconds):
            return
        batch = _Batch(now, items, items / seconds)
        while self._larger and self._larger[-1].items <= items:
            self._larger.pop()
        self._larger.append(batch)
        while self._larger[0].at < now - self._horizon:
            self._larger.popleft()
        largest = self._larger[0].items
        if batch.items < largest and (self._value is None or batch.rate <= self._value):
            return
        # Smaller batches counted while nothing larger had been seen; now they do not.
        keep = [b for b in self._counted if b.items >= batch.items or b.rate >= batch.rate]
        if batch.items == largest and len(keep) < len(self._counted):
            self._counted = deque(keep, maxlen=_RATES)
        self._counted.append(batch)
        self._forget_before_a_change()
        self._value = median(b.rate for b in self._counted)

    def _forget_before_a_change(self) -> None:
        counted = list(self._counted)
        before, lately = counted[:-_AGREEING], counted[-_AGREEING:]
        if not before:
            return
        rate = median(b.rate for b in before)
        slower = all(b.rate * _CHANGE < rate for b in lately)
        faster = all(b.rate > rate * _CHANGE for b in lately)
        if slower or faster:
            self._counted = deque(lately, maxlen=_RATES)


class Monitor:
    """Arrivals a slot and processing rate of one replica.

    Args:
        now: seconds; what came before is unknown.
        slot: length of a slot, seconds.
        history: slots kept.
    """

    def __init__(self, now: float, *, slot: float = 1.0, history: int = 50) -> None:
        self._slot_seconds = slot
        self._slot = self.slot_of(now)
        self._first = self._slot
        self._count = 0
        self._closed: deque[int] = deque(maxlen=history)
        self._cameras: Counter[str] = Counter()
        self._closed_cameras: deque[Counter[str]] = deque(maxlen=_CAMERA_SLOTS)
        self._rate = Rate()
        self._item_bytes: float | None = None

    def slot_of(self, now: float) -> int:
        """Number of the slot that contains ``now``, counted from the epoch."""
        return math.floor(now / self._slot_seconds)

    @property
    def mu(self) -> float | None:
        """Items a second, None while not measured."""
        return self._rate.value

    @property
    def item_bytes(self) -> float:
        """Mean size of the items that arrived lately; 0 before the first."""
        return self._item_bytes or 0.0

    @property
    def slot(self) -> int:
        """The slot that is being counted: the first that `history` does not cover."""
        return self._slot

    @property
    def history(self) -> tuple[int, ...]:
        """Arrivals in each closed slot, oldest first."""
        return tuple(self._closed)

    def arrivals(self, slots: int) -> float | None:
        """Items a second over the last closed slots, at most so many; None before the first."""
        recent = list(self._closed)[-slots:]
        return sum(recent) / len(recent) / self._slot_seconds if recent else None

    @property
    def counting(self) -> int:
        """Arrivals so far in the slot that is being counted."""
        return self._count

    def cameras(self, most: int) -> dict[str, float]:
        """Items a second of the busiest cameras over the last closed slots."""
        seconds = len(self._closed_cameras) * self._slot_seconds
        total: Counter[str] = Counter()
        for counted in self._closed_cameras:
            total.update(counted)
        busiest = sorted(total.items(), key=lambda entry: (-entry[1], entry[0]))[:most]
        return {camera: round(items / seconds, 3) for camera, items in busiest}

    def arrived(
        self, now: float, items: int, size: int = 0, *, cameras: Iterable[str] = ()
    ) -> None:
        """Items came from upstream, whether they were then dropped or not; not offloads.

        Args:
            now: seconds.
            items: how many.
            size: their bytes.
            cameras: the camera of each.
        """
        self.advance(now)
        self._count += items
        self._cameras.update(cameras)
        if items and size:
            mean = size / items
            weight = 1 - (1 - _SIZE_WEIGHT) ** items
            old = mean if self._item_bytes is None else self._item_bytes
            self._item_bytes = old + weight * (mean - old)

    def processed(self, now: float, items: int, seconds: float) -> None:
        """A batch has been processed."""
        self._rate.add(now, items, seconds)

    def advance(self, now: float) -> bool:
        """Close the slots that have ended.

        A clock that goes backwards closes nothing; one that leaps forward leaves empty slots, at
        most as many as the history holds.

        Returns:
            Whether any has.
        """
        ended = self.slot_of(now) - self._slot
        if ended <= 0:
            return False
        # The replica may have come up in the middle of its first slot, which would then read as a
        # lull: it is left out unless something arrived in it.
        if self._slot != self._first or self._count:
            self._closed.append(self._count)
            self._closed_cameras.append(self._cameras)
        for _ in range(min(ended - 1, self._closed.maxlen or 0)):
            self._closed.append(0)
            self._closed_cameras.append(Counter())
        self._slot += ended
        self._count = 0
        self._cameras = Counter()
        return True
