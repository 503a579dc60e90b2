"""Processor time, added up over threads."""

from __future__ import annotations

import hashlib
import threading
import time

import pytest

from agents.spent import Spent

_BLOCK = bytes(1 << 16)


def spin(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        hashlib.sha256(_BLOCK).digest()


def test_what_several_threads_spend_is_added_up_and_waiting_is_not() -> None:
    spent = Spent()

    def work() -> None:
        with spent.counted():
            spin(0.1)
            time.sleep(0.2)
        spin(0.1)  # outside

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert spent.seconds == pytest.approx(0.3, rel=0.2)


def test_a_block_that_fails_counts_too() -> None:
    spent = Spent()

    def fail() -> None:
        with spent.counted():
            spin(0.05)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert spent.seconds >= 0.05
