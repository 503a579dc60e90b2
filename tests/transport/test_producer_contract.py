"""What every transport's producers do."""

from __future__ import annotations

import time

import pytest

from dataflow.errors import BrokerError, RecordTooLargeError
from dataflow.transport import Record, TopicPartition
from dataflow.transport.partitioning import partition_for_key
from tests.transport.kit import Kit, poll_until, until, values


def test_records_of_a_partition_keep_their_order(kit: Kit) -> None:
    topic = kit.topic(2)
    sent = kit.fill(topic, partitions=2, each=150)
    received = poll_until(kit.reader(topic), [], len(sent))
    for partition in (0, 1):
        mine = [record for record in received if record.partition == partition]
        assert [record.offset for record in mine] == list(range(150))
        assert values(mine) == [value for value in sent if value.startswith(b"%d-" % partition)]


@pytest.mark.parametrize("value", [None, b"", b"text", bytes(range(256)), b"\xff\xd8" * 50_000])
def test_a_record_arrives_as_it_was_sent(kit: Kit, value: bytes | None) -> None:
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


def test_key_and_headers_may_be_absent(kit: Kit) -> None:
    topic = kit.topic()
    kit.send(Record(topic=topic, value=b"v"))
    (got,) = poll_until(kit.reader(topic), [], 1)
    assert got.key is None
    assert list(got.headers) == []


def test_an_explicit_partition_beats_the_key(kit: Kit) -> None:
    topic = kit.topic(5)
    kit.send(*(Record(topic=topic, value=b"", key=b"same", partition=at) for at in (4, 0, 2, 3, 1)))
    received = poll_until(kit.reader(topic), [], 5)
    assert sorted(record.partition for record in received) == [0, 1, 2, 3, 4]


def test_a_key_lies_where_kafkas_java_clients_put_it(kit: Kit) -> None:
    topic = kit.topic(7)
    keys = [b"", *(b"camera-%d" % n for n in range(40)), "café".encode(), bytes(range(33))]
    kit.send(*(Record(topic=topic, value=b"", key=key) for key in keys))
    received = poll_until(kit.reader(topic), [], len(keys))
    assert {record.key: record.partition for record in received} == {
        key: partition_for_key(key, 7) for key in keys
    }


def test_records_without_a_key_are_delivered(kit: Kit) -> None:
    topic = kit.topic(3)
    kit.send(*(Record(topic=topic, value=b"%d" % n) for n in range(30)))
    received = poll_until(kit.reader(topic), [], 30)
    assert sorted(values(received), key=repr) == sorted((b"%d" % n for n in range(30)), key=repr)


def test_each_callback_runs_once_and_only_from_poll_or_flush(kit: Kit) -> None:
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


def test_how_long_the_broker_took_is_told_before_the_delivery(kit: Kit) -> None:
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


def test_how_long_a_failed_delivery_took_is_not_told(kit: Kit) -> None:
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


def test_a_callback_may_send(kit: Kit) -> None:
    topic = kit.topic()
    kit.producer.send(
        Record(topic=topic, value=b"first"),
        lambda _: kit.producer.send(Record(topic=topic, value=b"second")),
    )
    until(lambda: kit.producer.flush(1.0) == 0)
    assert values(poll_until(kit.reader(topic), [], 2)) == [b"first", b"second"]


def test_close_delivers_what_is_open_and_counts_nothing(kit: Kit) -> None:
    topic = kit.topic()
    producer = kit.transport.producer()
    outcomes: list[BrokerError | None] = []
    for number in range(20):
        producer.send(Record(topic=topic, value=b"%d" % number), outcomes.append)
    assert producer.close() == 0
    assert outcomes == [None] * 20
    assert len(poll_until(kit.reader(topic), [], 20)) == 20


def test_a_record_above_the_topics_limit_fails_once(kit: Kit) -> None:
    topic = kit.topic(configs={"max.message.bytes": "2000"})
    kit.send(Record(topic=topic, value=b"x" * 1800))
    assert type(_failure(kit, Record(topic=topic, value=b"x" * 2001))) is RecordTooLargeError
    kit.send(Record(topic=topic, value=b"after"))
    assert values(poll_until(kit.reader(topic), [], 2))[1:] == [b"after"]


def test_a_record_for_an_unknown_topic_fails_once_with_a_remedy(kit: Kit) -> None:
    failure = _failure(kit, Record(topic=kit.name(), value=b"x"))
    assert "videojam topics apply" in str(failure)


@pytest.mark.parametrize("partition", [-1, 2])
def test_a_record_for_an_unknown_partition_fails_once(kit: Kit, partition: int) -> None:
    _failure(kit, Record(topic=kit.topic(2), value=b"x", partition=partition))


def test_partitions_for(kit: Kit) -> None:
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
