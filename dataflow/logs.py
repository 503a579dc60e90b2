"""Logging of the long-running commands: one line a record on stderr, and no floods."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable

_QUIET = ("aiokafka", "faust", "mode", "asyncio")
"""Libraries that say much about what mends itself: warnings only."""
_DIGITS = re.compile(r"\d+(\.\d+)?")
_REMEMBERED = 512


class OncePerPeriod(logging.Filter):
    """Lets a message through once in ``seconds``; numbers in it do not make it another one.

    A broker that is away makes its clients complain ten times a second each.

    Args:
        seconds: the period.
        monotonic: seconds of a clock that never jumps.
    """

    def __init__(
        self, seconds: float = 10.0, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._seconds = seconds
        self._monotonic = monotonic
        self._last: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be written."""
        now = self._monotonic()
        key = (record.name, _DIGITS.sub("#", record.getMessage())[:120])
        last = self._last.get(key)
        if last is not None and now - last < self._seconds:
            return False
        if len(self._last) >= _REMEMBERED:
            self._last.clear()
        self._last[key] = now
        return True


def configure_logging(level: str = "INFO") -> None:
    """Write records of ``level`` and above to stderr; libraries are kept short."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    noisy = OncePerPeriod()
    handler.addFilter(
        lambda r: not r.name.startswith((*_QUIET, "videojam.kafka")) or noisy.filter(r)
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
