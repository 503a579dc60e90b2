"""Durations and sizes as people write them: ``10m``, ``1.5s``, ``64MiB``."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, ByteSize, Field, WithJsonSchema

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*$")


def parse_duration(value: object) -> float:
    """Seconds from ``500ms``, ``2s``, ``10m``, ``1h``, ``7d`` or a bare number of seconds.

    Raises:
        ValueError: anything else.
    """
    if isinstance(value, bool):
        raise ValueError("a duration is a number with a unit, such as 500ms, 2s, 10m, 1h or 7d")  # noqa: TRY004 - pydantic turns ValueError into its own error
    if isinstance(value, int | float):
        return float(value)
    match = _DURATION.match(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a duration is a number with a unit, such as 500ms, 2s, 10m, 1h or 7d")
    return float(match.group(1)) * _SECONDS[match.group(2)]


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    Field(ge=0, allow_inf_nan=False),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*(ms|s|m|h|d)\s*$"},
                {"type": "number", "minimum": 0},
            ],
            "description": "Seconds, or a number with a unit: 500ms, 2s, 10m, 1h, 7d.",
        }
    ),
]
"""Seconds; written with a unit."""


def _size_schema(least: int) -> WithJsonSchema:
    return WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*([kKMGT]i?[bB]|[kKMGTbB])?\s*$"},
                {"type": "integer", "minimum": least},
            ],
            "description": "Bytes, or a number with a unit: 64MiB, 1GiB, 500kB.",
        }
    )


Size = Annotated[ByteSize, Field(ge=0), _size_schema(0)]
"""Bytes; written with a unit."""
PositiveSize = Annotated[ByteSize, Field(gt=0), _size_schema(1)]
"""The same, at least one."""
