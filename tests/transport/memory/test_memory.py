"""What the in-memory transport adds to the contract: limits, cleaning, and an exact clock."""

from __future__ import annotations

import threading

import pytest

from dataflow.config.topics import TopicSpec
from dataflow.errors import BrokerError, BufferFullError
from dataflow.transport import Record, TopicPartition
from dataflow.transport.memory import MemoryTransport
from tests.transport.kit import Kit, Recorder, poll_until, values
from tests.transport.memory.conftest import Clock, send


class TestProducer:
    def test_deliveries_fail_as_often_as_asked_for(self, kit: Kit, memory: MemoryTransport) -> None:
        topic, outcomes = kit.topic(), list[BrokerError | None]()
        memory.fail_deliveries(topic, 2)
        for number in range(4):
            send(kit, topic, b"%d" % number, outcomes)
        kit.producer.flush(0.0)
        assert [outcome is None for outcome in outcomes] == [False, False, True, True]
        assert values(kit.reader(topic).poll(10, 0.0)) == [b"2", b"3"]

    def test_the_local_buffer_is_limited_until_callbacks_have_run(self, clock: Clock) -> None:
        kit = Kit(MemoryTransport(clock=clock, buffer_records=3, buffer_bytes=1000))
        topic, outcomes = kit.topic(), list[BrokerError | None]()
        for _ in range(3):
            send(kit, topic, b"", outcomes)
        with pytest.raises(BufferFullError):
            send(kit, topic, b"", outcomes)
        assert kit.producer.poll() == 3
        send(kit, topic, b"x" * 800, outcomes)
        with pytest.raises(BufferFullError):
            send(kit, topic, b"x" * 800, outcomes)
        kit.close()
        assert outcomes == [None] * 4

    def test_a_callback_that_raises_is_still_counted_as_done(self, kit: Kit) -> None:
        def fail(_: BrokerError | None) -> None:
            raise RuntimeError("the application's own fault")

        kit.producer.send(Record(topic=kit.topic(), value=b""), fail)
        with pytest.raises(RuntimeError):
            kit.producer.poll()
        assert kit.producer.flush(0.0) == 0

    def test_a_compacted_topic_wants_keys(self, kit: Kit) -> None:
        outcomes: list[BrokerError | None] = []
        send(kit, kit.topic(configs={"cleanup.policy": "compact"}), b"", outcomes)
        kit.producer.flush(0.0)
        assert "needs a key" in str(outcomes)

    def test_threads_may_share_it(self, kit: Kit) -> None:
        topic, outcomes = kit.topic(3), list[BrokerError | None]()

        def work() -> None:
            for _ in range(200):
                send(kit, topic, b"x", outcomes)
                kit.producer.poll()

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert kit.producer.flush(5.0) == 0
        assert outcomes == [None] * 800
        assert len(kit.reader(topic).poll(1000, 0.0)) == 800


class TestTopicsThatChange:
    def test_compaction_keeps_the_last_of_each_key(
        self, kit: Kit, memory: MemoryTransport, clock: Clock
    ) -> None:
        topic = kit.topic(configs={"cleanup.policy": "compact", "delete.retention.ms": "1000"})
        early = kit.reader(topic)
        for key, value in [(b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (b"b", None), (b"c", b"1")]:
            kit.send(Record(topic=topic, key=key, value=value))
        memory.clean(topic)
        records = kit.reader(topic).poll(10, 0.0)
        assert [(r.offset, r.key, r.value) for r in records] == [
            (2, b"a", b"2"),
            (3, b"b", None),
            (4, b"c", b"1"),
        ]
        clock.now += 1
        memory.clean(topic)
        reader = kit.reader(topic)
        assert [r.offset for r in reader.poll(10, 0.0)] == [2, 4]
        assert reader.caught_up()
        assert [r.offset for r in early.poll(10, 0.0)] == [2, 4]

    def test_a_reader_is_caught_up_with_what_cleaning_took(
        self, kit: Kit, memory: MemoryTransport, clock: Clock
    ) -> None:
        topic = kit.topic(configs={"cleanup.policy": "compact", "delete.retention.ms": "0"})
        kit.send(Record(topic=topic, key=b"a", value=None))
        reader = kit.reader(topic)
        assert not reader.caught_up()
        clock.now += 1
        memory.clean(topic)
        assert reader.caught_up()

    def test_retention_deletes_by_age_and_size(
        self, kit: Kit, memory: MemoryTransport, clock: Clock
    ) -> None:
        topic = kit.topic(configs={"retention.ms": "1000", "retention.bytes": "20"})
        consumer = kit.member("g", topic, Recorder())
        consumer.poll(1, 0.0)
        kit.send(Record(topic=topic, value=b"old"))
        clock.now += 1.1
        kit.send(*(Record(topic=topic, value=b"%d" % n * 10) for n in range(3)))
        memory.clean(topic)
        assert [record.offset for record in consumer.poll(10, 0.0)] == [2, 3]
        assert kit.admin.lag("h", topic) == {0: 2}

    def test_added_partitions_are_assigned(self, kit: Kit) -> None:
        topic, listener = kit.topic(1), Recorder()
        consumer = kit.member("g", topic, listener)
        consumer.poll(1, 0.0)
        kit.admin.add_partitions(topic, 3)
        consumer.poll(1, 0.0)
        assert listener.events("assigned") == [
            {TopicPartition(topic, 0)},
            {TopicPartition(topic, 1), TopicPartition(topic, 2)},
        ]

    def test_a_topic_made_anew_is_read_from_its_beginning(self, kit: Kit) -> None:
        topic = kit.topic()
        consumer = kit.member("g", topic, Recorder())
        kit.fill(topic, 1, 5)
        consumer.poll(10, 0.0)
        consumer.commit({TopicPartition(topic, 0): 5}, wait=True)
        kit.admin.delete([topic])
        with pytest.raises(BrokerError, match="no topic"):
            consumer.poll(10, 0.0)
        kit.admin.create(TopicSpec(name=topic, partitions=1, replication=1))
        assert kit.admin.lag("g", topic) == {0: 0}
        sent = kit.fill(topic, 1, 2)
        assert values(poll_until(consumer, [], 2)) == sent
