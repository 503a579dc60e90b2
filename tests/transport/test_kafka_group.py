"""What only a group on a real Kafka can show."""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection

import pytest

from dataflow.broker import EmbeddedBroker
from dataflow.config import TopicSpec
from dataflow.errors import BrokerError
from dataflow.transport import TopicPartition
from dataflow.transport.kafka import KafkaTransport

pytestmark = pytest.mark.broker


class _Quiet:
    """Takes whatever it is given."""

    def on_assigned(self, partitions: Collection[TopicPartition]) -> None: ...

    def on_revoked(self, partitions: Collection[TopicPartition]) -> None: ...

    def on_lost(self, partitions: Collection[TopicPartition]) -> None: ...


def test_a_session_timeout_that_the_broker_refuses_is_told_with_the_remedy(
    kafka: EmbeddedBroker,
) -> None:
    topic = f"group-{uuid.uuid4().hex}"
    transport = KafkaTransport(kafka.bootstrap_servers, session_timeout=0.5)
    admin = transport.admin()
    admin.create(TopicSpec(name=topic, partitions=1, replication=1))
    admin.close()
    consumer = transport.consumer(topic, [topic], _Quiet())
    deadline = time.monotonic() + 60

    def wait() -> None:
        while time.monotonic() < deadline:
            consumer.poll(1, 0.2)

    with pytest.raises(BrokerError, match=r"cluster\.session_timeout"):
        wait()
    consumer.close()
