"""The in-memory transport and the faults that tests inject."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from types import TracebackType
from typing import Self

from dataflow.transport.base import GroupConsumer, RebalanceListener, Start
from dataflow.transport.memory.admin import MemoryAdmin
from dataflow.transport.memory.cluster import Cluster
from dataflow.transport.memory.consumer import MemoryGroupConsumer, MemoryReader
from dataflow.transport.memory.producer import MemoryProducer
from dataflow.transport.memory.writer import MemoryAtomicWriter


class MemoryTransport:
    """A cluster inside this process, with the behaviour of Kafka that the project relies on.

    Safe for threads. Timeouts of calls (``poll``, ``flush``) are real time; everything that the
    cluster itself times goes by ``clock``, so that tests can let a session expire at once.

    Args:
        clock: seconds since the epoch.
        session_timeout: seconds after which a member that vanished loses its partitions.
        max_poll_interval: seconds without a poll after which a member is removed.
        delivery_timeout: seconds after which a record that cannot be sent fails.
        buffer_records: most records in a producer that wait for delivery or its callback.
        buffer_bytes: most bytes of them.
        brokers: the largest replication factor that `Admin.create` accepts.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        session_timeout: float = 6.0,
        max_poll_interval: float = 300.0,
        delivery_timeout: float = 120.0,
        buffer_records: int = 100_000,
        buffer_bytes: int = 128 * 1024 * 1024,
        brokers: int = 1,
    ) -> None:
        self._cluster = Cluster(
            clock=clock,
            session_timeout=session_timeout,
            max_poll_interval=max_poll_interval,
            brokers=brokers,
        )
        self._delivery_timeout = delivery_timeout
        self._buffer_records = buffer_records
        self._buffer_bytes = buffer_bytes
        self._producers: list[MemoryProducer] = []

    def producer(self, *, client_id: str = "videojam") -> MemoryProducer:  # noqa: ARG002 - a name for brokers' logs, which there are none of
        """A new producer."""
        producer = MemoryProducer(
            self._cluster,
            delivery_timeout=self._delivery_timeout,
            buffer_records=self._buffer_records,
            buffer_bytes=self._buffer_bytes,
        )
        with self._cluster.condition:
            self._producers.append(producer)
        return producer

    def consumer(
        self, group: str, topics: Sequence[str], listener: RebalanceListener
    ) -> MemoryGroupConsumer:
        """A new member of ``group``."""
        with self._cluster.condition:
            return MemoryGroupConsumer(self._cluster, group, topics, listener)

    def reader(
        self,
        topics: Sequence[str],
        *,
        start: Start = "earliest",
        partitions: Collection[int] | None = None,
    ) -> MemoryReader:
        """A new reader."""
        return MemoryReader(self._cluster, topics, start, partitions)

    def writer(self, name: str, *, timeout: float = 30.0) -> MemoryAtomicWriter:  # noqa: ARG002 - the answer is known at once
        """A new writer, which takes over from those of that name before it."""
        return MemoryAtomicWriter(self._cluster, name)

    def admin(self) -> MemoryAdmin:
        """A new administration client."""
        return MemoryAdmin(self._cluster)

    def check(self, timeout: float = 5.0) -> None:
        """Raise BrokerError during an outage."""
        self.admin().check(timeout)

    def close(self) -> None:
        """The topics stay: another owner may still use this transport."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # Faults and maintenance, for tests.

    def outage(self) -> None:
        """Take the broker away: sends are held, polls return nothing, requests fail."""
        with self._cluster.condition:
            if self._cluster.down_since is None:
                self._cluster.down_since = self._cluster.clock()
            self._cluster.condition.notify_all()

    def restore(self) -> None:
        """Bring the broker back: held records are delivered, unless their time ran out."""
        with self._cluster.condition:
            self._cluster.down_since = None
            for producer in self._producers:
                producer.pump()
            self._cluster.condition.notify_all()

    def fail_deliveries(self, topic: str, count: int) -> None:
        """Let the next ``count`` records to ``topic`` fail after they were sent."""
        with self._cluster.condition:
            self._cluster.failing[topic] += count

    def crash(self, consumer: GroupConsumer) -> None:
        """Let a member vanish without a commit; its partitions move after the session timeout."""
        _ours(consumer).crash()

    def expel(self, consumer: GroupConsumer) -> None:
        """Give a member's partitions away while it lives: its next poll tells `on_lost`."""
        _ours(consumer).expel()

    def clean(self, topic: str) -> None:
        """Compact the topic, or delete what is past its retention, as its configs say.

        Raises:
            BrokerError: no such topic.
        """
        with self._cluster.condition:
            self._cluster.topic(topic).clean(self._cluster.now_ms)


def _ours(consumer: GroupConsumer) -> MemoryGroupConsumer:
    if not isinstance(consumer, MemoryGroupConsumer):
        raise TypeError(f"{type(consumer).__name__} is not a consumer of a MemoryTransport")
    return consumer
