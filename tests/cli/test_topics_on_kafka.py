"""`videojam topics` against a real Apache Kafka."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from dataflow.broker import EmbeddedBroker
from dataflow.config import TopicSpec, declared_topics
from dataflow.errors import BrokerError
from dataflow.topics import apply_plan, make_plan
from dataflow.transport.base import Record
from dataflow.transport.kafka import KafkaTransport
from tests.cli.conftest import Videojam
from tests.topics.declarations import declaration, declaration_text

pytestmark = pytest.mark.broker


@pytest.fixture
def deployment() -> str:
    """A name of one's own on the shared broker."""
    return f"topics-{uuid.uuid4().hex[:8]}"


def write(folder: Path, deployment: str, *changes: tuple[str, str]) -> None:
    text = declaration_text(deployment)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "topics.yaml").write_text(text)


def test_plan_apply_grow_shrink_and_delete(
    kafka: EmbeddedBroker, videojam: Videojam, tmp_path: Path, deployment: str
) -> None:
    at = ("--bootstrap-servers", kafka.bootstrap_servers)
    names = {spec.name for spec in declared_topics(declaration(deployment))}
    write(tmp_path, deployment)

    before = videojam("topics", "plan", "--json", *at)
    assert before.exit_code == 2, before.output
    assert {change["topic"] for change in json.loads(before.stdout)["changes"]} == names

    assert videojam("topics", "apply", "--yes", *at).exit_code == 0
    after = videojam("topics", "plan", *at)
    assert after.exit_code == 0, after.stdout

    # More partitions and a longer retention at once; a shorter one only when told.
    write(
        tmp_path,
        deployment,
        ("    partitions: 4\n", "    partitions: 5\n    retention: {time: 20m}\n"),
        ("    plugin: emulated\n", "    plugin: emulated\n    retention: {time: 5m}\n"),
    )
    grown = videojam("topics", "apply", "--yes", *at)
    assert grown.exit_code == 2, grown.output
    assert "partitions 4 -> 5" in grown.stdout
    assert "--allow-shrink" in grown.stdout
    with KafkaTransport(kafka.bootstrap_servers) as transport:
        states = transport.admin().describe(f"{deployment}.")
    assert states[f"{deployment}.motion.work"].partitions == 5
    assert states[f"{deployment}.motion.snapshots"].partitions == 5
    assert states[f"{deployment}.motion.work"].configs["retention.ms"] == "1200000"
    assert states[f"{deployment}.ocr.work"].configs["retention.ms"] == "600000"
    assert videojam("topics", "apply", "--yes", "--allow-shrink", *at).exit_code == 0

    # The first declaration again asks for fewer partitions: refused, and nothing is lost.
    write(tmp_path, deployment)
    fewer = videojam("topics", "apply", "--yes", "--allow-shrink", *at)
    assert fewer.exit_code == 2
    assert "Kafka cannot take partitions away" in fewer.stdout

    listed = json.loads(videojam("topics", "list", "--json", *at).stdout)
    assert {row["topic"] for row in listed} == names
    assert videojam("topics", "delete", "--all", "--yes", *at).exit_code == 0
    with KafkaTransport(kafka.bootstrap_servers) as transport:
        assert transport.admin().describe(f"{deployment}.") == {}


def test_delete_counts_records_and_spares_other_topics(
    kafka: EmbeddedBroker, videojam: Videojam, tmp_path: Path, deployment: str
) -> None:
    at = ("--bootstrap-servers", kafka.bootstrap_servers)
    write(tmp_path, deployment)
    assert videojam("topics", "apply", "--yes", *at).exit_code == 0
    with KafkaTransport(kafka.bootstrap_servers) as transport:
        producer = transport.producer()
        for number in range(12):
            producer.send(
                Record(topic=f"{deployment}.ocr.work", key=b"%d" % number, value=b"frame")
            )
        assert producer.close() == 0
    result = videojam("topics", "delete", "ocr", "--yes", *at)
    assert result.exit_code == 0, result.output
    assert f"- {deployment}.ocr.work  records: 12" in result.stdout
    assert f"- {deployment}.ocr.dead  records: 0" in result.stdout
    with KafkaTransport(kafka.bootstrap_servers) as transport:
        left = set(transport.admin().describe(f"{deployment}."))
    declared = {spec.name for spec in declared_topics(declaration(deployment))}
    assert left == {name for name in declared if ".ocr." not in name}


def test_two_applies_at_once_both_end_well(kafka: EmbeddedBroker, deployment: str) -> None:
    config = declaration(deployment)
    with KafkaTransport(kafka.bootstrap_servers) as transport:
        admin = transport.admin()
        stale = make_plan(config, admin)
        assert apply_plan(make_plan(config, admin), admin) == len(declared_topics(config))
        assert apply_plan(stale, admin) == 0
        assert make_plan(config, admin).in_sync


def test_what_kafka_refuses_is_told(kafka: EmbeddedBroker, deployment: str) -> None:
    with KafkaTransport(kafka.bootstrap_servers) as transport:
        spec = TopicSpec(name=f"{deployment}.a", partitions=1, replication=5)
        with pytest.raises(BrokerError, match=rf"creating {deployment}\.a"):
            transport.admin().create(spec)


def test_a_cluster_that_is_away_is_one_message(
    videojam: Videojam, tmp_path: Path, deployment: str, unused_tcp_port: int
) -> None:
    write(tmp_path, deployment)
    result = videojam("topics", "plan", "-b", f"localhost:{unused_tcp_port}")
    assert result.exit_code == 1
    assert "no Kafka broker answers" in result.stderr
    assert "videojam broker start" in result.stderr
