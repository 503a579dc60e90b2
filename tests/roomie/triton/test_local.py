"""Servers of this machine: real ones started, killed and stopped, and what goes wrong."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import psutil
import pytest

from dataflow.broker.paths import cache_home
from dataflow.errors import MissingDependencyError
from roomie.errors import TritonError
from roomie.triton import local
from roomie.triton.grpc import GrpcTriton
from roomie.triton.install import TritonInstallation
from roomie.triton.local import TritonSettings, TritonState
from roomie.triton.model_config import Tuning
from roomie.triton.repository import InstanceRepository
from tests.roomie.triton.models import add_model
from tests.roomie.waiting import wait_until


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for state in local.known_servers(tmp_path):
        local.stop(tmp_path, state.name, timeout=5)


def fake_installation(folder: Path, script: str) -> TritonInstallation:
    """A tritonserver that is a shell script."""
    binary = folder / "tritonserver"
    binary.write_text(f"#!/bin/sh\n{script}\n")
    binary.chmod(0o755)
    return TritonInstallation(folder=folder, binary=binary, backends=folder, environment={})


def start(home: Path, name: str = "t", executions: int | None = None) -> TritonState:
    return local.start(TritonSettings(name=name, executions=executions), home, cache_home())


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def stubs_of(state: TritonState) -> list[psutil.Process]:
    return psutil.Process(state.pid).children(recursive=True)


@pytest.mark.triton
def test_servers_run_side_by_side_survive_us_and_leave_nothing_behind(home: Path) -> None:
    one, two = start(home, "one"), start(home, "two", executions=1)
    assert {state.name for state in local.known_servers(home)} == {"one", "two"}
    client = GrpcTriton(two.url, metrics_url=two.metrics_url)
    try:
        assert client.ready()
        add_model(home / "sources", "m")
        repository = InstanceRepository(home / "sources", Path(two.repository))
        settings = repository.write("m.1", "m", Tuning(version=1, batch=2, executions=True))
        client.load("m.1", settings, timeout=60)
        answer = client.infer("m.1", {"x": np.ones((1, 4), np.float32)}, timeout=30)
        assert answer["y"].tolist() == [[2, 2, 2, 2]]
        with pytest.raises(TritonError, match=rf"already runs at {two.url}.*"):
            start(home, "two")

        stubs = stubs_of(two)
        assert stubs
        os.kill(two.pid, signal.SIGKILL)
        wait_until(lambda: not two.alive(), "the server is dead")
        assert not client.ready()
        again = start(home, "two")
        assert again.pid != two.pid
        wait_until(lambda: all(map(gone, stubs)), "what it left is gone")
    finally:
        client.close()
    assert local.stop(home, "two") == again
    assert not again.alive()
    assert local.stop(home, "two") is None
    assert one.alive()
    assert local.stop(home, "one") == one
    assert list(local.SHARED_MEMORY.glob(f"{local._prefix(home, 'two')}*")) == []


def test_a_port_that_is_taken_is_named_before_anything_starts(home: Path) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        settings = TritonSettings(name="t", grpc_port=port)
        with pytest.raises(TritonError, match=rf"port {port} .*(\n.*)*--grpc-port"):
            local.start(settings, home, home, install=lambda: fake_installation(home, "sleep 60"))


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'E1125 failed to bind: Address already in use' >&2; exit 1", "a port of it is in"),
        ("echo 'error while loading shared libraries: libx.so'; exit 127", "a shared library is"),
        ("echo 'E1125 something unheard of'; exit 3", r"exit code 3(.|\n)*something unheard of"),
    ],
)
def test_a_server_that_dies_while_starting_shows_its_log(
    home: Path, script: str, said: str
) -> None:
    with pytest.raises(TritonError, match=said) as caught:
        local.start(
            TritonSettings(name="t"), home, home, install=lambda: fake_installation(home, script)
        )
    assert "remedy:" in str(caught.value)
    assert str(home / "triton" / "t.log") in str(caught.value)
    assert local.known_servers(home) == []


def test_a_server_that_never_answers_is_ended(home: Path) -> None:
    pids = home / "pid"
    script = f"echo $$ > {pids}; exec sleep 60"
    with pytest.raises(TritonError, match=r"did not answer within 1 s"):
        local.start(
            TritonSettings(name="t"),
            home,
            home,
            timeout=1.0,
            install=lambda: fake_installation(home, script),
        )
    assert not psutil.pid_exists(int(pids.read_text()))


def test_an_address_of_another_machine_is_refused(home: Path) -> None:
    with pytest.raises(TritonError, match="address is of this"):
        local.start(
            TritonSettings(name="t", host="192.0.2.1"),
            home,
            home,
            install=lambda: fake_installation(home, "sleep 60"),
        )


@pytest.mark.parametrize("name", ["", "a/b", "../x", "-x", "x" * 65])
def test_a_name_that_is_no_file_name_is_refused(name: str) -> None:
    with pytest.raises(TritonError, match="is no name for a server"):
        TritonSettings(name=name)


def test_a_home_that_cannot_be_written_is_named(home: Path) -> None:
    (home / "triton").write_text("a file in the way")
    with pytest.raises(TritonError, match="VIDEOJAM_HOME"):
        start(home)


def test_a_damaged_state_file_is_as_good_as_none(home: Path) -> None:
    (home / "triton").mkdir()
    (home / "triton" / "t.json").write_text("{")
    assert local.known_servers(home) == []
    assert local.stop(home, "t") is None


def test_a_process_that_has_got_the_pid_of_a_dead_server_is_left_alone(home: Path) -> None:
    state = TritonState(
        name="t",
        pid=os.getpid(),
        started_at=1.0,
        url="",
        http_url="",
        metrics_url="",
        repository="",
        log="",
    )
    (home / "triton").mkdir()
    state.write(local.state_file(home, "t"))
    assert not state.alive()
    assert local.stop(home, "t") is None


def test_without_the_client_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tritonclient.grpc", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'videojam\[triton\]'"):
        GrpcTriton("localhost:1")
