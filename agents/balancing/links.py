"""How long a peer's link takes for so many bytes, estimated from deliveries."""

from __future__ import annotations

import math
from dataclasses import dataclass

_FORGET_SECONDS = 10.0
"""Deliveries of so long ago count a third. A link that looks slow is not used, so that nothing
would ever show that it no longer is."""
_SURE = 3.0
"""Recent deliveries from which on they alone count, and nothing of what is assumed."""
_OUTLIER = 4.0
"""A delivery counts as at most so many times what was expected: the first one opens connections,
and a stalled machine delays some; a slow link delays all, and is known after a few more."""


@dataclass(slots=True)
class _Sums:
    """Exponentially forgotten sums of a regression of seconds on bytes."""

    at: float
    weight: float = 0.0
    size: float = 0.0
    seconds: float = 0.0
    size_size: float = 0.0
    size_seconds: float = 0.0
    rate: float = 0.0

    def fade(self, keep: float) -> None:
        """Weigh what is known less."""
        self.weight *= keep
        self.size *= keep
        self.seconds *= keep
        self.size_size *= keep
        self.size_seconds *= keep

    def slope(self) -> float | None:
        """Seconds a byte; None while the sizes are too alike to tell."""
        mean = self.size / self.weight
        variance = self.size_size / self.weight - mean * mean
        if variance <= (0.05 * mean) ** 2:
            return None
        covariance = self.size_seconds / self.weight - mean * self.seconds / self.weight
        return max(0.0, covariance / variance)


@dataclass(frozen=True, slots=True)
class Line:
    """How long deliveries take.

    Attributes:
        start: seconds of one without bytes; below 0 where the sizes seen are far from it.
        per_byte: seconds of each byte.
    """

    start: float
    per_byte: float

    def seconds(self, size: float) -> float:
        """Of a delivery of ``size`` bytes."""
        return max(0.0, self.start + self.per_byte * size)


class Links:
    """Bandwidth and latency of each peer's link.

    A delivery of b bytes is taken to last ``latency + b / bandwidth``. Both follow from an
    exponentially weighted least-squares line through the deliveries, once their sizes differ enough
    to tell the two apart; before that, the whole mean counts as latency. What is assumed counts
    before the first deliveries, and again when there have been none for a while.

    Args:
        latency: seconds, assumed of a peer before its first delivery.
        bandwidth: bytes a second, assumed likewise.
        memory: deliveries that the estimate looks back over, roughly.
    """

    def __init__(
        self, *, latency: float = 0.01, bandwidth: float = 125e6, memory: float = 20.0
    ) -> None:
        self._assumed = Line(latency, 1 / bandwidth)
        self._keep = 1 - 1 / memory
        self._peers: dict[str, _Sums] = {}

    def delivered(self, now: float, peer: str, size: int, seconds: float) -> None:
        """A delivery has been acknowledged; one without duration says nothing."""
        if not 0 < seconds < float("inf") or size < 0:
            return
        usual = self.line(now, peer).seconds(size)
        counted = min(seconds, _OUTLIER * usual) if usual else seconds
        sums = self._peers.setdefault(peer, _Sums(now))
        sums.fade(self._keep * math.exp(min(0.0, sums.at - now) / _FORGET_SECONDS))
        sums.at = max(sums.at, now)
        sums.weight += 1
        sums.size += size
        sums.seconds += counted
        sums.size_size += size * size
        sums.size_seconds += size * counted
        rate = size / seconds
        sums.rate = rate if not sums.rate else self._keep * sums.rate + (1 - self._keep) * rate

    def forget(self, peer: str) -> None:
        """It is gone."""
        self._peers.pop(peer, None)

    @property
    def peers(self) -> tuple[str, ...]:
        """Those that have had a delivery, sorted."""
        return tuple(sorted(self._peers))

    def throughput(self, peer: str) -> float:
        """Moving mean of bytes / seconds of its deliveries, latency included; 0 before any."""
        sums = self._peers.get(peer)
        return 0.0 if sums is None else sums.rate

    def line(self, now: float, peer: str) -> Line:
        """Expected duration of a delivery, as a function of its size."""
        sums, assumed = self._peers.get(peer), self._assumed
        if sums is None:
            return assumed
        slope = sums.slope()
        if slope is None:
            slope = assumed.per_byte
        start = (sums.seconds - slope * sums.size) / sums.weight
        recent = sums.weight * math.exp(min(0.0, sums.at - now) / _FORGET_SECONDS)
        sure = min(1.0, recent / _SURE)
        return Line(
            sure * start + (1 - sure) * assumed.start,
            sure * slope + (1 - sure) * assumed.per_byte,
        )
