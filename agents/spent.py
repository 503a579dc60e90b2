"""Processor time that several threads spend on one thing."""

from __future__ import annotations

import threading
import time
from types import TracebackType


class Spent:
    """Adds up what threads spend inside ``with spent.counted():``, which does not nest.

    Each thread adds to a figure of its own, so that counting takes no lock.
    """

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}

    @property
    def seconds(self) -> float:
        """Processor time of all threads together."""
        return sum(list(self._seconds.values()))

    def counted(self) -> Counted:
        """Count what this thread spends until the end of the block."""
        return Counted(self)

    def add(self, seconds: float) -> None:
        """This thread has spent so much."""
        thread = threading.get_ident()
        self._seconds[thread] = self._seconds.get(thread, 0.0) + seconds


class Counted:
    """One block. Entered hundreds of times a second: a generator's context manager costs more.

    Args:
        spent: what it adds to.
    """

    __slots__ = ("_began", "_spent")

    def __init__(self, spent: Spent) -> None:
        self._spent = spent
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = time.thread_time()

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._spent.add(time.thread_time() - self._began)
