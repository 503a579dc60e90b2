"""Ending a process that somebody has started, and only that one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from dataflow.processes import end_process, is_process, start_time

_STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('ready', flush=True); time.sleep(600)"
)
_OBEDIENT = "import time; print('ready', flush=True); time.sleep(600)"


def begin(program: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.fixture(params=[_OBEDIENT])
def process(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    with begin(request.param) as process:
        yield process
        process.kill()


def started(process: subprocess.Popen[str]) -> float:
    moment = start_time(process.pid)
    assert moment is not None
    return moment


def test_it_is_asked_first(process: subprocess.Popen[str]) -> None:
    end_process(process.pid, started(process), patience=60.0, last_patience=60.0)
    assert process.wait(60.0) == -15


@pytest.mark.parametrize("process", [_STUBBORN], indirect=True)
def test_one_that_does_not_comply_is_killed(process: subprocess.Popen[str]) -> None:
    end_process(process.pid, started(process), patience=0.1, last_patience=60.0)
    assert process.wait(60.0) == -9


def test_another_process_of_its_pid_is_left_alone(process: subprocess.Popen[str]) -> None:
    end_process(process.pid, started(process) - 100.0, patience=0.1, last_patience=0.1)
    assert is_process(process.pid, started(process))


def test_one_that_has_ended_is_no_error(process: subprocess.Popen[str]) -> None:
    moment = started(process)
    process.kill()
    process.wait(60.0)
    end_process(process.pid, moment, patience=0.1, last_patience=0.1)


def test_somebody_elses_is_said_to_be_so(
    process: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(self: psutil.Process, _: int) -> None:
        raise psutil.AccessDenied(self.pid)

    monkeypatch.setattr(psutil.Process, "send_signal", deny)
    with pytest.raises(PermissionError, match=f"process {process.pid} belongs to another user"):
        end_process(process.pid, started(process), patience=0.1, last_patience=0.1)
