"""Records into Apache Kafka."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka import Producer as ConfluentProducer

from dataflow.errors import BufferFullError
from dataflow.transport.base import DeliveryCallback, LatencyCallback, Record
from dataflow.transport.kafka_errors import broker_error
from dataflow.transport.kafka_metadata import NoAnswerError, ask_partitions
from dataflow.transport.kafka_records import DeliveryReport, produce

_PARTITIONS_FRESH_SECONDS = 60.0
"""How long a topic's partition count is believed."""


class KafkaProducer:
    """See `dataflow.transport.base.Producer`.

    Args:
        settings: librdkafka's.
        make: the client, from its settings.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        *,
        make: Callable[[dict[str, Any]], ConfluentProducer] = ConfluentProducer,
    ) -> None:
        self._producer = make(dict(settings))
        self._servers = str(settings["bootstrap.servers"])
        self._partitions: dict[str, tuple[float, int]] = {}

    def send(
        self,
        record: Record,
        on_delivery: DeliveryCallback | None = None,
        *,
        on_latency: LatencyCallback | None = None,
    ) -> None:
        """Queue a record."""
        report = None if on_delivery is None else _adapt(on_delivery, on_latency)
        try:
            produce(self._producer, record, report)
        except BufferError as error:
            raise BufferFullError("the producer's local buffer is full") from error
        except KafkaException as error:
            raise broker_error(error.args[0], f"sending to {record.topic}") from error

    def poll(self, timeout: float = 0.0) -> int:
        """Run delivery callbacks that are due."""
        return int(self._producer.poll(timeout))

    def flush(self, timeout: float) -> int:
        """Wait for all deliveries."""
        return int(self._producer.flush(timeout))

    def partitions_for(self, topic: str) -> int:
        """Number of partitions."""
        known = self._partitions.get(topic)
        now = time.monotonic()
        if known is not None and now - known[0] < _PARTITIONS_FRESH_SECONDS:
            return known[1]
        try:
            count = len(
                ask_partitions(self._producer, topic, servers=self._servers, what=f"topic {topic}")
            )
        except NoAnswerError:
            if known is not None:
                return known[1]  # the cluster is away; what was true a minute ago still is
            raise
        self._partitions[topic] = (now, count)
        return count

    def close(self, timeout: float = 10.0) -> int:
        """Flush and release."""
        left = self.flush(timeout)
        if left:
            self._producer.purge()
            self._producer.poll(0.1)
        return left


def _adapt(on_delivery: DeliveryCallback, on_latency: LatencyCallback | None) -> DeliveryReport:
    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is None:
            if on_latency is not None and (seconds := message.latency()) is not None:
                on_latency(seconds)
            on_delivery(None)
        else:
            on_delivery(broker_error(error, f"delivery to {message.topic()}"))

    return delivered
