"""What the in-memory transport adds to the contract: faults, cleaning, and an exact clock."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow.config.topics import TopicSpec
from dataflow.errors import BrokerError, BufferFullError
from dataflow.transport import Received, Record, TopicPartition
from dataflow.transport.memory import MemoryTransport
from dataflow.transport.memory.group import assign
from dataflow.transport.partitioning import murmur2, partition_for_key
from tests.transport.kit import Kit, Recorder, poll_until


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(clock: Clock) -> MemoryTransport:
    return MemoryTransport(
        clock=clock, session_timeout=6.0, max_poll_interval=300.0, delivery_timeout=120.0
    )


@pytest.fixture
def kit(memory: MemoryTransport) -> Iterator[Kit]:
    kit = Kit(memory)
    yield kit
    memory.restore()
    kit.close()


def send(kit: Kit, topic: str, value: bytes, outcomes: list[BrokerError | None]) -> None:
    kit.producer.send(Record(topic=topic, value=value), outcomes.append)


def values(received: list[Received]) -> list[bytes | None]:
    return [record.value for record in received]


# Vectors of Kafka's own UtilsTest.testMurmur2, signed as Java prints them.
@pytest.mark.parametrize(
    ("key", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_kafkas(key: bytes, signed: int) -> None:
    assert murmur2(key) == signed % 2**32
    assert partition_for_key(key, 1000) == (signed & 0x7FFFFFFF) % 1000


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


TOPICS = ("a", "b", "c")
subscriptions = st.lists(st.sets(st.sampled_from(TOPICS), min_size=1), max_size=7)
sizes = st.fixed_dictionaries(dict.fromkeys(TOPICS, st.integers(0, 9)))


class TestAssignment:
    @given(subscriptions, sizes)
    def test_each_wanted_partition_lies_with_exactly_one_subscriber(
        self, members: list[set[str]], partitions: dict[str, int]
    ) -> None:
        shares = assign([(topics, ()) for topics in members], partitions)
        wanted = set[str]().union(*members)
        assert sorted(tp for share in shares for tp in share) == [
            TopicPartition(topic, number)
            for topic in TOPICS
            if topic in wanted
            for number in range(partitions[topic])
        ]
        assert all(
            tp.topic in topics
            for topics, share in zip(members, shares, strict=True)
            for tp in share
        )

    @given(st.integers(1, 8), sizes)
    def test_equal_members_get_equal_shares(self, members: int, partitions: dict[str, int]) -> None:
        counts = [len(share) for share in assign([(TOPICS, ())] * members, partitions)]
        assert max(counts) - min(counts) <= 1

    @given(st.integers(1, 8), sizes)
    def test_nothing_moves_without_a_reason(self, members: int, partitions: dict[str, int]) -> None:
        before = assign([(TOPICS, ())] * members, partitions)
        assert assign([(TOPICS, share) for share in before], partitions) == before

    @given(st.integers(1, 8), sizes)
    def test_a_newcomer_takes_its_share_and_nothing_else_moves(
        self, members: int, partitions: dict[str, int]
    ) -> None:
        before = assign([(TOPICS, ())] * members, partitions)
        after = assign([*((TOPICS, share) for share in before), (TOPICS, ())], partitions)
        for old, new in zip(before, after, strict=False):
            assert new <= old
        assert len(after[-1]) == sum(partitions.values()) // (members + 1)

    @given(st.integers(2, 8), sizes)
    def test_a_leavers_share_is_dealt_out_and_nothing_else_moves(
        self, members: int, partitions: dict[str, int]
    ) -> None:
        before = assign([(TOPICS, ())] * members, partitions)
        after = assign([(TOPICS, share) for share in before[1:]], partitions)
        assert all(old <= new for old, new in zip(before[1:], after, strict=True))
