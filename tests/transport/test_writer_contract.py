"""What every transport's atomic writers do."""

from __future__ import annotations

import pytest

from dataflow.errors import BrokerError, FencedError, RecordTooLargeError
from dataflow.transport import Received, Record
from tests.transport.kit import Kit, drain, poll_until, until, values


def test_all_records_of_a_write_arrive_in_their_order(kit: Kit) -> None:
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


def test_a_reader_catches_up_past_what_was_written_so(kit: Kit) -> None:
    topic = kit.topic()
    writer = kit.transport.writer(kit.name())
    writer.write([Record(topic=topic, value=b"1")], 30.0)
    writer.close()
    reader = kit.reader(topic)
    received: list[Received] = []
    until(reader.caught_up, drain(reader, received))
    assert values(received) == [b"1"]


def test_a_new_writer_of_a_name_shuts_out_the_one_before(kit: Kit) -> None:
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


def test_writers_of_other_names_do_not_mind_each_other(kit: Kit) -> None:
    topic = kit.topic()
    writers = [kit.transport.writer(kit.name()) for _ in range(2)]
    for writer in writers:
        writer.write([Record(topic=topic, value=b"x")], 30.0)
        writer.close()
    assert len(poll_until(kit.reader(topic), [], 2)) == 2


def test_nothing_is_written_where_one_record_is_refused(kit: Kit) -> None:
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


def test_a_record_that_no_cluster_takes_is_refused_at_once(kit: Kit) -> None:
    topic = kit.topic()
    writer = kit.transport.writer(kit.name())
    large = Record(topic=topic, value=b"x" * (11 * 1024 * 1024))
    with pytest.raises(RecordTooLargeError, match=topic):
        writer.write([Record(topic=topic, value=b"a"), large], 3600.0)
    writer.write([Record(topic=topic, value=b"b")], 30.0)
    writer.close()
    assert values(poll_until(kit.reader(topic), [], 1)) == [b"b"]


def test_an_unknown_topic_is_named(kit: Kit) -> None:
    topic, unknown = kit.topic(), kit.name()
    writer = kit.transport.writer(kit.name())
    with pytest.raises(BrokerError, match=f"(?s){unknown}.*videojam topics apply"):
        writer.write([Record(topic=topic, value=b"a"), Record(topic=unknown, value=b"a")], 3600.0)
    writer.write([Record(topic=topic, value=b"b")], 30.0)
    writer.close()
    assert values(poll_until(kit.reader(topic), [], 1)) == [b"b"]


@pytest.mark.parametrize("partition", [-1, 2])
def test_an_unknown_partition_is_named(kit: Kit, partition: int) -> None:
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
