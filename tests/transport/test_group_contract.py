"""What every transport's group members do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import pytest

from dataflow.errors import BrokerError
from dataflow.transport import Received, TopicPartition, Transport
from tests.transport.kit import Event, Kit, Recorder, drain, poll_until, until, values


def test_a_lone_member_has_all_partitions_and_reads_from_the_beginning(kit: Kit) -> None:
    topic, listener = kit.topic(3), Recorder()
    sent = kit.fill(topic, partitions=3, each=20)
    received = poll_until(kit.member(kit.name(), topic, listener), [], len(sent))
    assert sorted(values(received), key=repr) == sorted(sent, key=repr)
    assert listener.owned == {TopicPartition(topic, number) for number in range(3)}
    assert listener.events("revoked") == listener.events("lost") == []


def test_poll_returns_no_more_than_asked_for(kit: Kit) -> None:
    topic = kit.topic()
    kit.fill(topic, partitions=1, each=20)
    consumer = kit.member(kit.name(), topic, Recorder())
    sizes: list[int] = []
    until(lambda: sum(sizes) == 20, lambda: sizes.append(len(consumer.poll(3, 0.2))))
    assert max(sizes) <= 3


def test_members_share_the_partitions_and_each_record_goes_to_one(kit: Kit) -> None:
    topic, group = kit.topic(4), kit.name()
    a, b = Recorder("a"), Recorder("b")
    first, second = kit.member(group, topic, a), kit.member(group, topic, b)
    got_a: list[Received] = []
    got_b: list[Received] = []
    steps = (drain(first, got_a), drain(second, got_b))
    until(lambda: len(a.owned) == len(b.owned) == 2, *steps)
    assert not a.owned & b.owned
    sent = kit.fill(topic, partitions=4, each=25)
    until(lambda: len(got_a) + len(got_b) >= 100, *steps)
    assert sorted(values(got_a + got_b), key=repr) == sorted(sent, key=repr)
    assert {record.topic_partition for record in got_a} == a.owned
    assert {record.topic_partition for record in got_b} == b.owned


def test_only_partitions_that_move_are_revoked_before_they_are_assigned(kit: Kit) -> None:
    topic, group = kit.topic(4), kit.name()
    journal: list[Event] = []
    a, b = Recorder("a", journal), Recorder("b", journal)
    first, second = kit.member(group, topic, a), kit.member(group, topic, b)
    until(lambda: len(a.owned) == 4, drain(first, []))
    until(lambda: len(b.owned) == 2, drain(first, []), drain(second, []))
    moved = frozenset(b.owned)
    assert a.events("revoked") == [moved]
    assert b.events("assigned") == [moved]
    assert journal.index(("a", "revoked", moved)) < journal.index(("b", "assigned", moved))
    second.close()
    assert b.events("revoked") == [moved]
    assert b.owned == set()
    until(lambda: len(a.owned) == 4, drain(first, []))
    assert a.events("assigned")[-1] == moved
    assert a.events("lost") == b.events("lost") == []


def test_members_above_the_partitions_wait_for_their_turn(kit: Kit) -> None:
    topic, group = kit.topic(1), kit.name()
    a, b = Recorder("a"), Recorder("b")
    first, second = kit.member(group, topic, a), kit.member(group, topic, b)
    until(lambda: a.owned, drain(first, []))
    for _ in range(5):
        second.poll(1, 0.1)
        first.poll(1, 0.1)
    assert len(a.owned) == 1
    assert not b.owned
    first.close()
    until(lambda: b.owned, drain(second, []))


def test_the_group_resumes_at_the_committed_offsets(kit: Kit) -> None:
    topic, group = kit.topic(2), kit.name()
    kit.fill(topic, partitions=2, each=10)
    consumer = kit.member(group, topic, Recorder())
    poll_until(consumer, [], 20)
    consumer.commit({TopicPartition(topic, 0): 4, TopicPartition(topic, 1): 10}, wait=True)
    consumer.close()
    received = poll_until(kit.member(group, topic, Recorder()), [], 6)
    assert values(received) == [b"0-%d" % number for number in range(4, 10)]


def test_what_is_not_committed_is_delivered_again(kit: Kit) -> None:
    topic, group = kit.topic(), kit.name()
    sent = kit.fill(topic, partitions=1, each=5)
    consumer = kit.member(group, topic, Recorder())
    assert values(poll_until(consumer, [], 5)) == sent
    consumer.close()
    assert values(poll_until(kit.member(group, topic, Recorder()), [], 5)) == sent


def test_a_commit_without_waiting_arrives(kit: Kit) -> None:
    topic, group = kit.topic(), kit.name()
    kit.fill(topic, partitions=1, each=5)
    consumer = kit.member(group, topic, Recorder())
    poll_until(consumer, [], 5)
    consumer.commit({TopicPartition(topic, 0): 5}, wait=False)
    until(lambda: kit.admin.lag(group, topic) == {0: 0}, drain(consumer, []))


def test_offsets_can_be_committed_while_partitions_are_revoked(kit: Kit) -> None:
    topic, group = kit.topic(), kit.name()
    kit.fill(topic, partitions=1, each=5)
    listener = _CommitsOnRevoke()
    consumer = kit.member(group, topic, listener)
    listener.commit = lambda: consumer.commit({TopicPartition(topic, 0): 3}, wait=True)
    poll_until(consumer, [], 5)
    consumer.close()
    assert listener.committed
    received = poll_until(kit.member(group, topic, Recorder()), [], 2)
    assert values(received) == [b"0-3", b"0-4"]


def test_a_group_does_not_touch_another_groups_offsets(kit: Kit) -> None:
    topic, group = kit.topic(), kit.name()
    sent = kit.fill(topic, partitions=1, each=3)
    consumer = kit.member(group, topic, Recorder())
    poll_until(consumer, [], 3)
    consumer.commit({TopicPartition(topic, 0): 3}, wait=True)
    assert values(poll_until(kit.member(kit.name(), topic, Recorder()), [], 3)) == sent


def test_paused_partitions_wait_and_lose_nothing(kit: Kit) -> None:
    topic, listener, received = kit.topic(2), Recorder(), list[Received]()
    consumer = kit.member(kit.name(), topic, listener)
    until(lambda: len(listener.owned) == 2, drain(consumer, received))
    consumer.pause([TopicPartition(topic, 0)])
    kit.fill(topic, partitions=2, each=5)
    poll_until(consumer, received, 5)
    for _ in range(5):
        received += consumer.poll(100, 0.1)
    assert values(received) == [b"1-%d" % number for number in range(5)]
    consumer.resume([TopicPartition(topic, 0)])
    poll_until(consumer, received, 10)
    assert values(received[5:]) == [b"0-%d" % number for number in range(5)]
    assert listener.events("revoked") == []


def test_a_partition_paused_in_the_middle_goes_on_where_it_was(kit: Kit) -> None:
    topic, received = kit.topic(), list[Received]()
    sent = kit.fill(topic, partitions=1, each=30)
    consumer = kit.member(kit.name(), topic, Recorder())
    until(lambda: received, lambda: received.extend(consumer.poll(7, 0.2)))
    consumer.pause([TopicPartition(topic, 0)])
    assert consumer.poll(100, 0.3) == []
    consumer.resume([TopicPartition(topic, 0)])
    assert values(poll_until(consumer, received, 30)) == sent


def test_a_member_that_does_not_poll_yet_holds_nobody_up(kit: Kit) -> None:
    topic, group, listener = kit.topic(4), kit.name(), Recorder()
    consumer, idle = kit.member(group, topic, listener), kit.member(group, topic, Recorder())
    until(lambda: len(listener.owned) == 4, drain(consumer, []))
    idle.close()


def test_a_closed_member_cannot_commit_and_closes_once(kit: Kit) -> None:
    topic, listener = kit.topic(), Recorder()
    consumer = kit.member(kit.name(), topic, listener)
    until(lambda: listener.owned, drain(consumer, []))
    consumer.close()
    consumer.close()
    assert len(listener.events("revoked")) == 1
    with pytest.raises(BrokerError):
        consumer.commit({TopicPartition(topic, 0): 1}, wait=True)
    with pytest.raises(BrokerError):
        consumer.poll(1, 0.0)


def test_an_unknown_topic_is_an_error(kit: Kit) -> None:
    consumer = kit.member(kit.name(), kit.name(), Recorder())
    with pytest.raises(BrokerError, match="videojam topics apply"):
        until(lambda: False, lambda: consumer.poll(1, 0.5))


class _CommitsOnRevoke(Recorder):
    committed = False

    def __init__(self) -> None:
        super().__init__()
        self.commit: Callable[[], None] = lambda: None

    def on_revoked(self, partitions: Collection[TopicPartition]) -> None:
        self.commit()
        self.committed = True
        super().on_revoked(partitions)


class TestLostPartitions:
    @pytest.fixture
    def kit(self, impatient: Transport) -> Iterator[Kit]:
        kit = Kit(impatient)
        yield kit
        kit.close()

    def test_a_member_that_stopped_polling_is_told_and_its_commits_are_refused(
        self, kit: Kit
    ) -> None:
        topic, group = kit.topic(), kit.name()
        sent = kit.fill(topic, 1, 3)
        a, b = Recorder("a"), Recorder("b")
        first, second = kit.member(group, topic, a), kit.member(group, topic, b)
        poll_until(first, [], 3)
        assert values(poll_until(second, [], 3)) == sent
        with pytest.raises(BrokerError):
            first.commit({TopicPartition(topic, 0): 3}, wait=True)
        first.commit({TopicPartition(topic, 0): 3}, wait=False)
        until(lambda: a.events("lost"), drain(first, []), drain(second, []))
        assert a.events("lost") == [{TopicPartition(topic, 0)}]
        assert a.events("revoked") == []
        assert kit.admin.lag(group, topic) == {0: 3}
