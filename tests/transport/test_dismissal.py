"""Which members of a consumer group were killed on this machine."""

from __future__ import annotations

import asyncio
import os

import pytest

from dataflow.config import ClusterConfig
from dataflow.processes import start_time
from dataflow.transport.dismissal import dismiss
from dataflow.transport.identity import identity, is_gone, own_identity


def test_this_process_is_not_gone() -> None:
    host = os.uname().nodename
    assert not is_gone(own_identity(), host)
    assert is_gone(identity(host, os.getpid(), 1.0), host), "another one had the number before"
    started = start_time(os.getpid())
    assert started is not None
    assert own_identity() == identity(host, os.getpid(), started)


@pytest.mark.parametrize(
    "client_id",
    [
        identity("elsewhere", 1, 2.0),
        identity("here.example.org", 1, 2.0),
        "videojam.here",
        "videojam.here.one.two",
        "faust-1.2",
        "",
    ],
)
def test_what_is_not_known_to_be_of_this_machine_is_left_alone(client_id: str) -> None:
    assert not is_gone(client_id, "here", lambda _pid, _at: False)


def test_hosts_with_dots_and_fractions_of_seconds_are_read_back() -> None:
    asked: list[tuple[int, float]] = []

    def alive(pid: int, at: float) -> bool:
        asked.append((pid, at))
        return False

    host = "edge-1.example.org"
    assert is_gone(identity(host, 4711, 1795824100.76), host, alive)
    assert asked == [(4711, 1795824100.76)]


def test_without_a_broker_nobody_is_dismissed() -> None:
    assert asyncio.run(dismiss("g", "127.0.0.1:1", ClusterConfig(), seconds=0.3)) == 0
