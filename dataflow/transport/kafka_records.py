"""Records of ours as librdkafka's producers take them."""

from __future__ import annotations

from collections.abc import Callable

from confluent_kafka import KafkaError, Message, Producer

from dataflow.errors import BrokerError
from dataflow.transport.base import Record

DeliveryReport = Callable[[KafkaError | None, Message], None]
"""What librdkafka calls for each record, from within a poll."""

_ANY_PARTITION = -1
"""RD_KAFKA_PARTITION_UA: the partitioner chooses."""


def produce(producer: Producer, record: Record, on_delivery: DeliveryReport | None) -> None:
    """Hand a record to the client, which queues it.

    Args:
        producer: the client.
        record: see there.
        on_delivery: told what became of it.

    Raises:
        BrokerError: the record's partition cannot be.
        BufferError: the client's queue is full.
        KafkaException: the client refuses it.
    """
    partition = record.partition
    if partition is None:
        partition = _ANY_PARTITION
    elif partition < 0:  # the client would take it for any partition
        raise BrokerError(f"sending to {record.topic}: there is no partition {partition}")
    headers = record.headers
    producer.produce(
        record.topic,
        record.value,
        record.key,
        partition,
        headers=headers if isinstance(headers, list) else list(headers),
        on_delivery=on_delivery,
    )
