"""Pauses between tries that grow while nothing gets better."""

from __future__ import annotations

import math

_MOST_DOUBLINGS = 64
"""More than any pause needs to become the longest: failures are counted without a limit, and a
power of two of their number is no float any more after a thousand."""


def doubled(first: float, longest: float, times: int) -> float:
    """A pause that has doubled ``times`` times, exponential back-off without jitter.

    Args:
        first: seconds without a doubling, > 0.
        longest: limit of the pause, in seconds.
        times: how often it has doubled; less than 0 counts as 0.
    """
    return min(longest, math.ldexp(first, max(0, min(times, _MOST_DOUBLINGS))))
