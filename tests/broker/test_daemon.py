"""The user's broker: found by its state file, controlled from the command line."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.broker import app
from dataflow.broker import BrokerSettings, BrokerState, daemon
from dataflow.broker.ready import free_ports
from dataflow.errors import EmbeddedBrokerError
from dataflow.processes import start_time
from tests.broker.helpers import consume, create_topic, produce

runner = CliRunner()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's data folder of the test's own; whatever runs for it is stopped in the end."""
    folder = tmp_path / "home"
    monkeypatch.setenv("VIDEOJAM_HOME", str(folder))
    monkeypatch.setenv("COLUMNS", "200")
    yield folder
    daemon.stop(folder, timeout=30)


def stale_state(folder: Path, **changes: object) -> BrokerState:
    """Write the state file of a broker that is not there."""
    state = BrokerState(
        data_dir=str(folder / "broker"),
        bootstrap_servers="127.0.0.1:1",
        port=1,
        version="4.3.1",
        pid=os.getpid(),
        started_at=1.0,
        java="17",
        heap="512m",
    )
    state = replace(state, **changes)  # type: ignore[arg-type] # any of its fields
    folder.mkdir(parents=True, exist_ok=True)
    state.write(daemon.state_file(folder))
    return state


def test_without_a_broker_status_is_3_and_stop_says_so(home: Path) -> None:
    status = runner.invoke(app, ["status"])
    assert (status.exit_code, status.stdout.strip()) == (daemon_stopped := 3, "stopped")
    as_json = runner.invoke(app, ["status", "--json"])
    assert as_json.exit_code == daemon_stopped
    assert json.loads(as_json.stdout)["running"] is False
    stop = runner.invoke(app, ["stop"])
    assert (stop.exit_code, stop.stdout.strip()) == (0, "no broker runs")
    assert runner.invoke(app, ["logs"]).exit_code == 1
    assert not daemon.state_file(home).exists()


def test_a_reused_pid_is_not_taken_for_the_broker(home: Path) -> None:
    stale_state(home)  # our own pid, another start time
    assert not daemon.status(home, now=time.time()).running
    assert daemon.stop(home) is None  # had it believed the file, this test would be killed
    assert not daemon.state_file(home).exists()


def test_a_damaged_state_file_counts_as_none(home: Path) -> None:
    home.mkdir()
    daemon.state_file(home).write_text('{"pid": ', encoding="utf-8")
    assert daemon.status(home, now=0.0) == daemon.BrokerStatus(running=False)


def test_a_broker_that_died_is_reported_with_the_reason(home: Path) -> None:
    state = stale_state(home)
    log = BrokerSettings(data_dir=Path(state.data_dir)).log_file
    log.parent.mkdir(parents=True)
    log.write_text("x ERROR java.io.IOException: No space left on device\n", encoding="utf-8")
    status = runner.invoke(app, ["status"])
    assert status.exit_code == 3
    assert "disk of its data folder is full" in status.stderr


def test_two_starts_do_not_race(home: Path) -> None:
    home.mkdir()
    settings = BrokerSettings(data_dir=home / "broker", port=0)
    with (home / "broker.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(EmbeddedBrokerError, match="being started by another command"):
            daemon.start(settings, home)


def test_a_home_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VIDEOJAM_HOME", str(tmp_path / "file" / "home"))
    result = runner.invoke(app, ["start"])
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr
    assert "VIDEOJAM_HOME" in result.stderr


def test_options_that_contradict_each_other_are_refused(home: Path) -> None:
    result = runner.invoke(app, ["start", "--temporary", "--data-dir", str(home)])
    assert result.exit_code == 2
    assert not home.exists()


def test_logs_shows_the_last_lines(home: Path) -> None:
    log = BrokerSettings(data_dir=daemon.default_data_dir(home)).log_file
    log.parent.mkdir(parents=True)
    log.write_text("".join(f"line {number}\n" for number in range(50)), encoding="utf-8")
    result = runner.invoke(app, ["logs", "-n", "2"])
    assert result.stdout == "line 48\nline 49\n"


def test_logs_follows_additions_and_rolled_files(home: Path) -> None:
    log = BrokerSettings(data_dir=daemon.default_data_dir(home)).log_file
    log.parent.mkdir(parents=True)
    log.write_text("old\n", encoding="utf-8")
    program = "from cli.broker import app; app()"
    with subprocess.Popen(
        [sys.executable, "-c", program, "logs", "-f"], stdout=subprocess.PIPE, text=True
    ) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline() == "old\n"
        with log.open("a", encoding="utf-8") as more:
            more.write("added\n")
        assert follower.stdout.readline() == "added\n"
        log.rename(log.with_suffix(".1"))
        log.write_text("rolled\n", encoding="utf-8")
        assert follower.stdout.readline() == "rolled\n"
        follower.send_signal(signal.SIGINT)
        assert follower.wait(10) == 0


@pytest.mark.broker
@pytest.mark.usefixtures("home")
def test_start_status_stop_and_start_again() -> None:
    started = runner.invoke(app, ["start", "--port", "0"])
    assert started.exit_code == 0, started.output
    status = json.loads(runner.invoke(app, ["status", "--json"]).stdout)
    servers, pid = status["state"]["bootstrap_servers"], status["state"]["pid"]
    assert status["running"] is True
    assert status["topics"] == 0
    assert status["uptime_s"] < 600
    assert status["data_bytes"] > 0
    assert servers in started.stdout
    # Detached: a session of its own, so that closing the terminal does not end it.
    assert os.getsid(pid) == pid

    create_topic(servers, "kept")
    assert produce(servers, "kept", [b"x"]) == []
    table = runner.invoke(app, ["status"])
    assert table.exit_code == 0
    assert servers in table.stdout

    second = runner.invoke(app, ["start", "--port", "0"])
    assert second.exit_code == 1
    assert "already runs" in second.stderr

    assert runner.invoke(app, ["stop"]).exit_code == 0
    assert start_time(pid) is None
    assert runner.invoke(app, ["status"]).exit_code == 3

    assert runner.invoke(app, ["start", "--port", "0"]).exit_code == 0
    assert consume(servers, "kept", 1) == [b"x"]
    pid = json.loads(runner.invoke(app, ["status", "--json"]).stdout)["state"]["pid"]
    os.kill(pid, signal.SIGKILL)
    while start_time(pid) is not None:
        time.sleep(0.05)
    died = runner.invoke(app, ["status"])
    assert died.exit_code == 3
    assert "ended by itself" in died.stderr


@pytest.mark.broker
def test_a_port_in_use_is_an_error_message_and_exit_code_1(home: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        result = runner.invoke(app, ["start", "--port", str(port)])
    assert result.exit_code == 1
    assert f"port {port}" in result.stderr
    assert "remedy" in result.stderr
    assert not daemon.state_file(home).exists()


@pytest.mark.broker
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_temporary_broker_leaves_nothing_behind(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    port = free_ports("127.0.0.1", 1)[0]
    program = "from cli.broker import app; app()"
    arguments = ["start", "--temporary", "--port", str(port)]
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True
    ) as command:
        assert command.stdout is not None
        assert f"127.0.0.1:{port}" in command.stdout.readline()
        assert "Ctrl-C" in command.stdout.readline()
        assert len(list(scratch.glob("videojam-broker-*"))) == 1
        command.send_signal(number)
        assert command.wait(60) == 0
    assert list(scratch.glob("videojam-broker-*")) == []
    assert not daemon.state_file(home).exists()
