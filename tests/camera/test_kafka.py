"""Cameras on a real Apache Kafka."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path

import pytest

from dataflow import CameraProducer
from dataflow.accounting import CameraReport, parse_report
from dataflow.broker import BrokerSettings, EmbeddedBroker
from dataflow.camera import BufferConfig
from dataflow.config import Config, TopicNames, parse_config
from dataflow.errors import BrokerError
from dataflow.messages import WorkItem
from dataflow.topics import create_declared_topics
from dataflow.transport.base import Received
from dataflow.transport.kafka import KafkaTransport
from tests.camera.conftest import DECLARATION, MakeVideo, jpeg, number_of

pytestmark = pytest.mark.broker


def declare(servers: str) -> Config:
    """A declaration of its own, with its topics made on the cluster."""
    name = f"cam-{uuid.uuid4().hex[:8]}"
    config = parse_config(DECLARATION.replace("deployment: test", f"deployment: {name}"))
    with KafkaTransport.from_config(config, bootstrap_servers=servers) as transport:
        create_declared_topics(config, transport)
    return config


def read(config: Config, servers: str, topic: str) -> list[Received]:
    """All that a topic holds."""
    received = []
    with KafkaTransport.from_config(config, bootstrap_servers=servers) as transport:
        reader = transport.reader([topic])
        while not reader.caught_up():
            received += reader.poll(1000, 1.0)
        reader.close()
    return received


def final_report(config: Config, servers: str) -> CameraReport:
    records = read(config, servers, TopicNames(config.deployment).accounting)
    last = parse_report(records[-1].value)
    assert isinstance(last, CameraReport)
    assert last.closed
    return last


def test_a_video_passes_through_kafka_in_order(
    kafka: EmbeddedBroker, make_video: MakeVideo
) -> None:
    servers = kafka.bootstrap_servers
    config = declare(servers)
    source = make_video()
    with CameraProducer(
        "gate-1", config=config, bootstrap_servers=servers, source=source, pace="fast"
    ) as camera:
        report = camera.run()
    assert (report.captured, report.acked, report.lost) == (10, 10, 0)
    records = read(config, servers, TopicNames(config.deployment).work("look"))
    items = [WorkItem.from_record(r.headers, r.value) for r in records]
    assert [item.frame.sequence for item in items] == list(range(10))
    assert [number_of(item.data) for item in items] == list(range(10))
    assert {item.frame.stream for item in items} == {camera.stream}
    assert len({r.partition for r in records}) == 1
    last = final_report(config, servers)
    assert (last.produced, last.acked) == (10, 10)


def test_a_spread_function_gets_all_its_partitions(kafka: EmbeddedBroker) -> None:
    servers = kafka.bootstrap_servers
    config = declare(servers)
    with CameraProducer("bus", "mobile", config=config, bootstrap_servers=servers) as camera:
        for _ in range(10):
            camera.send(jpeg())
    records = read(config, servers, TopicNames(config.deployment).work("read"))
    counts = [sum(r.partition == p for r in records) for p in range(5)]
    assert counts == [2] * 5


def test_missing_topics_are_named_with_the_remedy(kafka: EmbeddedBroker) -> None:
    config = parse_config(DECLARATION.replace("deployment: test", "deployment: nobody"))
    camera = CameraProducer(
        "x", config=config, bootstrap_servers=kafka.bootstrap_servers, wait_for_broker=0.0
    )
    with pytest.raises(BrokerError, match="videojam topics apply"):
        camera.open()


def test_a_broker_that_dies_and_comes_back_costs_nothing_that_can_wait(tmp_path: Path) -> None:
    # A broker of its own: killing that of the session would hurt other tests.
    with EmbeddedBroker(BrokerSettings(data_dir=tmp_path / "kafka", port=0)) as broker:
        servers = broker.bootstrap_servers
        config = declare(servers)
        frames = 300
        camera = CameraProducer(
            "gate-1",
            config=config,
            bootstrap_servers=servers,
            source=[jpeg()] * frames,
            fps=100.0,
            buffer=BufferConfig(frames=8, in_flight=8, when_full="block"),
            flush_timeout=60.0,
        )
        with camera:
            run = threading.Thread(target=camera.run)
            run.start()
            while camera.stats.acked < frames // 10:
                run.join(0.01)
            broker.kill()
            assert camera.stats.captured < frames
            broker.start()
            run.join()
            report = camera.stats
        assert (report.captured, report.acked, report.lost) == (frames, frames, 0)
        records = read(config, servers, TopicNames(config.deployment).work("look"))
        sequences = [WorkItem.from_record(r.headers, r.value).frame.sequence for r in records]
        assert sequences == list(range(frames))  # all, once, in order: idempotent
        assert final_report(config, servers).acked == frames
