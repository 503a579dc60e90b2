"""Moments as CloudEvents write them (RFC 3339)."""

from __future__ import annotations

from datetime import UTC, datetime

_MAX_TIME = 253_370_764_800.0
"""Seconds since the epoch at the start of the year 9999: some later ones have no UTC form."""


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
