"""What a camera may be called, and how it may be run."""

from __future__ import annotations

import re
from typing import get_args

from dataflow.camera.buffer import WhenFull
from dataflow.camera.capture import Pace
from dataflow.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
_MAX_FPS = 1000.0


def default_policy(pace: Pace) -> WhenFull:
    """What becomes of frames for which there is no room, unless it is declared."""
    return "block" if pace == "fast" else "drop-oldest"


def check_arguments(name: str, fps: float | None, pace: str) -> None:
    """See that a camera can be so.

    Args:
        name: its name.
        fps: frames per second; None for as many as the source has.
        pace: a `Pace`, if it is one.

    Raises:
        ConfigError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            "a camera's name has 1 to 128 letters, digits, '.', '_' and '-', and begins and ends "
            "with a letter or digit",
            key="name",
            value=name,
        )
    if fps is not None and not 0 < fps <= _MAX_FPS:
        raise ConfigError(f"must be above 0 and at most {_MAX_FPS:g}", key="fps", value=fps)
    if pace not in get_args(Pace):
        raise ConfigError(
            "not a pace", key="pace", value=pace, remedy=f"one of {', '.join(get_args(Pace))}"
        )
