"""Outages, and members that vanish."""

from __future__ import annotations

import pytest

from dataflow.errors import BrokerError
from dataflow.transport import Record, TopicPartition
from dataflow.transport.memory import MemoryTransport
from tests.transport.kit import Kit, Recorder, poll_until, values
from tests.transport.memory.conftest import Clock, send


class TestOutage:
    def test_sends_are_held_and_arrive_in_order_when_it_ends(
        self, kit: Kit, memory: MemoryTransport
    ) -> None:
        topic, outcomes = kit.topic(), list[BrokerError | None]()
        kit.producer.partitions_for(topic)
        memory.outage()
        for number in range(3):
            send(kit, topic, b"%d" % number, outcomes)
        assert kit.producer.flush(0.0) == 3
        memory.restore()
        send(kit, topic, b"3", outcomes)
        assert kit.producer.flush(0.0) == 0
        assert outcomes == [None] * 4
        assert values(kit.reader(topic).poll(10, 0.0)) == [b"0", b"1", b"2", b"3"]

    def test_held_records_time_out_one_by_one(
        self, kit: Kit, memory: MemoryTransport, clock: Clock
    ) -> None:
        topic, outcomes = kit.topic(), list[BrokerError | None]()
        kit.producer.partitions_for(topic)
        memory.outage()
        send(kit, topic, b"old", outcomes)
        clock.now += 60
        send(kit, topic, b"new", outcomes)
        clock.now += 60
        assert kit.producer.poll() == 1
        assert "timed out" in str(outcomes)
        memory.restore()
        assert kit.producer.flush(0.0) == 0
        assert outcomes[1:] == [None]
        assert values(kit.reader(topic).poll(10, 0.0)) == [b"new"]

    def test_nothing_is_polled_and_requests_fail(self, kit: Kit, memory: MemoryTransport) -> None:
        topic, listener = kit.topic(), Recorder()
        consumer, reader = kit.member("g", topic, listener), kit.reader(topic)
        consumer.poll(1, 0.0)
        kit.fill(topic, 1, 3)
        memory.outage()
        assert consumer.poll(10, 0.0) == reader.poll(10, 0.0) == []
        for request in (
            kit.admin.describe,
            lambda: kit.admin.lag("g", topic),
            lambda: memory.reader([topic]),
            memory.check,
            lambda: memory.producer().partitions_for(topic),
            lambda: consumer.commit({TopicPartition(topic, 0): 1}, wait=True),
        ):
            with pytest.raises(BrokerError, match="no Kafka broker answers"):
                request()
        memory.restore()
        assert len(consumer.poll(10, 0.0)) == len(reader.poll(10, 0.0)) == 3
        assert listener.events("lost") == []

    def test_a_commit_that_does_not_wait_arrives_afterwards(
        self, kit: Kit, memory: MemoryTransport
    ) -> None:
        topic = kit.topic()
        consumer = kit.member("g", topic, Recorder())
        kit.fill(topic, 1, 3)
        consumer.poll(10, 0.0)
        memory.outage()
        consumer.commit({TopicPartition(topic, 0): 2}, wait=False)
        memory.restore()
        consumer.poll(10, 0.0)
        assert kit.admin.lag("g", topic) == {0: 1}

    def test_one_longer_than_the_session_loses_the_partitions(
        self, kit: Kit, memory: MemoryTransport, clock: Clock
    ) -> None:
        topic, listener = kit.topic(), Recorder()
        consumer = kit.member("g", topic, listener)
        kit.fill(topic, 1, 3)
        assert len(consumer.poll(10, 0.0)) == 3
        memory.outage()
        clock.now += 6
        consumer.poll(10, 0.0)
        assert listener.events("lost") == [{TopicPartition(topic, 0)}]
        memory.restore()
        assert len(consumer.poll(10, 0.0)) == 3
        assert listener.owned == {TopicPartition(topic, 0)}

    def test_close_tells_what_was_not_delivered(self, kit: Kit, memory: MemoryTransport) -> None:
        topic, outcomes = kit.topic(), list[BrokerError | None]()
        producer = memory.producer()
        producer.partitions_for(topic)
        memory.outage()
        producer.send(Record(topic=topic, value=b"x"), outcomes.append)
        assert producer.close(0.0) == 1
        assert [type(outcome) for outcome in outcomes] == [BrokerError]
        memory.restore()
        assert kit.reader(topic).poll(10, 0.0) == []
        with pytest.raises(BrokerError, match="closed"):
            producer.send(Record(topic=topic, value=b"x"))


class TestMembersThatVanish:
    def test_a_crash_frees_the_partitions_after_the_session_timeout(
        self, kit: Kit, memory: MemoryTransport, clock: Clock
    ) -> None:
        topic, a, b = kit.topic(2), Recorder("a"), Recorder("b")
        first, second = kit.member("g", topic, a), kit.member("g", topic, b)
        sent = kit.fill(topic, 2, 3)
        first.poll(100, 0.0)
        first.commit({TopicPartition(topic, 0): 1}, wait=True)
        memory.crash(first)
        clock.now += 5.9
        assert second.poll(100, 0.0) == []
        clock.now += 0.1
        received = poll_until(second, [], 5)
        assert sorted(values(received), key=repr) == sorted(set(sent) - {b"0-0"}, key=repr)
        assert a.events("revoked") == a.events("lost") == []
        with pytest.raises(BrokerError):
            first.poll(1, 0.0)

    def test_a_crash_wakes_a_member_that_waits(self) -> None:
        kit = Kit(memory := MemoryTransport(session_timeout=0.2))
        topic = kit.topic()
        kit.fill(topic, 1, 1)
        first, second = kit.member("g", topic, Recorder()), kit.member("g", topic, Recorder())
        assert len(first.poll(1, 0.0)) == 1
        memory.crash(first)
        assert len(second.poll(1, 30.0)) == 1
        kit.close()

    def test_an_expelled_member_is_told_and_its_commits_are_refused(
        self, kit: Kit, memory: MemoryTransport
    ) -> None:
        topic, a, b = kit.topic(), Recorder("a"), Recorder("b")
        first, second = kit.member("g", topic, a), kit.member("g", topic, b)
        kit.fill(topic, 1, 2)
        first.poll(100, 0.0)
        memory.expel(first)
        assert len(second.poll(100, 0.0)) == 2
        with pytest.raises(BrokerError, match="not the owner"):
            first.commit({TopicPartition(topic, 0): 2}, wait=True)
        first.commit({TopicPartition(topic, 0): 2}, wait=False)
        assert kit.admin.lag("g", topic) == {0: 2}
        assert first.poll(100, 0.0) == []
        assert a.events("lost") == [{TopicPartition(topic, 0)}]
        assert a.owned == set()

    def test_a_member_that_does_not_poll_is_removed(self, kit: Kit, clock: Clock) -> None:
        topic, a = kit.topic(), Recorder("a")
        first, second = kit.member("g", topic, a), kit.member("g", topic, Recorder("b"))
        kit.fill(topic, 1, 1)
        first.poll(1, 0.0)
        clock.now += 299
        assert second.poll(1, 0.0) == []
        clock.now += 1
        assert len(second.poll(1, 0.0)) == 1
        first.poll(1, 0.0)
        assert len(a.events("lost")) == 1

    def test_one_that_closes_in_an_outage_is_missed_only_later(
        self, kit: Kit, memory: MemoryTransport, clock: Clock
    ) -> None:
        topic, a, b = kit.topic(), Recorder("a"), Recorder("b")
        first, second = kit.member("g", topic, a), kit.member("g", topic, b)
        first.poll(1, 0.0)
        memory.outage()
        first.close()
        assert len(a.events("revoked")) == 1
        memory.restore()
        second.poll(1, 0.0)
        assert not b.owned
        clock.now += 6
        second.poll(1, 0.0)
        assert b.owned

    def test_only_members_of_a_memory_transport_can_crash(self, memory: MemoryTransport) -> None:
        with pytest.raises(TypeError, match="not a consumer"):
            memory.crash(object())  # type: ignore[arg-type] # the fault under test
