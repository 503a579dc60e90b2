"""The first signal stops, the second ends; what comes right after the first is its echo."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from dataflow.signals import interrupt, stop_on_signals


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_and_a_later_one_is_for_the_impatient(
    number: signal.Signals,
) -> None:
    heard: list[tuple[str, signal.Signals]] = []
    clock = Clock()
    before = signal.getsignal(number)
    with stop_on_signals(
        lambda n: heard.append(("stop", n)),
        again=lambda n: heard.append(("again", n)),
        monotonic=clock,
    ):
        signal.raise_signal(number)
        clock.now = 0.9
        signal.raise_signal(signal.SIGTERM)  # passed on by whoever started us
        assert heard == [("stop", number)]
        clock.now = 1.0
        signal.raise_signal(number)
    assert heard == [("stop", number), ("again", number)]
    assert signal.getsignal(number) == before


def test_the_second_may_interrupt() -> None:
    clock = Clock()
    with stop_on_signals(lambda _: None, again=interrupt, monotonic=clock):
        signal.raise_signal(signal.SIGTERM)
        clock.now = 5.0
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_only_what_is_named_is_listened_to() -> None:
    heard: list[signal.Signals] = []
    before = signal.getsignal(signal.SIGINT)
    with stop_on_signals(heard.append, signals=[signal.SIGTERM]):
        assert signal.getsignal(signal.SIGINT) == before
        signal.raise_signal(signal.SIGTERM)
    assert heard == [signal.SIGTERM]


def test_outside_the_main_thread_nothing_is_listened_to() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def work() -> object:
        with stop_on_signals(lambda _: None):
            return signal.getsignal(signal.SIGTERM)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(work).result() == before


_STUBBORN = """
import itertools, signal
from dataflow.signals import stop_on_signals
ticks = itertools.count(step=100)
with stop_on_signals(lambda _: print("stopping", flush=True), monotonic=lambda: next(ticks)):
    print("ready", flush=True)
    while True:
        signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_that_does_not_stop_is_ended_by_the_second(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _STUBBORN], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
            assert process.stdout.readline() == "stopping\n"
            process.send_signal(number)
            assert process.wait(60.0) == -number
        finally:
            process.kill()
