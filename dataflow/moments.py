"""Moments: by a clock that never jumps, and as CloudEvents write them (RFC 3339)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

_MAX_TIME = 253_370_764_800.0
"""Seconds since the epoch at the start of the year 9999: some later ones have no UTC form."""


def steady(clock: Callable[[], float], monotonic: Callable[[], float]) -> Callable[[], float]:
    """A clock that is right when it is made, and never set afterwards.

    Differences of its times are durations, however often the machine's clock is corrected.

    Args:
        clock: seconds since the epoch; asked once.
        monotonic: seconds of a clock that never jumps.
    """
    started, began = clock(), monotonic()
    return lambda: started + monotonic() - began


def rfc3339(seconds: float) -> str:
    """UTC time with microseconds, as CloudEvents asks for."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


def parse_rfc3339(text: str) -> float:
    """Seconds since the epoch.

    Raises:
        ValueError: not a time with an offset, or not one from 1970 to 9998.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"the time {text!r} has no offset from UTC")
    seconds = moment.timestamp()
    if not 0 <= seconds < _MAX_TIME:
        raise ValueError(f"the time {text!r} is not in the years 1970 to 9998")
    return seconds
