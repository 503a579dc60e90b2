"""What every transport's readers do."""

from __future__ import annotations

import pytest

from dataflow.errors import BrokerError
from dataflow.transport import Received
from dataflow.transport.base import Start
from tests.transport.kit import Kit, drain, poll_until, until, values


def test_it_reads_all_partitions_of_all_topics_from_the_earliest(kit: Kit) -> None:
    one, two = kit.topic(3), kit.topic(1)
    sent = kit.fill(one, 3, 10, "one-") + kit.fill(two, 1, 10, "two-")
    received = poll_until(kit.reader(one, two), [], len(sent))
    assert sorted(values(received), key=repr) == sorted(sent, key=repr)


def test_latest_begins_with_what_is_sent_after_it_was_opened(kit: Kit) -> None:
    topic = kit.topic(2)
    kit.fill(topic, 2, 5, "old-")
    reader = kit.reader(topic, start="latest")
    sent = kit.fill(topic, 2, 5, "new-")
    received = poll_until(reader, [], len(sent))
    assert sorted(values(received), key=repr) == sorted(sent, key=repr)


def test_named_partitions_only(kit: Kit) -> None:
    topic = kit.topic(4)
    kit.fill(topic, 4, 5)
    reader, received = kit.reader(topic, partitions=[1, 3]), list[Received]()
    until(reader.caught_up, drain(reader, received))
    assert sorted({record.partition for record in received}) == [1, 3]
    assert len(received) == 10


@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_an_empty_topic_is_caught_up_with(kit: Kit, start: Start) -> None:
    reader, received = kit.reader(kit.topic(2), start=start), list[Received]()
    until(reader.caught_up, drain(reader, received))
    assert received == []


def test_it_has_caught_up_when_all_that_was_there_is_polled(kit: Kit) -> None:
    topic = kit.topic(2)
    kit.fill(topic, 2, 40)
    reader, received = kit.reader(topic), list[Received]()
    assert not reader.caught_up()
    until(reader.caught_up, lambda: received.extend(reader.poll(7, 0.1)))
    assert len(received) == 80
    kit.fill(topic, 2, 1)
    assert reader.caught_up()
    poll_until(reader, received, 82)


def test_latest_has_caught_up_with_what_it_skips(kit: Kit) -> None:
    topic = kit.topic()
    kit.fill(topic, 1, 5)
    reader, received = kit.reader(topic, start="latest"), list[Received]()
    until(reader.caught_up, drain(reader, received))
    assert received == []


def test_readers_do_not_share(kit: Kit) -> None:
    topic = kit.topic()
    sent = kit.fill(topic, 1, 5)
    for _ in range(2):
        assert values(poll_until(kit.reader(topic), [], 5)) == sent


def test_an_unknown_topic_is_an_error(kit: Kit) -> None:
    with pytest.raises(BrokerError, match="videojam topics apply"):
        kit.transport.reader([kit.name()])
