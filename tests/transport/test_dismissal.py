"""Which members of a consumer group were killed on this machine."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from dataflow.config import ClusterConfig
from dataflow.transport.dismissal import dismiss
from dataflow.transport.identity import here, identity, is_gone, own_identity, start_mark


def test_this_process_is_not_gone() -> None:
    assert not is_gone(own_identity(), here())
    mark = start_mark(os.getpid())
    assert mark is not None
    assert own_identity() == identity(here(), os.getpid(), mark)


def test_another_process_had_the_number_before() -> None:
    assert is_gone(identity(here(), os.getpid(), "1"), here())


def test_a_process_is_gone_when_it_has_ended_even_if_nobody_has_asked_how() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        mark = start_mark(process.pid)
        assert mark is not None
        member = identity(here(), process.pid, mark)
        assert not is_gone(member, here())
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie from here on
        assert is_gone(member, here())
    assert is_gone(member, here())


@pytest.mark.parametrize(
    "client_id",
    [
        identity("elsewhere", 1, "2"),
        identity("here.example.org", 1, "2"),
        "videojam.here",
        "videojam.here.one.two",
        "faust-1.2",
        "",
    ],
)
def test_what_is_not_known_to_be_of_this_place_is_left_alone(client_id: str) -> None:
    assert not is_gone(client_id, "here", lambda _: None)


def test_a_process_that_cannot_be_looked_at_is_left_alone() -> None:
    assert not is_gone(identity("here", 1, "2"), "here", lambda _: "")


def test_places_with_dots_are_read_back() -> None:
    asked: list[int] = []

    def mark(pid: int) -> str | None:
        asked.append(pid)
        return None

    place = "edge-1.example.org.0123456789ab"
    assert is_gone(identity(place, 4711, "12345.678"), place, mark)
    assert not is_gone(identity(place, 4711, "12345.678"), place, lambda _: "12345.678")
    assert asked == [4711]


def test_without_a_broker_nobody_is_dismissed() -> None:
    assert asyncio.run(dismiss("g", "127.0.0.1:1", ClusterConfig(), seconds=0.3)) == 0
