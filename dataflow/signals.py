"""How a process that runs until it is stopped hears that it is to stop."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_ECHO_SECONDS = 1.0
"""A service manager signals all of its processes, and the parent passes it on: what comes so soon
after the first signal is the same one, and not somebody who has lost patience."""


def end_at_once(number: signal.Signals) -> None:
    """End this process as the signal does where nobody listens: without cleaning up."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def interrupt(_: signal.Signals) -> NoReturn:
    """Unwind the stack as Ctrl-C does where nobody listens, so that all is cleaned up."""
    raise KeyboardInterrupt


@contextmanager
def stop_on_signals(
    stop: Callable[[signal.Signals], object],
    *,
    again: Callable[[signal.Signals], object] = end_at_once,
    signals: Collection[signal.Signals] = (signal.SIGINT, signal.SIGTERM),
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[None]:
    """Listen to SIGINT and SIGTERM for as long as the block lasts.

    Outside the main thread, which alone may, it listens to nothing.

    Args:
        stop: called at the first of them: it lets the work come to its end. It may raise.
        again: called at the next ones, for whoever does not want to wait for that.
        signals: that are listened to.
        monotonic: seconds of a clock that never jumps.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first: float | None = None

    def on_signal(number: int, _: FrameType | None) -> None:
        nonlocal first
        if first is None:
            first = monotonic()
            stop(signal.Signals(number))
        elif monotonic() - first >= _ECHO_SECONDS:
            again(signal.Signals(number))

    before = {n: signal.signal(n, on_signal) for n in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
