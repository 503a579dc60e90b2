"""What the transport tests share: a listener that notes events, and a helper to drive members."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Callable, Collection, Mapping

from dataflow.config.topics import TopicSpec
from dataflow.errors import BrokerError
from dataflow.transport import (
    GroupConsumer,
    Reader,
    Received,
    Record,
    TopicPartition,
    Transport,
)
from dataflow.transport.base import Start

Event = tuple[str, str, frozenset[TopicPartition]]
"""Whose, what (assigned, revoked, lost) and which."""


class Recorder:
    """Notes the rebalance events of one member in a journal shared by all."""

    def __init__(self, name: str = "", journal: list[Event] | None = None) -> None:
        self.name = name
        self.journal: list[Event] = [] if journal is None else journal
        self.owned: set[TopicPartition] = set()

    def on_assigned(self, partitions: Collection[TopicPartition]) -> None:
        assert not self.owned & set(partitions), "assigned what it has already"
        self.owned |= set(partitions)
        self._note("assigned", partitions)

    def on_revoked(self, partitions: Collection[TopicPartition]) -> None:
        assert self.owned >= set(partitions), "revoked what it does not have"
        self._note("revoked", partitions)
        self.owned -= set(partitions)

    def on_lost(self, partitions: Collection[TopicPartition]) -> None:
        self._note("lost", partitions)
        self.owned -= set(partitions)

    def events(self, kind: str) -> list[frozenset[TopicPartition]]:
        return [which for name, what, which in self.journal if (name, what) == (self.name, kind)]

    def _note(self, kind: str, partitions: Collection[TopicPartition]) -> None:
        if partitions:
            self.journal.append((self.name, kind, frozenset(partitions)))


class Kit:
    """A transport with topics of its own, and short forms of what tests do all the time."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.admin = transport.admin()
        self.producer = transport.producer(client_id="conformance")
        self.prefix = f"t{uuid.uuid4().hex[:12]}."
        self._numbers = itertools.count()
        self._closers: list[Callable[[], object]] = []

    def name(self) -> str:
        """A name that no other test uses."""
        return f"{self.prefix}{next(self._numbers)}"

    def topic(self, partitions: int = 1, configs: Mapping[str, str] | None = None) -> str:
        """A new topic."""
        name = self.name()
        self.admin.create(
            TopicSpec(name=name, partitions=partitions, replication=1, configs=configs or {})
        )
        return name

    def send(self, *records: Record) -> None:
        """Send and see that all of it arrives."""
        outcomes: list[BrokerError | None] = []
        for record in records:
            self.producer.send(record, outcomes.append)
        assert self.producer.flush(30.0) == 0
        assert outcomes == [None] * len(records)

    def fill(self, topic: str, partitions: int, each: int, label: str = "") -> list[bytes]:
        """``each`` records to each partition; their values."""
        values = [
            (partition, f"{label}{partition}-{number}".encode())
            for number in range(each)
            for partition in range(partitions)
        ]
        self.send(*(Record(topic=topic, value=value, partition=at) for at, value in values))
        return [value for _, value in values]

    def member(self, group: str, topic: str, listener: Recorder) -> GroupConsumer:
        """A group member that is closed at the end of the test."""
        consumer = self.transport.consumer(group, [topic], listener)
        self._closers.append(consumer.close)
        return consumer

    def reader(
        self,
        *topics: str,
        start: Start = "earliest",
        partitions: Collection[int] | None = None,
    ) -> Reader:
        """A reader that is closed at the end of the test."""
        reader = self.transport.reader(topics, start=start, partitions=partitions)
        self._closers.append(reader.close)
        return reader

    def close(self) -> None:
        for close in reversed(self._closers):
            close()
        self.producer.close()
        mine = list(self.admin.describe(self.prefix))
        self.admin.delete(mine)
        self.admin.close()


def until(condition: Callable[[], object], *steps: Callable[[], object]) -> None:
    """Repeat ``steps`` until ``condition`` holds; half a minute is a fault."""
    deadline = time.monotonic() + 30.0
    while not condition():
        assert time.monotonic() < deadline, "it did not come about within 30 s"
        for step in steps:
            step()


def poll_until(
    consumer: GroupConsumer | Reader, received: list[Received], count: int
) -> list[Received]:
    """Poll into ``received`` until there are ``count``."""
    until(lambda: len(received) >= count, lambda: received.extend(consumer.poll(100, 0.1)))
    return received


def drain(consumer: GroupConsumer | Reader, received: list[Received]) -> Callable[[], object]:
    """A step for `until`: poll once, keeping what comes."""
    return lambda: received.extend(consumer.poll(100, 0.05))


def values(received: Collection[Received]) -> list[bytes | None]:
    """What the records carry."""
    return [record.value for record in received]
