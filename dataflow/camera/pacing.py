"""When a frame is taken and when the next try is due: pure, without a clock of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dataflow.errors import ConfigError

_MAX_LAG_SECONDS = 1.0
"""A recording that fell further behind goes on from here instead of catching up in a burst."""
_EARLY = 0.5
"""A live frame counts as due this fraction of an interval early: a camera's frames jitter, and
waiting for the next one would halve the rate."""


class Thinning:
    """Keeps ``wanted`` of each ``native`` frames, evenly spread, beginning with the first.

    Args:
        wanted: frames per second to keep; None, or above ``native``, keeps all.
        native: frames per second of the source; None keeps all.
    """

    def __init__(self, wanted: float | None, native: float | None) -> None:
        self._wanted, self._native = wanted, native
        self._index = -1

    def keep(self) -> bool:
        """Whether the next frame is kept."""
        self._index += 1
        wanted, native = self._wanted, self._native
        if wanted is None or native is None or wanted >= native or self._index == 0:
            return True
        here = math.floor(self._index * wanted / native)
        return here > math.floor((self._index - 1) * wanted / native)


class RateLimit:
    """Keeps at most ``wanted`` frames per second of a live source, by the time they arrive.

    Live sources are judged by time, for the rate that they claim is often wrong (RTSP cameras
    announce 90,000 fps, or nothing).
    """

    def __init__(self, wanted: float | None) -> None:
        self._interval = None if wanted is None else 1.0 / wanted
        self._due: float | None = None

    def keep(self, now: float) -> bool:
        """Whether a frame that arrives at ``now`` (s, any monotonic clock) is kept."""
        if self._interval is None:
            return True
        if self._due is None:
            self._due = now + self._interval
            return True
        if now < self._due - _EARLY * self._interval:
            return False
        self._due = max(self._due + self._interval, now + _EARLY * self._interval)
        return True


class Schedule:
    """Plays a recording at the speed at which it was recorded."""

    def __init__(self) -> None:
        self._start: float | None = None

    def delay(self, offset: float, now: float) -> float:
        """Seconds to wait at ``now`` for the frame that lies ``offset`` s into the recording."""
        if self._start is None or self._start + offset < now - _MAX_LAG_SECONDS:
            self._start = now - offset
        return max(0.0, self._start + offset - now)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackoffConfig:
    """How long to wait before trying again: exponential, with jitter.

    Attributes:
        first: seconds before the first new try.
        most: longest wait, in seconds.
        factor: growth from one try to the next.
        jitter: fraction of each wait that is drawn at random, so that many cameras that lost the
            same switch do not all come back in the same instant.
    """

    first: float = 0.5
    most: float = 30.0
    factor: float = 2.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        if not (0 < self.first <= self.most and self.factor >= 1 and 0 <= self.jitter <= 1):
            raise ConfigError(
                "a back-off needs 0 < first <= most, factor >= 1 and 0 <= jitter <= 1",
                key="reconnect",
                value=self,
            )


class Backoff:
    """The waits of one series of tries."""

    def __init__(self, config: BackoffConfig, rng: np.random.Generator) -> None:
        self._config, self._rng = config, rng
        self._tries = 0

    def next(self) -> float:
        """Seconds to wait before the next try."""
        config = self._config
        # Bounded exponent: a camera may be away for weeks.
        full = min(config.most, config.first * config.factor ** min(self._tries, 64))
        self._tries += 1
        return full * (1.0 - config.jitter * float(self._rng.random()))

    def reset(self) -> None:
        """It worked: the next series begins with the shortest wait."""
        self._tries = 0
