"""What the broker's tests share: topics, records, and a Java that is not one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic


def create_topic(servers: str, name: str, partitions: int = 1) -> None:
    admin = AdminClient({"bootstrap.servers": servers})
    for future in admin.create_topics([NewTopic(name, partitions, 1)]).values():
        future.result(timeout=30)


def produce(
    servers: str, topic: str, values: Iterable[bytes], timeout: float = 30.0
) -> list[KafkaException]:
    """Produce `values` to partition 0 and return the errors of those not acknowledged."""
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "acks": "all",
            "message.max.bytes": 20_000_000,
            "message.timeout.ms": int(timeout * 1000),
            "log_level": 0,
        }
    )
    errors: list[KafkaException] = []

    def delivered(error: object, _message: object) -> None:
        if error is not None:
            errors.append(KafkaException(error))

    for value in values:
        producer.produce(topic, value, partition=0, on_delivery=delivered)
        producer.poll(0)
    producer.flush(timeout)
    return errors


def consume(servers: str, topic: str, count: int) -> list[bytes]:
    """Return the first `count` values of partition 0."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"{topic}-reader",
            "enable.auto.commit": False,
            "message.max.bytes": 20_000_000,
        }
    )
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        values: list[bytes] = []
        while len(values) < count:
            messages = consumer.consume(count - len(values), timeout=30.0)
            assert messages, f"only {len(values)} of {count} records came"
            for message in messages:
                assert message.error() is None, message.error()
                value = message.value()
                assert isinstance(value, bytes)
                values.append(value)
        return values
    finally:
        consumer.close()


def program(path: Path, lines: Sequence[str]) -> Path:
    """Write a shell program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n", encoding="utf-8")
    path.chmod(0o755)
    return path
