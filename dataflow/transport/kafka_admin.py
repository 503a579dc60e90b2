"""Administration of topics on Apache Kafka."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as ConfluentPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from dataflow.config.topics import TopicSpec
from dataflow.errors import BrokerError
from dataflow.transport.base import TopicState
from dataflow.transport.kafka_errors import describe_error

_SECONDS = 15.0
"""Deadline of one administrative request."""
_TOPIC_CONFIG_SOURCE = 1
"""ConfigSource.DYNAMIC_TOPIC_CONFIG: somebody set the value on the topic itself."""

_COORDINATOR_BUSY = {
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
}
"""The group's coordinator is starting or moving, as on a fresh cluster: it answers soon."""


class KafkaAdmin:
    """See `dataflow.transport.base.Admin`."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._servers = str(settings["bootstrap.servers"])
        self._settings = dict(settings)
        self._client = AdminClient(dict(settings))
        self._groups: dict[str, Consumer] = {}

    def check(self, timeout: float) -> None:
        """Ask for the cluster's metadata.

        Raises:
            BrokerError: no answer within ``timeout`` s.
        """
        try:
            self._client.list_topics(timeout=timeout)
        except KafkaException as error:
            raise describe_error(error.args[0], self._servers) from error

    def describe(self, prefix: str = "") -> dict[str, TopicState]:
        """Topics whose name starts with ``prefix``."""
        try:
            topics = self._client.list_topics(timeout=_SECONDS).topics
        except KafkaException as error:
            raise describe_error(error.args[0], self._servers) from error
        wanted = {
            name: topic
            for name, topic in topics.items()
            if name.startswith(prefix) and not name.startswith("__")
        }
        if not wanted:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in wanted]
        answers = self._client.describe_configs(resources, request_timeout=_SECONDS)
        states = {}
        for resource, answer in answers.items():
            entries = self._result(answer, f"describing {resource.name}")
            if entries is None:  # deleted between the two requests
                continue
            partitions = wanted[resource.name].partitions
            states[resource.name] = TopicState(
                name=resource.name,
                partitions=len(partitions),
                replication=max((len(p.replicas) for p in partitions.values()), default=0),
                configs={e.name: e.value for e in entries.values() if e.value is not None},
                defaults=frozenset(
                    e.name for e in entries.values() if e.source != _TOPIC_CONFIG_SOURCE
                ),
            )
        return states

    def create(self, spec: TopicSpec) -> None:
        """Create a topic and wait until its leaders are elected."""
        topic = NewTopic(
            spec.name,
            num_partitions=spec.partitions,
            replication_factor=spec.replication,
            config=dict(spec.configs),
        )
        answers = self._client.create_topics([topic], operation_timeout=_SECONDS)
        self._result(answers[spec.name], f"creating {spec.name}")
        self._wait(spec.name, spec.partitions)

    def add_partitions(self, topic: str, total: int) -> None:
        """Raise the number of partitions."""
        answers = self._client.create_partitions(
            [NewPartitions(topic, total)], operation_timeout=_SECONDS
        )
        self._result(answers[topic], f"adding partitions to {topic}")
        self._wait(topic, total)

    def set_configs(self, topic: str, configs: Mapping[str, str]) -> None:
        """Set some configs."""
        resource = ConfigResource(
            ResourceType.TOPIC,
            topic,
            incremental_configs=[
                ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
                for key, value in configs.items()
            ],
        )
        answers = self._client.incremental_alter_configs([resource], request_timeout=_SECONDS)
        self._result(answers[resource], f"configuring {topic}")

    def delete(self, topics: Collection[str]) -> None:
        """Delete topics and wait until they are gone."""
        if not topics:
            return
        answers = self._client.delete_topics(list(topics), operation_timeout=_SECONDS)
        for topic, answer in answers.items():
            self._result(answer, f"deleting {topic}")
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline:
            if not set(topics) & set(self._client.list_topics(timeout=_SECONDS).topics):
                return
            time.sleep(0.05)

    def lag(self, group: str, topic: str) -> dict[int, int]:
        """Records of each partition that the group has not committed yet."""
        try:
            metadata = self._client.list_topics(timeout=_SECONDS).topics.get(topic)
        except KafkaException as error:
            raise describe_error(error.args[0], self._servers) from error
        if metadata is None:
            raise BrokerError(f"no topic {topic}; run `videojam topics apply`")
        partitions = [ConfluentPartition(topic, p) for p in metadata.partitions]
        ends = self._offsets(partitions, OffsetSpec.latest())
        begins = self._offsets(partitions, OffsetSpec.earliest())
        at = self._committed(group, partitions)
        # A group that has committed nothing yet starts at the beginning.
        return {
            number: end - max(at.get(number, -1), begins[number]) for number, end in ends.items()
        }

    def close(self) -> None:
        """Release the connections."""
        for consumer in self._groups.values():
            consumer.close()
        self._groups.clear()
        # confluent-kafka releases an admin client when it is collected, and waits for its threads
        # then. Let go of it here: the cycle collector may run anywhere, in another admin client's
        # own thread too, which would then serve nobody.
        with contextlib.suppress(AttributeError):
            del self._client

    def _committed(self, group: str, partitions: list[ConfluentPartition]) -> dict[int, int]:
        """Next offset of each partition; negative where the group has committed none.

        A consumer asks, without joining the group. AdminClient.list_consumer_group_offsets would
        crash the process when the coordinator is not ready (librdkafka's OffsetFetch handler then
        asks for the coordinator through the consumer group that an admin client does not have).
        """
        consumer = self._groups.get(group)
        if consumer is None:
            consumer = self._groups[group] = Consumer({**self._settings, "group.id": group})
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                found = consumer.committed(partitions, timeout=_SECONDS)
                break
            except KafkaException as error:
                fault = error.args[0]
                if fault.code() not in _COORDINATOR_BUSY or time.monotonic() > deadline:
                    raise describe_error(fault, self._servers) from error
                time.sleep(0.1)
        for partition in found:
            if partition.error is not None:
                raise BrokerError(f"offsets of {group}: {partition.error.str()}")
        return {partition.partition: partition.offset for partition in found}

    def _offsets(self, partitions: list[ConfluentPartition], which: OffsetSpec) -> dict[int, int]:
        deadline = time.monotonic() + _SECONDS
        while True:
            answers = self._client.list_offsets(
                dict.fromkeys(partitions, which), request_timeout=_SECONDS
            )
            # For a moment after its creation, a topic's leaders know less than the metadata.
            if time.monotonic() > deadline or not any(map(_has_moved, answers.values())):
                return {
                    partition.partition: self._result(
                        answer, f"offsets of {partition.topic}"
                    ).offset
                    for partition, answer in answers.items()
                }
            time.sleep(0.05)

    def _wait(self, topic: str, partitions: int) -> None:
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline:
            metadata = self._client.list_topics(timeout=_SECONDS).topics.get(topic)
            if (
                metadata is not None
                and len(metadata.partitions) >= partitions
                and all(p.leader >= 0 for p in metadata.partitions.values())
            ):
                return
            time.sleep(0.05)
        raise BrokerError(f"{topic} has no leaders after {_SECONDS:.0f} s")

    def _result(self, answer: Future[Any], what: str) -> Any:
        try:
            return answer.result(timeout=_SECONDS + 5)
        except KafkaException as error:
            fault = error.args[0]
            if fault.code() in (KafkaError._TRANSPORT, KafkaError._TIMED_OUT):
                raise describe_error(fault, self._servers) from error
            raise BrokerError(f"{what}: {fault.str()}") from error
        except TimeoutError as error:
            raise BrokerError(f"{what}: no answer from {self._servers}") from error


def _has_moved(answer: Future[Any]) -> bool:
    try:
        error = answer.exception(timeout=_SECONDS + 5)
    except TimeoutError:
        return False
    return isinstance(error, KafkaException) and error.args[0].code() in (
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
    )
