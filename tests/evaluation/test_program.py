"""Our commands as processes: what is noticed when they end, and when they do not."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from dataflow.processes import start_time
from evaluation.errors import MeasurementError
from evaluation.program import Program, faults_of
from evaluation.waiting import wait_until


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program("p", ["no-such-command"], tmp_path)


def test_one_that_ends_by_itself_is_told_with_its_log(program: Program) -> None:
    program.start("--more")
    wait_until(
        lambda: program.pid is None,
        "it has not ended",
        seconds=60,
        pause=lambda: time.sleep(0.05),
    )
    (fault,) = faults_of([program])
    assert fault.startswith("p ended by itself with exit code 2: ")
    assert "no-such-command" in fault


def test_each_start_has_a_log_of_its_own(program: Program) -> None:
    logs = []
    for _ in range(2):
        program.start()
        logs.append(program.log)
        program.kill()
    assert len(set(logs)) == 2
    assert all(log.is_file() for log in logs)
    assert faults_of([program]) == []


def test_one_that_does_not_leave_is_killed_and_told(program: Program) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as it will be for the process
    try:
        program.start()
    finally:
        signal.signal(signal.SIGTERM, before)
    pid = program.pid
    assert pid is not None
    program.send_signal(signal.SIGSTOP)  # nor does it end by itself
    with pytest.raises(MeasurementError, match=r"p has not left within 0\.1 s of SIGTERM"):
        program.leave(0.1)
    assert program.pid is None
    assert start_time(pid) is None
