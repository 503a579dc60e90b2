"""The in-memory administration client."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from dataflow.config.topics import TopicSpec
from dataflow.errors import BrokerError
from dataflow.transport.base import TopicPartition, TopicState
from dataflow.transport.memory.cluster import Cluster
from dataflow.transport.memory.log import Log, Topic


class MemoryAdmin:
    """See `dataflow.transport.base.Admin`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def check(self, timeout: float) -> None:  # noqa: ARG002 - the answer is known at once
        """Raise BrokerError during an outage."""
        with self._cluster.condition:
            self._cluster.require_up()

    def describe(self, prefix: str = "") -> dict[str, TopicState]:
        """Topics whose name starts with ``prefix``."""
        with self._cluster.condition:
            self._cluster.require_up()
            return {
                name: topic.state()
                for name, topic in sorted(self._cluster.topics.items())
                if name.startswith(prefix)
            }

    def create(self, spec: TopicSpec) -> None:
        """Create a topic."""
        with self._cluster.condition:
            self._cluster.require_up()
            if spec.name in self._cluster.topics:
                raise BrokerError(f"creating {spec.name}: the topic exists already")
            self._cluster.topics[spec.name] = Topic(spec, self._cluster.brokers)
            self._cluster.topics_changed()

    def add_partitions(self, topic: str, total: int) -> None:
        """Raise the number of partitions."""
        with self._cluster.condition:
            self._cluster.require_up()
            logs = self._cluster.topic(topic).logs
            if total <= len(logs):
                raise BrokerError(
                    f"adding partitions to {topic}: it has {len(logs)} already; a topic's "
                    "partitions can only grow"
                )
            logs += [Log() for _ in range(total - len(logs))]
            self._cluster.topics_changed()

    def set_configs(self, topic: str, configs: Mapping[str, str]) -> None:
        """Set some configs."""
        with self._cluster.condition:
            self._cluster.require_up()
            self._cluster.topic(topic).configure(configs)

    def delete(self, topics: Collection[str]) -> None:
        """Delete topics."""
        with self._cluster.condition:
            self._cluster.require_up()
            for topic in topics:
                self._cluster.topic(topic)
            for topic in topics:
                del self._cluster.topics[topic]
            self._cluster.topics_changed(deleted=topics)

    def lag(self, group: str, topic: str) -> dict[int, int]:
        """Records of each partition that the group has not committed yet."""
        with self._cluster.condition:
            self._cluster.require_up()
            committed = self._cluster.group(group).committed
            return {
                number: log.end - max(committed.get(TopicPartition(topic, number), -1), log.start)
                for number, log in enumerate(self._cluster.topic(topic).logs)
            }

    def close(self) -> None:
        """Nothing to release."""
