"""Errors that a loop outlives."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_log = logging.getLogger("videojam.roomie")


class Faults:
    """Says each error once until it changes or ends. One thread uses it."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[str, int]] = {}

    @contextmanager
    def outlived(self, what: str) -> Iterator[None]:
        """Let an error within end what is within, and nothing else.

        Args:
            what: is being done, as it completes "... failed".
        """
        try:
            yield
        except Exception as error:  # noqa: BLE001 - drivers and libraries raise whatever they like
            text = f"{type(error).__name__}: {error}"
            before, times = self._last.get(what, ("", 0))
            self._last[what] = (text, times + 1)
            if text != before:
                _log.warning("%s failed, and is tried again: %s", what, text, exc_info=error)
        else:
            _, times = self._last.pop(what, ("", 0))
            if times:
                _log.info("%s works again, after %d failure(s)", what, times)
