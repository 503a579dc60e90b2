"""What only a real Apache Kafka does to its administrators."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataflow.broker import BrokerSettings, EmbeddedBroker
from dataflow.config import TopicSpec
from dataflow.transport.kafka import KafkaTransport


@pytest.mark.broker
def test_the_first_lag_of_a_fresh_cluster_waits_for_the_coordinator(tmp_path: Path) -> None:
    """The coordinator is not there yet; librdkafka's admin client would crash the process."""
    settings = BrokerSettings(data_dir=tmp_path / "kafka", port=0)
    with EmbeddedBroker(settings) as broker, KafkaTransport(broker.bootstrap_servers) as transport:
        admin = transport.admin()
        admin.create(TopicSpec(name="fresh", partitions=3, replication=1))
        assert admin.lag("nobody", "fresh") == {0: 0, 1: 0, 2: 0}
        admin.close()
