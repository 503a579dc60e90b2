"""Waiting for what another process or thread does."""

from __future__ import annotations

import time
from collections.abc import Callable

DEADLINE = 60.0
"""Far more than anything takes on an idle machine."""


def wait_until(condition: Callable[[], object], what: str, seconds: float = DEADLINE) -> None:
    """Return when the condition holds; that it does not for so long is a fault."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.02)
