"""How long a peer's link takes for so many bytes, estimated from deliveries."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class _Sums:
    """Exponentially forgotten sums of a regression of seconds on bytes."""

    weight: float = 0.0
    size: float = 0.0
    seconds: float = 0.0
    size_size: float = 0.0
    size_seconds: float = 0.0
    rate: float = 0.0


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
    to tell the two apart; before that, the whole mean counts as latency.

    Args:
        latency: seconds, assumed of a peer before its first delivery.
        bandwidth: bytes a second, assumed likewise.
        memory: deliveries that the estimate looks back over, roughly.
    """

    def __init__(
        self, *, latency: float = 0.01, bandwidth: float = 125e6, memory: float = 20.0
    ) -> None:
        self._latency = latency
        self._bandwidth = bandwidth
        self._keep = 1 - 1 / memory
        self._peers: dict[str, _Sums] = {}

    def delivered(self, peer: str, size: int, seconds: float) -> None:
        """A delivery has been acknowledged; one without duration says nothing."""
        if not 0 < seconds < float("inf") or size < 0:
            return
        sums = self._peers.setdefault(peer, _Sums())
        keep = self._keep
        sums.weight = keep * sums.weight + 1
        sums.size = keep * sums.size + size
        sums.seconds = keep * sums.seconds + seconds
        sums.size_size = keep * sums.size_size + size * size
        sums.size_seconds = keep * sums.size_seconds + size * seconds
        rate = size / seconds
        sums.rate = rate if not sums.rate else keep * sums.rate + (1 - keep) * rate

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

    def per_byte(self, peer: str) -> float:
        """Seconds that one more byte takes."""
        sums = self._peers.get(peer)
        if sums is None:
            return 1 / self._bandwidth
        mean = sums.size / sums.weight
        variance = sums.size_size / sums.weight - mean * mean
        if variance <= (0.05 * mean) ** 2:
            return 1 / self._bandwidth
        covariance = sums.size_seconds / sums.weight - mean * sums.seconds / sums.weight
        return max(0.0, covariance / variance)

    def line(self, peer: str) -> Line:
        """Expected duration of a delivery, as a function of its size."""
        sums = self._peers.get(peer)
        if sums is None:
            return Line(self._latency, 1 / self._bandwidth)
        slope = self.per_byte(peer)
        return Line((sums.seconds - slope * sums.size) / sums.weight, slope)
