"""Errors that a loop outlives."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_log = logging.getLogger("videojam.roomie")


class Faults:
    """Counts errors by where they came from, and says each once until it changes or ends.

    One thread uses it; any may read `counts`.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._last: dict[str, tuple[str, int]] = {}

    @property
    def counts(self) -> Mapping[str, int]:
        """How often each thing failed."""
        return dict(self._counts)

    @contextmanager
    def outlived(self, what: str) -> Iterator[None]:
        """Let an error within end what is within, and nothing else.

        Args:
            what: is being done, as it completes "... failed".
        """
        try:
            yield
        except Exception as error:  # noqa: BLE001 - drivers and libraries raise whatever they like
            self._counts[what] += 1
            text = f"{type(error).__name__}: {error}"
            before, times = self._last.get(what, ("", 0))
            self._last[what] = (text, times + 1)
            if text != before:
                _log.warning("%s failed, and is tried again: %s", what, text, exc_info=error)
        else:
            _, times = self._last.pop(what, ("", 0))
            if times:
                _log.info("%s works again, after %d failure(s)", what, times)
