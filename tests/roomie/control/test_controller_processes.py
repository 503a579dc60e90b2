"""Controllers as processes on a real Kafka: killed, stopped, left without broker, and typed at."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest
from typer.testing import CliRunner

from cli.main import app
from dataflow.broker import BrokerSettings, EmbeddedBroker
from dataflow.config import Config, TopicNames
from dataflow.transport.kafka import KafkaTransport
from roomie.control.client import RoomieClient
from roomie.control.records import ModelSpec
from tests.roomie.control.plant import (
    DEADLINE,
    Log,
    Node,
    create_topics,
    declare,
    fake_worker,
    wait_until,
)

pytestmark = [pytest.mark.broker, pytest.mark.timeout(240)]

SPEC = ModelSpec(model="mine", instances=2, memory_bytes=1 << 30)
"""Without a profile: such a deploy is decided like any other, and the profiles that ship need not
know the model."""


class ControllerProcess:
    """`videojam controller` as a process, with its log."""

    def __init__(self, file: Path, name: str, *options: str) -> None:
        self.log = file.parent / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "cli", "controller"),
                    *("--config", str(file), "--name", name, *options),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()

    def count(self, text: str) -> int:
        return self.log.read_text(errors="replace").count(text)

    def wait_for(self, text: str, times: int = 1) -> None:
        def said() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return self.count(text) >= times

        wait_until(said, f"{self.log.name} says {text!r}", 60)


@pytest.fixture
def declared(kafka: EmbeddedBroker, tmp_path: Path) -> tuple[Path, Config]:
    return declare(tmp_path, kafka.bootstrap_servers)


@pytest.fixture
def file(declared: tuple[Path, Config]) -> Path:
    return declared[0]


@pytest.fixture
def names(declared: tuple[Path, Config]) -> TopicNames:
    return TopicNames(declared[1].deployment)


@pytest.fixture
def transport(declared: tuple[Path, Config]) -> Iterator[KafkaTransport]:
    with KafkaTransport.from_config(declared[1]) as transport:
        create_topics(transport, declared[1])
        yield transport


@pytest.fixture
def log(transport: KafkaTransport, names: TopicNames) -> Iterator[Log]:
    log = Log(transport, names)
    yield log
    log.close()


@pytest.fixture
def client(transport: KafkaTransport, names: TopicNames) -> Iterator[RoomieClient]:
    with RoomieClient(transport, names, source="/test") as client:
        yield client


@pytest.fixture
def node(transport: KafkaTransport, names: TopicNames) -> Node:
    return Node(transport, names, fake_worker("w0"))


def generations_only_grow(log: Log) -> None:
    """Nobody has overwritten what a newer controller wrote."""
    assert log.generations
    for seen in log.generations.values():
        assert seen == sorted(seen), seen


def test_a_standby_takes_over_from_one_that_is_killed_and_no_order_is_lost(
    node: Node,
    file: Path,
    client: RoomieClient,
    log: Log,
    record_property: Callable[[str, object], None],
) -> None:
    with node, ControllerProcess(file, "c1") as first:
        first.wait_for("decides")
        assert client.wait(client.deploy(SPEC), timeout=30).event == "ready"
        with ControllerProcess(file, "c2") as second:
            wait_until(lambda: first.count("decides") + second.count("decides") >= 2, "settled", 60)
            active, other = (first, second)
            if second.count("decides") > 0 and first.count("stands by") >= first.count("decides"):
                active, other = (second, first)
            before = other.count("decides")
            active.process.kill()
            killed = time.monotonic()
            order = client.scale("mine", 3)  # nobody is there to hear it
            assert client.wait(order, timeout=40).event == "scaled"
            record_property(
                "seconds from SIGKILL to the order's outcome", time.monotonic() - killed
            )
            assert other.count("decides") > before
            log.wait(lambda: log.ready("mine") == 3, "all are ready")
            other.process.terminate()
            assert other.process.wait(DEADLINE) == 0, other.log.read_text()
    generations_only_grow(log)
    assert log.outcomes(order.id) == ["scaled"]


def test_one_that_is_started_again_where_it_was_killed_does_not_wait_for_itself(
    kafka: EmbeddedBroker, tmp_path: Path
) -> None:
    session = 60  # seconds
    file, config = declare(tmp_path, kafka.bootstrap_servers, session_timeout=f"{session}s")
    with KafkaTransport.from_config(config) as transport:
        create_topics(transport, config)
        with ControllerProcess(file, "c1") as first:
            first.wait_for("decides")
            first.process.kill()
            first.process.wait()
            began = time.monotonic()
            with ControllerProcess(file, "c2") as second:
                second.wait_for("decides")
                assert time.monotonic() - began < session * 0.75
                # One that lives is left alone.
                with ControllerProcess(file, "c3") as third:
                    wait_until(
                        lambda: second.count("decides") + third.count("decides") >= 2, "settled", 60
                    )
                    assert second.count("was killed here: it leaves") == 1
                    assert third.count("was killed here") == 0


def test_one_that_was_stopped_and_wakes_up_overwrites_nothing(
    node: Node, file: Path, client: RoomieClient, log: Log
) -> None:
    with node, ControllerProcess(file, "c1") as first:
        first.wait_for("decides")
        assert client.wait(client.deploy(SPEC), timeout=30).event == "ready"
        first.process.send_signal(signal.SIGSTOP)
        with ControllerProcess(file, "c2") as second:
            second.wait_for("decides")
            order = client.scale("mine", 4)
            assert client.wait(order, timeout=40).event == "scaled"
            first.process.send_signal(signal.SIGCONT)
            first.wait_for("stands by")
            again = client.scale("mine", 1)
            assert client.wait(again, timeout=40).event == "scaled"
            log.wait(lambda: len(log.table["mine"].instances) == 1, "the surplus has gone")
    generations_only_grow(log)
    assert log.outcomes(order.id) == ["scaled"]
    assert log.outcomes(again.id) == ["scaled"]


def test_controller_and_broker_die_together_and_nothing_is_lost(tmp_path: Path) -> None:
    broker = EmbeddedBroker(BrokerSettings(data_dir=tmp_path / "kafka", port=0))
    broker.start()
    try:
        file, config = declare(tmp_path, broker.bootstrap_servers)
        names = TopicNames(config.deployment)
        with KafkaTransport.from_config(config) as transport:
            create_topics(transport, config)
            log = Log(transport, names)
            with (
                Node(transport, names, fake_worker("w0")),
                RoomieClient(transport, names, source="/t") as client,
                ControllerProcess(file, "c1") as first,
            ):
                first.wait_for("decides")
                assert client.wait(client.deploy(SPEC), timeout=60).event == "ready"
                log.poll()
                before = {i.id for i in log.table["mine"].instances}
                order = client.scale("mine", 3)  # taken by the broker, and by nobody else
                broker.kill()
                first.process.kill()
                # The standby has never seen the broker: it waits for it.
                with ControllerProcess(file, "c2") as second:
                    second.wait_for("no Kafka broker answers")
                    broker.start()
                    second.wait_for("decides")
                    log.wait(lambda: log.outcomes(order.id), "the order has its outcome", 60)
                    log.wait(lambda: log.ready("mine") == 3, "all are ready")
            assert before < {i.id for i in log.table["mine"].instances}
            assert not any(s.event == "lost" for s in log.statuses)
            assert log.outcomes(order.id) == ["scaled"]
            generations_only_grow(log)
            log.close()
    finally:
        broker.stop()


def videojam(file: Path, *words: str, ok: int = 0) -> str:
    """Run a command in this process; returns what it printed, errors included."""
    done = CliRunner().invoke(app, [*words, "--config", str(file)], prog_name="videojam")
    assert done.exit_code == ok, f"{words}: {done.exit_code}\n{done.output}\n{done.exception!r}"
    return done.output


def test_what_an_operator_types(transport: KafkaTransport, names: TopicNames, file: Path) -> None:
    refuses = fake_worker("w0", fault=lambda i: "no such file" if i.version == 2 else None)
    options = ("--metrics-port", "0", "--metrics-address", "127.0.0.1", "--log-format", "json")
    assert "no controller decides" in videojam(file, "models")
    with Node(transport, names, refuses), ControllerProcess(file, "c1", *options) as c1:
        c1.wait_for("decides")
        told = videojam(file, "deploy", "mine", "--instances", "2", "--memory", "1GiB")
        assert "no kernel profile of mine" in told
        assert "2 instance(s) are ready" in told
        told = videojam(file, "deploy", "mine", "--version", "2", "--memory", "1GiB", ok=3)
        assert "rolled back to version 1" in told
        assert "no such file" in told
        refused = videojam(file, "scale", "nobody", "2", ok=3)
        assert "nobody is not deployed; deployed: mine" in refused
        table = videojam(file, "models")
        assert table.count("mine.v1-") == 2
        assert "ready" in table
        assert videojam(file, "models", "mine").count("mine.v1-") == 2
        for words in (("ghost",), ("mine", "ghost", "--json")):
            unknown = videojam(file, "models", *words, ok=1)
            assert "not deployed: ghost" in unknown
            assert "deployed: mine;" in unknown
        seen = json.loads(videojam(file, "models", "--json"))
        assert seen["models"][0]["spec"]["instances"] == 2
        assert [c["active"] for c in seen["controllers"]] == [True]
        port = re.search(r"127.0.0.1:(\d+)/metrics", c1.log.read_text())
        assert port is not None
        with urllib.request.urlopen(f"http://127.0.0.1:{port[1]}/metrics") as answer:
            metrics = answer.read().decode()
        assert 'videojam_roomie_outcomes_total{controller="c1"' in metrics
        assert 'model="mine",state="ready"} 2.0' in metrics
        assert "videojam_roomie_active" in metrics
        assert "mine has no" not in videojam(file, "undeploy", "mine")
        history = videojam(file, "roomie", "log", "mine", "--json").splitlines()
        events = [json.loads(line)["event"] for line in history]
        assert events[0] == "accepted"
        assert events[-1] == "removed"
        assert {"placed", "ready", "failed", "rolled-back"} <= set(events)
        assert "removed" in videojam(file, "roomie", "log", "--last", "1")
        c1.process.send_signal(signal.SIGINT)
        assert c1.process.wait(DEADLINE) == 0
        lines = [json.loads(line) for line in c1.log.read_text().splitlines()]
        assert all(line["controller"] == "c1" for line in lines)


def test_missing_topics_and_a_missing_section_are_said_with_the_remedy(
    kafka: EmbeddedBroker, tmp_path: Path
) -> None:
    file, _ = declare(tmp_path, kafka.bootstrap_servers)
    assert "videojam topics apply" in videojam(file, "controller", ok=1)
    text = file.read_text()
    file.write_text(text[: text.index("roomie:\n")] + text[text.index("version:") :])
    for words in (("controller",), ("models",), ("deploy", "x"), ("roomie", "log")):
        assert "ROOMIE is not declared" in videojam(file, *words, ok=1)


def test_wrong_options_are_said(tmp_path: Path) -> None:
    file, _ = declare(tmp_path, "127.0.0.1:1")
    assert "--latency" in videojam(file, "deploy", "x", "--latency", "soon", ok=1)
    assert "MODEL" in videojam(file, "deploy", "no/slash", ok=1)
    assert "no Kafka broker answers" in videojam(file, "deploy", "x", ok=1)
