"""The broker itself: one that this module starts and stops, apart from the session's."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from dataflow.broker import BrokerSettings, EmbeddedBroker
from dataflow.broker.java import find_java
from dataflow.broker.ready import PORTS, free_ports, port_is_free
from dataflow.errors import EmbeddedBrokerError
from dataflow.processes import start_time
from tests.broker.helpers import consume, create_topic, produce

pytestmark = pytest.mark.broker


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A broker of the test's own; not started."""
    broker = EmbeddedBroker(BrokerSettings(data_dir=tmp_path / "broker", port=0))
    yield broker
    broker.stop()


def test_records_go_in_and_come_out(kafka: EmbeddedBroker) -> None:
    create_topic(kafka.bootstrap_servers, "embedded-records")
    values = [str(number).encode() for number in range(100)]
    assert produce(kafka.bootstrap_servers, "embedded-records", values) == []
    assert consume(kafka.bootstrap_servers, "embedded-records", 100) == values


def test_a_frame_of_ten_megabytes_goes_through(kafka: EmbeddedBroker) -> None:
    create_topic(kafka.bootstrap_servers, "embedded-large")
    frame = bytes(10_000_000)
    assert produce(kafka.bootstrap_servers, "embedded-large", [frame]) == []
    assert consume(kafka.bootstrap_servers, "embedded-large", 1) == [frame]


def test_topics_are_not_created_by_accident(kafka: EmbeddedBroker) -> None:
    assert len(produce(kafka.bootstrap_servers, "embedded-misspelt", [b"x"], timeout=5)) == 1


def test_a_restart_keeps_port_and_records_and_a_kill_loses_nothing(broker: EmbeddedBroker) -> None:
    broker.start()
    servers, pid = broker.bootstrap_servers, broker.state.pid
    create_topic(servers, "kept")
    assert produce(servers, "kept", [b"1", b"2"]) == []

    broker.stop()
    assert not broker.running
    assert not broker.state.alive()
    broker.start()
    assert broker.bootstrap_servers == servers
    assert broker.state.pid != pid
    assert consume(servers, "kept", 2) == [b"1", b"2"]

    assert produce(servers, "kept", [b"3"]) == []
    broker.kill()
    assert not broker.state.alive()
    broker.start()
    assert broker.bootstrap_servers == servers
    assert consume(servers, "kept", 3) == [b"1", b"2", b"3"]


def test_a_second_broker_on_the_same_folder_is_refused(kafka: EmbeddedBroker) -> None:
    assert kafka.running, kafka.failure()
    second = EmbeddedBroker(BrokerSettings(data_dir=kafka.settings.data_dir, port=0))
    with pytest.raises(EmbeddedBrokerError, match="already runs on the data folder") as caught:
        second.start()
    assert kafka.bootstrap_servers in str(caught.value)
    assert kafka.running


def test_starting_twice_is_refused(kafka: EmbeddedBroker) -> None:
    with pytest.raises(EmbeddedBrokerError, match="already runs at"):
        kafka.start()


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        broker = EmbeddedBroker(BrokerSettings(data_dir=tmp_path, port=port))
        with pytest.raises(EmbeddedBrokerError, match=rf"port {port} (.|\n)*remedy.*--port"):
            broker.start()


def test_an_address_of_another_machine_is_refused(tmp_path: Path) -> None:
    broker = EmbeddedBroker(BrokerSettings(data_dir=tmp_path, host="192.0.2.1", port=0))
    with pytest.raises(EmbeddedBrokerError, match=r"cannot listen on 192\.0\.2\.1"):
        broker.start()


def test_a_data_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    broker = EmbeddedBroker(BrokerSettings(data_dir=tmp_path / "file" / "data", port=0))
    with pytest.raises(EmbeddedBrokerError, match=r"data folder .* cannot be written"):
        broker.start()


def test_a_broker_that_dies_while_starting_shows_its_log(tmp_path: Path) -> None:
    settings = BrokerSettings(data_dir=tmp_path, port=0, extra={"num.io.threads": "not-a-number"})
    with pytest.raises(EmbeddedBrokerError, match="died while starting") as caught:
        EmbeddedBroker(settings).start()
    assert "not-a-number" in str(caught.value)
    assert "refused a property" in str(caught.value)


def test_a_malformed_heap_is_named(tmp_path: Path) -> None:
    settings = BrokerSettings(data_dir=tmp_path, port=0, heap="lots")
    with pytest.raises(EmbeddedBrokerError, match="heap"):
        EmbeddedBroker(settings).start()


def test_a_broker_too_slow_is_ended(tmp_path: Path) -> None:
    broker = EmbeddedBroker(BrokerSettings(data_dir=tmp_path, port=0))
    with pytest.raises(EmbeddedBrokerError, match="did not answer"):
        broker.start(timeout=0.05)
    assert not broker.running
    users = [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(p.info["cmdline"])]
    assert users == []


def test_an_early_end_while_running_is_explained(broker: EmbeddedBroker) -> None:
    broker.start()
    assert broker.failure() is None
    os.kill(broker.state.pid, signal.SIGKILL)
    while broker.running:
        time.sleep(0.05)
    failure = broker.failure()
    assert failure is not None
    assert "ended by itself" in str(failure)


def fill(broker: EmbeddedBroker) -> str:
    """Produce until the broker has died of it; return how it explains that."""
    create_topic(broker.bootstrap_servers, "filling")
    block = os.urandom(1_000_000)
    for _ in range(40):
        produce(broker.bootstrap_servers, "filling", [block] * 2, timeout=2)
        if not broker.running:
            break
    failure = broker.failure()
    assert failure is not None, "the broker survived"
    return str(failure)


def test_a_full_disk_is_explained_where_writes_are_limited(broker: EmbeddedBroker) -> None:
    broker.start()
    # Writes past this length fail, as on a full disk, with "File too large".
    psutil.Process(broker.state.pid).rlimit(
        resource.RLIMIT_FSIZE, (11_000_000, resource.RLIM_INFINITY)
    )
    assert "disk of its data folder is full" in fill(broker)


def mount(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["/bin/mount", *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = mount("-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder))
    if mounted.returncode != 0:
        pytest.skip(
            "NOT TESTED: a really full disk, because this user may not mount a tmpfs "
            f"({mounted.stderr.strip()}); the test with limited writes stands in for it"
        )
    yield folder
    subprocess.run(["/bin/umount", "--lazy", str(folder)], check=True)


def test_a_really_full_disk_is_explained_and_survived(small_disk: Path) -> None:
    broker = EmbeddedBroker(BrokerSettings(data_dir=small_disk / "broker", port=0))
    try:
        broker.start()
        servers = broker.bootstrap_servers
        create_topic(servers, "before")
        assert produce(servers, "before", [b"kept"]) == []
        assert "disk of its data folder is full" in fill(broker)
        assert mount("-o", "remount,size=128m", str(small_disk)).returncode == 0
        broker.stop()
        broker.start()
        assert consume(servers, "before", 1) == [b"kept"]
    finally:
        broker.stop()


def test_a_full_disk_is_explained_at_the_start(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(16 * 1024 * 1024 - 8192))
    broker = EmbeddedBroker(BrokerSettings(data_dir=small_disk / "broker", port=0))
    with pytest.raises(EmbeddedBrokerError, match=r"No space left|disk .* full"):
        broker.start()


def test_the_broker_does_not_outlive_a_crashed_parent(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, signal, sys\n"
        "from dataflow.broker import BrokerSettings, EmbeddedBroker\n"
        "broker = EmbeddedBroker(BrokerSettings(data_dir=pathlib.Path(sys.argv[1]), port=0))\n"
        "broker.start()\n"
        "print(broker.state.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "broker")],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL
    psutil.wait_procs(
        [psutil.Process(int(pid)) for pid in ended.stdout.split() if start_time(int(pid))], 30
    )
    assert start_time(int(ended.stdout)) is None


def test_the_bundled_java_runs_it_too(tmp_path: Path) -> None:
    broker = EmbeddedBroker(
        BrokerSettings(data_dir=tmp_path, port=0), java=lambda: find_java({"PATH": ""})
    )
    with broker:
        create_topic(broker.bootstrap_servers, "bundled")
        assert produce(broker.bootstrap_servers, "bundled", [b"x"]) == []
        console = broker.settings.console_file.read_text(encoding="utf-8")
    assert console == "", "the Java process is to print nothing"


def test_free_ports_are_free_and_outside_the_range_of_outgoing_connections() -> None:
    ports = free_ports("127.0.0.1", 2)
    assert len(set(ports)) == 2
    assert all(port in PORTS and port_is_free("127.0.0.1", port) for port in ports)
