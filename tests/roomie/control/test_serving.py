"""A worker's own server: started, started again, and taken over. No tritonserver runs here."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataflow.processes import start_time
from roomie.control.serving import OwnServer
from roomie.errors import TritonError
from roomie.triton import local
from roomie.triton.local import TritonSettings, TritonState
from tests.roomie.waiting import wait_until


class Starter:
    """Starts processes that only sleep, or fails."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.fault: Exception | None = None
        self.calls = 0
        self.processes: list[subprocess.Popen[bytes]] = []

    def __call__(self) -> TritonState:
        self.calls += 1
        if self.fault is not None:
            raise self.fault
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        self.processes.append(process)
        state = TritonState(
            name="t",
            pid=process.pid,
            started_at=start_time(process.pid) or 0.0,
            url="127.0.0.1:1",
            http_url="http://127.0.0.1:2",
            metrics_url="http://127.0.0.1:3/metrics",
            repository=str(self.home),
            log=str(self.home / "log"),
        )
        (self.home / "triton").mkdir(exist_ok=True)
        state.write(local.state_file(self.home, "t"))
        return state

    def kill(self) -> None:
        self.processes[-1].kill()
        self.processes[-1].wait()


@pytest.fixture
def starter(tmp_path: Path) -> Iterator[Starter]:
    found = Starter(tmp_path)
    yield found
    for process in found.processes:
        process.kill()
        process.wait()


def own(starter: Starter) -> OwnServer:
    return OwnServer(TritonSettings(name="t"), starter.home, starter.home, start=starter)


def tend(server: OwnServer, now: float) -> None:
    """Tend it until a server is there, time standing still."""
    wait_until(lambda: server.tend(now) is not None, "it is started")


def tried(server: OwnServer, starter: Starter, calls: int, now: float) -> None:
    """Tend it until a start has failed, time standing still."""

    def over() -> bool:
        assert server.tend(now) is None
        return starter.calls == calls and server._starting is None

    wait_until(over, "a start has failed")


def test_it_is_started_once_and_stopped_at_the_end(starter: Starter) -> None:
    server = own(starter)
    tend(server, 0.0)
    tend(server, 1.0)
    assert starter.calls == 1
    assert not server.died()
    server.close(keep=False)
    starter.processes[0].wait(30)
    assert not local.state_file(starter.home, "t").exists()


def test_one_that_dies_is_started_again_at_once_and_then_with_pauses(starter: Starter) -> None:
    server = own(starter)
    tend(server, 0.0)
    starter.kill()
    assert server.tend(1.0) is None
    assert server.died()
    assert not server.died(), "it is told once"
    tend(server, 1.0)
    starter.kill()
    for now in (2.0, 2.1):
        assert server.tend(now) is None
    assert starter.calls == 2, "not at once any more"
    tend(server, 10.0)
    assert starter.calls == 3
    starter.kill()
    server.tend(100.0)  # it had run for long
    tend(server, 100.0)
    assert starter.calls == 4
    server.close(keep=False)


@pytest.mark.parametrize(
    "fault", [TritonError("no port is free"), OSError("no port is free")], ids=["known", "unknown"]
)
def test_one_that_cannot_be_started_is_tried_again_with_growing_pauses(
    starter: Starter, caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    starter.fault = fault
    server = own(starter)
    for calls in range(1, 6):
        tried(server, starter, calls, 40.0 * calls)
        for _ in range(20):
            assert server.tend(40.0 * calls + 0.4) is None
        assert starter.calls == calls
    assert "no port is free" in (server.fault or "")
    assert "no port is free" in caplog.text
    starter.fault = None
    tend(server, 400.0)
    server.close(keep=False)


def test_one_that_the_agent_before_us_left_is_taken_over_and_may_be_left_again(
    starter: Starter,
) -> None:
    before = starter()
    server = own(starter)
    tend(server, 0.0)
    assert server.state == before
    assert starter.calls == 1, "none was started"
    server.close(keep=True)
    assert before.alive()


def test_one_that_has_hung_is_killed_and_replaced(starter: Starter) -> None:
    server = own(starter)
    tend(server, 0.0)
    first = server.state
    server.end()
    assert first is not None
    assert not first.alive()
    assert server.tend(1.0) is None
    assert server.died()
    tend(server, 1.0)
    assert starter.calls == 2
    server.close(keep=False)
