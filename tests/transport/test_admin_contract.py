"""What every transport's administration does."""

from __future__ import annotations

import pytest

from dataflow.config.topics import TopicSpec
from dataflow.errors import BrokerError
from dataflow.transport import Record, TopicPartition
from tests.transport.kit import Kit, Recorder, poll_until, until


def test_a_created_topic_is_described(kit: Kit) -> None:
    topic = kit.topic(3, {"retention.ms": "60000", "cleanup.policy": "compact"})
    states = kit.admin.describe(topic)
    state = states.pop(topic)
    assert states == {}
    assert (state.name, state.partitions, state.replication) == (topic, 3, 1)
    assert state.configs["retention.ms"] == "60000"
    assert state.configs["cleanup.policy"] == "compact"
    assert state.configs["delete.retention.ms"] == "86400000"
    assert "delete.retention.ms" in state.defaults
    assert not state.defaults & {"retention.ms", "cleanup.policy"}


def test_a_prefix_selects(kit: Kit) -> None:
    one, two = kit.topic(), kit.topic()
    assert set(kit.admin.describe(kit.prefix)) == {one, two}
    assert not any(name.startswith("__") for name in kit.admin.describe())


@pytest.mark.parametrize(
    "spec",
    [
        TopicSpec(name="", partitions=1, replication=1),
        TopicSpec(name="no/slash", partitions=1, replication=1),
        TopicSpec(name="none", partitions=0, replication=1),
        TopicSpec(name="many", partitions=1, replication=9),
        TopicSpec(name="key", partitions=1, replication=1, configs={"no.such": "1"}),
        TopicSpec(name="value", partitions=1, replication=1, configs={"retention.ms": "x"}),
        TopicSpec(name="pol", partitions=1, replication=1, configs={"cleanup.policy": "x"}),
    ],
    ids=lambda spec: spec.name,
)
def test_a_topic_that_cannot_be_is_refused(kit: Kit, spec: TopicSpec) -> None:
    with pytest.raises(BrokerError):
        kit.admin.create(spec)
    assert not spec.name or spec.name not in kit.admin.describe()


def test_a_topic_is_created_once(kit: Kit) -> None:
    topic = kit.topic()
    with pytest.raises(BrokerError, match="exists"):
        kit.admin.create(TopicSpec(name=topic, partitions=1, replication=1))


def test_partitions_are_added_and_never_removed(kit: Kit) -> None:
    topic = kit.topic(2)
    kit.admin.add_partitions(topic, 5)
    assert kit.admin.describe(topic)[topic].partitions == 5
    kit.send(Record(topic=topic, value=b"", partition=4))
    for total in (5, 3):
        with pytest.raises(BrokerError):
            kit.admin.add_partitions(topic, total)
    with pytest.raises(BrokerError):
        kit.admin.add_partitions(kit.name(), 5)


def test_configs_are_set_one_by_one(kit: Kit) -> None:
    topic = kit.topic(configs={"retention.ms": "60000", "segment.ms": "10000"})
    kit.admin.set_configs(topic, {"retention.ms": "70000"})
    until(
        lambda: kit.admin.describe(topic)[topic].configs["retention.ms"] == "70000",
    )
    state = kit.admin.describe(topic)[topic]
    assert state.configs["segment.ms"] == "10000"
    assert "segment.ms" not in state.defaults
    with pytest.raises(BrokerError):
        kit.admin.set_configs(topic, {"no.such": "1"})
    with pytest.raises(BrokerError):
        kit.admin.set_configs(kit.name(), {"retention.ms": "1"})


def test_a_deleted_topic_is_gone(kit: Kit) -> None:
    one, two = kit.topic(), kit.topic()
    kit.admin.delete([one])
    assert set(kit.admin.describe(kit.prefix)) == {two}
    with pytest.raises(BrokerError):
        kit.admin.delete([one])
    kit.admin.delete([])


def test_lag_counts_what_is_not_committed(kit: Kit) -> None:
    topic, group = kit.topic(2), kit.name()
    assert kit.admin.lag(group, topic) == {0: 0, 1: 0}
    kit.fill(topic, partitions=2, each=10)
    assert kit.admin.lag(group, topic) == {0: 10, 1: 10}
    consumer = kit.member(group, topic, Recorder())
    poll_until(consumer, [], 20)
    consumer.commit({TopicPartition(topic, 1): 7}, wait=True)
    assert kit.admin.lag(group, topic) == {0: 10, 1: 3}
    with pytest.raises(BrokerError, match="videojam topics apply"):
        kit.admin.lag(group, kit.name())
