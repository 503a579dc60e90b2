"""The contract of `dataflow.transport.base`, on the memory and on a real Apache Kafka."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator

import pytest

from dataflow.config.topics import TopicSpec
from dataflow.errors import BrokerError, FencedError, RecordTooLargeError
from dataflow.transport import Received, Record, TopicPartition, Transport
from dataflow.transport.base import Start
from dataflow.transport.kafka import KafkaTransport
from dataflow.transport.memory import MemoryTransport
from dataflow.transport.partitioning import partition_for_key
from tests.transport.kit import Event, Kit, Recorder, drain, poll_until, until

_SESSION_SECONDS = 3.0
"""Short, because a real group learns of a change with the heartbeat, a third of it."""


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.broker)])
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    with _open(request, poll_seconds=300.0) as transport:
        yield transport


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.broker)])
def impatient(request: pytest.FixtureRequest) -> Iterator[Transport]:
    """One that removes a member as soon as it has not polled for a session's length."""
    with _open(request, poll_seconds=_SESSION_SECONDS) as transport:
        yield transport


def _open(request: pytest.FixtureRequest, *, poll_seconds: float) -> Transport:
    if request.param == "memory":
        return MemoryTransport(session_timeout=_SESSION_SECONDS, max_poll_interval=poll_seconds)
    return KafkaTransport(
        bootstrap_servers=request.getfixturevalue("kafka").bootstrap_servers,
        session_timeout=_SESSION_SECONDS,
        max_poll_interval=poll_seconds,
    )


@pytest.fixture
def kit(transport: Transport) -> Iterator[Kit]:
    kit = Kit(transport)
    yield kit
    kit.close()


def values(received: Collection[Received]) -> list[bytes | None]:
    return [record.value for record in received]


class TestProducer:
    def test_records_of_a_partition_keep_their_order(self, kit: Kit) -> None:
        topic = kit.topic(2)
        sent = kit.fill(topic, partitions=2, each=150)
        received = poll_until(kit.reader(topic), [], len(sent))
        for partition in (0, 1):
            mine = [record for record in received if record.partition == partition]
            assert [record.offset for record in mine] == list(range(150))
            assert values(mine) == [value for value in sent if value.startswith(b"%d-" % partition)]

    @pytest.mark.parametrize("value", [None, b"", b"text", bytes(range(256)), b"\xff\xd8" * 50_000])
    def test_a_record_arrives_as_it_was_sent(self, kit: Kit, value: bytes | None) -> None:
        topic = kit.topic()
        headers = [("ce_id", b"a/b/1"), ("raw", b"\x00\xff\xfe"), ("empty", b""), ("ce_id", b"2")]
        before = int(time.time() * 1000)
        kit.send(Record(topic=topic, value=value, key=b"k\x00\xff", headers=headers))
        (got,) = poll_until(kit.reader(topic), [], 1)
        assert got.value == value
        assert got.key == b"k\x00\xff"
        assert list(got.headers) == headers
        assert got.topic_partition == TopicPartition(topic, 0)
        assert before <= got.timestamp_ms <= int(time.time() * 1000)

    def test_key_and_headers_may_be_absent(self, kit: Kit) -> None:
        topic = kit.topic()
        kit.send(Record(topic=topic, value=b"v"))
        (got,) = poll_until(kit.reader(topic), [], 1)
        assert got.key is None
        assert list(got.headers) == []

    def test_an_explicit_partition_beats_the_key(self, kit: Kit) -> None:
        topic = kit.topic(5)
        kit.send(
            *(Record(topic=topic, value=b"", key=b"same", partition=at) for at in (4, 0, 2, 3, 1))
        )
        received = poll_until(kit.reader(topic), [], 5)
        assert sorted(record.partition for record in received) == [0, 1, 2, 3, 4]

    def test_a_key_lies_where_kafkas_java_clients_put_it(self, kit: Kit) -> None:
        topic = kit.topic(7)
        keys = [b"", *(b"camera-%d" % n for n in range(40)), "café".encode(), bytes(range(33))]
        kit.send(*(Record(topic=topic, value=b"", key=key) for key in keys))
        received = poll_until(kit.reader(topic), [], len(keys))
        assert {record.key: record.partition for record in received} == {
            key: partition_for_key(key, 7) for key in keys
        }

    def test_records_without_a_key_are_delivered(self, kit: Kit) -> None:
        topic = kit.topic(3)
        kit.send(*(Record(topic=topic, value=b"%d" % n) for n in range(30)))
        received = poll_until(kit.reader(topic), [], 30)
        assert sorted(values(received), key=repr) == sorted(
            (b"%d" % n for n in range(30)), key=repr
        )

    def test_each_callback_runs_once_and_only_from_poll_or_flush(self, kit: Kit) -> None:
        topic = kit.topic()
        calls: list[int] = []
        for number in range(50):
            kit.producer.send(
                Record(topic=topic, value=b"x"),
                lambda error, number=number: calls.append(-1 if error else number),  # type: ignore[misc] # mypy does not infer lambdas with defaults
            )
            assert calls == []
        until(lambda: len(calls) == 50, lambda: kit.producer.poll(1.0))
        assert calls == list(range(50))
        assert kit.producer.flush(5.0) == 0
        assert kit.producer.poll(0.0) == 0
        assert len(calls) == 50

    def test_how_long_the_broker_took_is_told_before_the_delivery(self, kit: Kit) -> None:
        topic = kit.topic()
        said: list[float | str] = []
        began = time.monotonic()
        kit.producer.send(
            Record(topic=topic, value=b"x"),
            lambda error: said.append(repr(error)),
            on_latency=said.append,
        )
        reader = kit.reader(topic)
        poll_until(reader, [], 1)  # the broker has it
        until(lambda: len(said) == 2, lambda: kit.producer.poll(1.0))
        took, outcome = said
        assert outcome == "None"
        assert isinstance(took, float)
        assert 0 <= took <= time.monotonic() - began

    def test_how_long_a_failed_delivery_took_is_not_told(self, kit: Kit) -> None:
        topic = kit.topic(configs={"max.message.bytes": "2000"})
        took: list[float] = []
        errors: list[object] = []
        record = Record(topic=topic, value=b"x" * 2001)
        try:
            kit.producer.send(record, errors.append, on_latency=took.append)
        except RecordTooLargeError as error:
            errors.append(error)
        until(lambda: len(errors) == 1, lambda: kit.producer.poll(1.0))
        assert isinstance(errors[0], RecordTooLargeError)
        assert took == []

    def test_a_callback_may_send(self, kit: Kit) -> None:
        topic = kit.topic()
        kit.producer.send(
            Record(topic=topic, value=b"first"),
            lambda _: kit.producer.send(Record(topic=topic, value=b"second")),
        )
        until(lambda: kit.producer.flush(1.0) == 0)
        assert values(poll_until(kit.reader(topic), [], 2)) == [b"first", b"second"]

    def test_close_delivers_what_is_open_and_counts_nothing(self, kit: Kit) -> None:
        topic = kit.topic()
        producer = kit.transport.producer()
        outcomes: list[BrokerError | None] = []
        for number in range(20):
            producer.send(Record(topic=topic, value=b"%d" % number), outcomes.append)
        assert producer.close() == 0
        assert outcomes == [None] * 20
        assert len(poll_until(kit.reader(topic), [], 20)) == 20

    def test_a_record_above_the_topics_limit_fails_once(self, kit: Kit) -> None:
        topic = kit.topic(configs={"max.message.bytes": "2000"})
        kit.send(Record(topic=topic, value=b"x" * 1800))
        assert type(_failure(kit, Record(topic=topic, value=b"x" * 2001))) is RecordTooLargeError
        kit.send(Record(topic=topic, value=b"after"))
        assert values(poll_until(kit.reader(topic), [], 2))[1:] == [b"after"]

    def test_a_record_for_an_unknown_topic_fails_once_with_a_remedy(self, kit: Kit) -> None:
        failure = _failure(kit, Record(topic=kit.name(), value=b"x"))
        assert "videojam topics apply" in str(failure)

    @pytest.mark.parametrize("partition", [-1, 2])
    def test_a_record_for_an_unknown_partition_fails_once(self, kit: Kit, partition: int) -> None:
        _failure(kit, Record(topic=kit.topic(2), value=b"x", partition=partition))

    def test_partitions_for(self, kit: Kit) -> None:
        assert kit.producer.partitions_for(kit.topic(6)) == 6
        with pytest.raises(BrokerError, match="videojam topics apply"):
            kit.producer.partitions_for(kit.name())


def _failure(kit: Kit, record: Record) -> BrokerError:
    """The one error that sending ``record`` gives, raised or reported."""
    errors: list[BrokerError | None] = []
    try:
        kit.producer.send(record, errors.append)
    except BrokerError as error:
        errors.append(error)
    until(lambda: kit.producer.flush(1.0) == 0)
    (failure,) = errors
    assert failure is not None
    return failure


class TestGroup:
    def test_a_lone_member_has_all_partitions_and_reads_from_the_beginning(self, kit: Kit) -> None:
        topic, listener = kit.topic(3), Recorder()
        sent = kit.fill(topic, partitions=3, each=20)
        received = poll_until(kit.member(kit.name(), topic, listener), [], len(sent))
        assert sorted(values(received), key=repr) == sorted(sent, key=repr)
        assert listener.owned == {TopicPartition(topic, number) for number in range(3)}
        assert listener.events("revoked") == listener.events("lost") == []

    def test_poll_returns_no_more_than_asked_for(self, kit: Kit) -> None:
        topic = kit.topic()
        kit.fill(topic, partitions=1, each=20)
        consumer = kit.member(kit.name(), topic, Recorder())
        sizes: list[int] = []
        until(lambda: sum(sizes) == 20, lambda: sizes.append(len(consumer.poll(3, 0.2))))
        assert max(sizes) <= 3

    def test_members_share_the_partitions_and_each_record_goes_to_one(self, kit: Kit) -> None:
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

    def test_only_partitions_that_move_are_revoked_before_they_are_assigned(self, kit: Kit) -> None:
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

    def test_members_above_the_partitions_wait_for_their_turn(self, kit: Kit) -> None:
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

    def test_the_group_resumes_at_the_committed_offsets(self, kit: Kit) -> None:
        topic, group = kit.topic(2), kit.name()
        kit.fill(topic, partitions=2, each=10)
        consumer = kit.member(group, topic, Recorder())
        poll_until(consumer, [], 20)
        consumer.commit({TopicPartition(topic, 0): 4, TopicPartition(topic, 1): 10}, wait=True)
        consumer.close()
        received = poll_until(kit.member(group, topic, Recorder()), [], 6)
        assert values(received) == [b"0-%d" % number for number in range(4, 10)]

    def test_what_is_not_committed_is_delivered_again(self, kit: Kit) -> None:
        topic, group = kit.topic(), kit.name()
        sent = kit.fill(topic, partitions=1, each=5)
        consumer = kit.member(group, topic, Recorder())
        assert values(poll_until(consumer, [], 5)) == sent
        consumer.close()
        assert values(poll_until(kit.member(group, topic, Recorder()), [], 5)) == sent

    def test_a_commit_without_waiting_arrives(self, kit: Kit) -> None:
        topic, group = kit.topic(), kit.name()
        kit.fill(topic, partitions=1, each=5)
        consumer = kit.member(group, topic, Recorder())
        poll_until(consumer, [], 5)
        consumer.commit({TopicPartition(topic, 0): 5}, wait=False)
        until(lambda: kit.admin.lag(group, topic) == {0: 0}, drain(consumer, []))

    def test_offsets_can_be_committed_while_partitions_are_revoked(self, kit: Kit) -> None:
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

    def test_a_group_does_not_touch_another_groups_offsets(self, kit: Kit) -> None:
        topic, group = kit.topic(), kit.name()
        sent = kit.fill(topic, partitions=1, each=3)
        consumer = kit.member(group, topic, Recorder())
        poll_until(consumer, [], 3)
        consumer.commit({TopicPartition(topic, 0): 3}, wait=True)
        assert values(poll_until(kit.member(kit.name(), topic, Recorder()), [], 3)) == sent

    def test_paused_partitions_wait_and_lose_nothing(self, kit: Kit) -> None:
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

    def test_a_partition_paused_in_the_middle_goes_on_where_it_was(self, kit: Kit) -> None:
        topic, received = kit.topic(), list[Received]()
        sent = kit.fill(topic, partitions=1, each=30)
        consumer = kit.member(kit.name(), topic, Recorder())
        until(lambda: received, lambda: received.extend(consumer.poll(7, 0.2)))
        consumer.pause([TopicPartition(topic, 0)])
        assert consumer.poll(100, 0.3) == []
        consumer.resume([TopicPartition(topic, 0)])
        assert values(poll_until(consumer, received, 30)) == sent

    def test_a_member_that_does_not_poll_yet_holds_nobody_up(self, kit: Kit) -> None:
        topic, group, listener = kit.topic(4), kit.name(), Recorder()
        consumer, idle = kit.member(group, topic, listener), kit.member(group, topic, Recorder())
        until(lambda: len(listener.owned) == 4, drain(consumer, []))
        idle.close()

    def test_a_closed_member_cannot_commit_and_closes_once(self, kit: Kit) -> None:
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

    def test_an_unknown_topic_is_an_error(self, kit: Kit) -> None:
        consumer = kit.member(kit.name(), kit.name(), Recorder())
        with pytest.raises(BrokerError, match="videojam topics apply"):
            until(lambda: False, lambda: consumer.poll(1, 0.5))


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


class _CommitsOnRevoke(Recorder):
    committed = False

    def __init__(self) -> None:
        super().__init__()
        self.commit: Callable[[], None] = lambda: None

    def on_revoked(self, partitions: Collection[TopicPartition]) -> None:
        self.commit()
        self.committed = True
        super().on_revoked(partitions)


class TestReader:
    def test_it_reads_all_partitions_of_all_topics_from_the_earliest(self, kit: Kit) -> None:
        one, two = kit.topic(3), kit.topic(1)
        sent = kit.fill(one, 3, 10, "one-") + kit.fill(two, 1, 10, "two-")
        received = poll_until(kit.reader(one, two), [], len(sent))
        assert sorted(values(received), key=repr) == sorted(sent, key=repr)

    def test_latest_begins_with_what_is_sent_after_it_was_opened(self, kit: Kit) -> None:
        topic = kit.topic(2)
        kit.fill(topic, 2, 5, "old-")
        reader = kit.reader(topic, start="latest")
        sent = kit.fill(topic, 2, 5, "new-")
        received = poll_until(reader, [], len(sent))
        assert sorted(values(received), key=repr) == sorted(sent, key=repr)

    def test_named_partitions_only(self, kit: Kit) -> None:
        topic = kit.topic(4)
        kit.fill(topic, 4, 5)
        reader, received = kit.reader(topic, partitions=[1, 3]), list[Received]()
        until(reader.caught_up, drain(reader, received))
        assert sorted({record.partition for record in received}) == [1, 3]
        assert len(received) == 10

    @pytest.mark.parametrize("start", ["earliest", "latest"])
    def test_an_empty_topic_is_caught_up_with(self, kit: Kit, start: Start) -> None:
        reader, received = kit.reader(kit.topic(2), start=start), list[Received]()
        until(reader.caught_up, drain(reader, received))
        assert received == []

    def test_it_has_caught_up_when_all_that_was_there_is_polled(self, kit: Kit) -> None:
        topic = kit.topic(2)
        kit.fill(topic, 2, 40)
        reader, received = kit.reader(topic), list[Received]()
        assert not reader.caught_up()
        until(reader.caught_up, lambda: received.extend(reader.poll(7, 0.1)))
        assert len(received) == 80
        kit.fill(topic, 2, 1)
        assert reader.caught_up()
        poll_until(reader, received, 82)

    def test_latest_has_caught_up_with_what_it_skips(self, kit: Kit) -> None:
        topic = kit.topic()
        kit.fill(topic, 1, 5)
        reader, received = kit.reader(topic, start="latest"), list[Received]()
        until(reader.caught_up, drain(reader, received))
        assert received == []

    def test_readers_do_not_share(self, kit: Kit) -> None:
        topic = kit.topic()
        sent = kit.fill(topic, 1, 5)
        for _ in range(2):
            assert values(poll_until(kit.reader(topic), [], 5)) == sent

    def test_an_unknown_topic_is_an_error(self, kit: Kit) -> None:
        with pytest.raises(BrokerError, match="videojam topics apply"):
            kit.transport.reader([kit.name()])


class TestAdmin:
    def test_a_created_topic_is_described(self, kit: Kit) -> None:
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

    def test_a_prefix_selects(self, kit: Kit) -> None:
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
    def test_a_topic_that_cannot_be_is_refused(self, kit: Kit, spec: TopicSpec) -> None:
        with pytest.raises(BrokerError):
            kit.admin.create(spec)
        assert not spec.name or spec.name not in kit.admin.describe()

    def test_a_topic_is_created_once(self, kit: Kit) -> None:
        topic = kit.topic()
        with pytest.raises(BrokerError, match="exists"):
            kit.admin.create(TopicSpec(name=topic, partitions=1, replication=1))

    def test_partitions_are_added_and_never_removed(self, kit: Kit) -> None:
        topic = kit.topic(2)
        kit.admin.add_partitions(topic, 5)
        assert kit.admin.describe(topic)[topic].partitions == 5
        kit.send(Record(topic=topic, value=b"", partition=4))
        for total in (5, 3):
            with pytest.raises(BrokerError):
                kit.admin.add_partitions(topic, total)
        with pytest.raises(BrokerError):
            kit.admin.add_partitions(kit.name(), 5)

    def test_configs_are_set_one_by_one(self, kit: Kit) -> None:
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

    def test_a_deleted_topic_is_gone(self, kit: Kit) -> None:
        one, two = kit.topic(), kit.topic()
        kit.admin.delete([one])
        assert set(kit.admin.describe(kit.prefix)) == {two}
        with pytest.raises(BrokerError):
            kit.admin.delete([one])
        kit.admin.delete([])

    def test_lag_counts_what_is_not_committed(self, kit: Kit) -> None:
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


class TestAtomicWriter:
    def test_all_records_of_a_write_arrive_in_their_order(self, kit: Kit) -> None:
        first, second = kit.topic(), kit.topic(configs={"cleanup.policy": "compact"})
        writer = kit.transport.writer(kit.name())
        writer.write([Record(topic=first, value=b"%d" % n, key=b"k") for n in range(3)], 30.0)
        writer.write(
            [
                Record(topic=first, value=b"3", headers=[("ce_id", b"x")], partition=0),
                Record(topic=second, value=None, key=b"gone"),
            ],
            30.0,
        )
        writer.close()
        received = poll_until(kit.reader(first), [], 4)
        assert values(received) == [b"0", b"1", b"2", b"3"]
        assert list(received[-1].headers) == [("ce_id", b"x")]
        assert [r.key for r in poll_until(kit.reader(second), [], 1)] == [b"gone"]

    def test_a_reader_catches_up_past_what_was_written_so(self, kit: Kit) -> None:
        topic = kit.topic()
        writer = kit.transport.writer(kit.name())
        writer.write([Record(topic=topic, value=b"1")], 30.0)
        writer.close()
        reader = kit.reader(topic)
        received: list[Received] = []
        until(reader.caught_up, drain(reader, received))
        assert values(received) == [b"1"]

    def test_a_new_writer_of_a_name_shuts_out_the_one_before(self, kit: Kit) -> None:
        topic, name = kit.topic(), kit.name()
        old = kit.transport.writer(name)
        old.write([Record(topic=topic, value=b"old")], 30.0)
        new = kit.transport.writer(name)
        with pytest.raises(FencedError, match="taken over"):
            old.write([Record(topic=topic, value=b"zombie")], 30.0)
        new.write([Record(topic=topic, value=b"new")], 30.0)
        with pytest.raises(FencedError):
            old.write([Record(topic=topic, value=b"zombie")], 30.0)
        old.close()
        new.close()
        assert values(poll_until(kit.reader(topic), [], 2)) == [b"old", b"new"]

    def test_writers_of_other_names_do_not_mind_each_other(self, kit: Kit) -> None:
        topic = kit.topic()
        writers = [kit.transport.writer(kit.name()) for _ in range(2)]
        for writer in writers:
            writer.write([Record(topic=topic, value=b"x")], 30.0)
            writer.close()
        assert len(poll_until(kit.reader(topic), [], 2)) == 2

    def test_nothing_is_written_where_one_record_is_refused(self, kit: Kit) -> None:
        topic = kit.topic()
        small = kit.topic(configs={"max.message.bytes": "2000"})
        writer = kit.transport.writer(kit.name())
        with pytest.raises(RecordTooLargeError):
            writer.write(
                [Record(topic=topic, value=b"a"), Record(topic=small, value=b"x" * 5000)], 30.0
            )
        writer.write([Record(topic=topic, value=b"b")], 30.0)
        writer.close()
        assert values(poll_until(kit.reader(topic), [], 1)) == [b"b"]

    def test_a_record_that_no_cluster_takes_is_refused_at_once(self, kit: Kit) -> None:
        topic = kit.topic()
        writer = kit.transport.writer(kit.name())
        large = Record(topic=topic, value=b"x" * (11 * 1024 * 1024))
        with pytest.raises(RecordTooLargeError, match=topic):
            writer.write([Record(topic=topic, value=b"a"), large], 3600.0)
        writer.write([Record(topic=topic, value=b"b")], 30.0)
        writer.close()
        assert values(poll_until(kit.reader(topic), [], 1)) == [b"b"]

    def test_an_unknown_topic_is_named(self, kit: Kit) -> None:
        topic, unknown = kit.topic(), kit.name()
        writer = kit.transport.writer(kit.name())
        with pytest.raises(BrokerError, match=f"(?s){unknown}.*videojam topics apply"):
            writer.write(
                [Record(topic=topic, value=b"a"), Record(topic=unknown, value=b"a")], 3600.0
            )
        writer.write([Record(topic=topic, value=b"b")], 30.0)
        writer.close()
        assert values(poll_until(kit.reader(topic), [], 1)) == [b"b"]

    @pytest.mark.parametrize("partition", [-1, 2])
    def test_an_unknown_partition_is_named(self, kit: Kit, partition: int) -> None:
        topic = kit.topic(2)
        writer = kit.transport.writer(kit.name())
        with pytest.raises(BrokerError, match=f"{topic}: no partition {partition}, it has 2"):
            writer.write([Record(topic=topic, value=b"a", partition=partition)], 3600.0)
        kit.admin.add_partitions(topic, 3)
        if partition > 0:
            until(lambda: kit.admin.describe(topic)[topic].partitions == 3)
            writer.write([Record(topic=topic, value=b"b", partition=partition)], 30.0)
            assert values(poll_until(kit.reader(topic), [], 1)) == [b"b"]
        writer.close()
