"""Waits that end: measurements run for hours with nobody there to see that they stand still."""

from __future__ import annotations

import time
from collections.abc import Callable

from evaluation.errors import MeasurementError

Clock = Callable[[], float]


def wait_until(
    condition: Callable[[], bool],
    what: str,
    *,
    seconds: float,
    pause: Callable[[], object],
    clock: Clock = time.monotonic,
) -> None:
    """Wait for a condition.

    Args:
        condition: what is waited for.
        what: has not happened, as a sentence without its end: "the worker has not reported".
        seconds: how long at most.
        pause: called between two looks.
        clock: monotonic, seconds.

    Raises:
        MeasurementError: it did not come true in time.
    """
    deadline = clock() + seconds
    while not condition():
        if clock() > deadline:
            raise MeasurementError(f"{what} within {seconds:g} s")
        pause()


class Stall:
    """Notices that work does not go on.

    Args:
        name: of what works.
        total: items that it has to do.
        seconds: without any item being done, after which it stands still.
        clock: monotonic, seconds.
    """

    def __init__(
        self, name: str, total: int, *, seconds: float, clock: Clock = time.monotonic
    ) -> None:
        self._name = name
        self._total = total
        self._seconds = seconds
        self._clock = clock
        self._done = 0
        self._since = clock()

    def check(self, done: int) -> None:
        """Look again.

        Args:
            done: items so far.

        Raises:
            MeasurementError: none has been done for so long.
        """
        if done != self._done:
            self._done, self._since = done, self._clock()
        elif self._clock() - self._since > self._seconds:
            raise MeasurementError(
                f"{self._name} stands still: {done} of {self._total} done, and none in the last "
                f"{self._seconds:g} s"
            )
