"""Calling the plugin: never from two threads at once, with retries, and watched for hanging."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dataflow.errors import RecordError, VideojamError
from dataflow.functions.base import Detection, Function, Item

_log = logging.getLogger("videojam.worker")


class StalledError(VideojamError):
    """The function has not come back from a call within its stall limit."""


class Caller:
    """A function with its lock.

    Args:
        name: the function's name, for messages.
        function: the plugin.
        attempts: how often a failing item is tried.
        stall_limit: seconds after which a call counts as hung.
        monotonic: seconds of a clock that never jumps.
    """

    def __init__(
        self,
        name: str,
        function: Function,
        *,
        attempts: int,
        stall_limit: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._name = name
        self._function = function
        self._attempts = attempts
        self._stall_limit = stall_limit
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._started: float | None = None

    @contextmanager
    def exclusive(self, timeout: float = -1) -> Iterator[bool]:
        """Keep the function from being called; yields False when a hung call does not let us."""
        held = self._lock.acquire(timeout=timeout)
        try:
            yield held
        finally:
            if held:
                self._lock.release()

    def check_stalled(self) -> None:
        """Look whether a call hangs.

        Raises:
            StalledError: it does.
        """
        started = self._started
        if started is not None and self._monotonic() - started > self._stall_limit:
            raise StalledError(
                f"{self._name} has been in one call for more than its stall_limit of "
                f"{self._stall_limit:g} s"
            )

    def call(self, items: list[Item]) -> list[tuple[Detection, ...] | RecordError]:
        """Process a batch; after a fault each item on its own, so that one cannot fail others.

        Returns:
            For each item what was found in it, or why it is dead.
        """
        if len(items) > 1:
            try:
                return list(self._checked(items))
            except Exception as fault:  # noqa: BLE001 - a plugin may raise anything
                _log.warning("a batch of %d failed (%r): trying one by one", len(items), fault)
        return [self._call_one(item) for item in items]

    def _call_one(self, item: Item) -> tuple[Detection, ...] | RecordError:
        last: Exception | None = None
        for _ in range(self._attempts):
            try:
                return self._checked([item])[0]
            except RecordError as fault:
                return fault  # bad bytes do not get better
            except Exception as fault:  # noqa: BLE001 - a plugin may raise anything
                last = fault
        return RecordError(
            "function-error", f"failed {self._attempts} time(s), the last with {last!r}"
        )

    def _checked(self, items: list[Item]) -> list[tuple[Detection, ...]]:
        with self._lock:
            self._started = self._monotonic()
            try:
                found = [tuple(detections) for detections in self._function.process(items)]
            finally:
                self._started = None
        if len(found) != len(items):
            raise RuntimeError(
                f"{self._name} returned {len(found)} results for a batch of {len(items)}"
            )
        things: Iterator[object] = itertools.chain.from_iterable(found)  # whatever the hints say
        for thing in things:
            if not isinstance(thing, Detection):
                raise TypeError(f"{self._name} returned {thing!r}, which is no Detection")
        return found
