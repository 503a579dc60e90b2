"""What a transport offers: records in and out of topics, with groups, offsets and administration.

Two implementations keep this contract, checked by one conformance suite: `KafkaTransport`
(confluent-kafka, any Apache Kafka) and `MemoryTransport` (this process only, for tests and
notebooks).

Objects are used from one thread each, except `Producer.send` and `Producer.poll`, which any thread
may call.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, NamedTuple, Protocol, Self

from dataflow.config.topics import TopicSpec
from dataflow.errors import BrokerError


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record to send.

    Attributes:
        topic: where to.
        value: the payload; None deletes the key in a compacted topic.
        key: identity in compacted topics and results; also chooses the partition (murmur2, as
            Kafka's Java clients do) unless ``partition`` is given.
        headers: names and UTF-8 or raw values, in order.
        partition: explicit partition.
    """

    topic: str
    value: bytes | None = field(repr=False)
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    partition: int | None = None


class Received(NamedTuple):
    """A record as it came from a partition. `timestamp_ms` is the producer's, since the epoch."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    timestamp_ms: int

    @property
    def topic_partition(self) -> TopicPartition:
        """Where it came from."""
        return TopicPartition(self.topic, self.partition)


DeliveryCallback = Callable[[BrokerError | None], None]
"""Called once for each record sent, from a thread that polls: None when the broker has it."""

LatencyCallback = Callable[[float], None]
"""Told how many seconds a delivery took."""


class Producer(Protocol):
    """Sends records; idempotent, in order per partition."""

    def send(
        self,
        record: Record,
        on_delivery: DeliveryCallback | None = None,
        *,
        on_latency: LatencyCallback | None = None,
    ) -> None:
        """Queue a record.

        Args:
            record: see there.
            on_delivery: told what became of it.
            on_latency: told, just before a successful ``on_delivery``, how many seconds passed from
                here until the broker had it: as measured when the answer came, however much later
                somebody polls.

        A record that can never be sent (too large, unknown topic or partition) is refused here, if
        the client knows it at once, or else by the callback: one of the two, once.

        Raises:
            BufferFullError: the local buffer is full; poll and try again.
            RecordTooLargeError: the record is larger than the client or the topic allows.
            BrokerError: no such topic or partition.
        """
        ...

    def poll(self, timeout: float = 0.0) -> int:
        """Run delivery callbacks that are due, waiting up to ``timeout`` s for the first.

        Returns:
            0 when none ran. Above that it is no count: Kafka's client reports in batches.
        """
        ...

    def flush(self, timeout: float) -> int:
        """Wait up to ``timeout`` s for all deliveries; return how many are still open."""
        ...

    def partitions_for(self, topic: str) -> int:
        """Number of partitions.

        Raises:
            BrokerError: no such topic, or no broker.
        """
        ...

    def close(self, timeout: float = 10.0) -> int:
        """Flush, release, and return how many records were not delivered."""
        ...


class RebalanceListener(Protocol):
    """Told, from within `GroupConsumer.poll` or `close`, of partitions that come and go.

    ``close`` may use a thread of its own for it, and waits for that.
    """

    def on_assigned(self, partitions: Collection[TopicPartition]) -> None:
        """These partitions are ours now; fetching starts at the committed offsets."""
        ...

    def on_revoked(self, partitions: Collection[TopicPartition]) -> None:
        """These go to another member when this call returns; offsets may still be committed."""
        ...

    def on_lost(self, partitions: Collection[TopicPartition]) -> None:
        """These belong to another member already; commits for them are refused."""
        ...


class GroupConsumer(Protocol):
    """A member of a consumer group."""

    def poll(self, max_records: int, timeout: float) -> list[Received]:
        """Up to ``max_records`` records, waiting up to ``timeout`` s for the first.

        Raises:
            BrokerError: a fault that waiting does not mend (authorisation, unknown group).
        """
        ...

    def commit(self, offsets: Mapping[TopicPartition, int], *, wait: bool) -> None:
        """Record the next offset to read of each partition.

        Raises:
            BrokerError: with ``wait``, the commit was refused.
        """
        ...

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        """Stop fetching from these partitions, keeping the membership."""
        ...

    def resume(self, partitions: Collection[TopicPartition]) -> None:
        """Fetch from these partitions again."""
        ...

    def close(self) -> None:
        """Leave the group; `RebalanceListener.on_revoked` runs first.

        Returns also where the group cannot be left in good time: it then misses this member after
        a session's length.
        """
        ...


class Reader(Protocol):
    """Reads all partitions of some topics, outside of any group."""

    def poll(self, max_records: int, timeout: float) -> list[Received]:
        """Up to ``max_records`` records, waiting up to ``timeout`` s for the first."""
        ...

    def caught_up(self) -> bool:
        """Whether everything that was there when the reader was opened has been polled."""
        ...

    def close(self) -> None:
        """Release the connection."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicState:
    """One topic as it is on the cluster.

    Attributes:
        configs: values in force, defaults of the broker included.
        defaults: keys of ``configs`` that nobody has set on the topic itself.
    """

    name: str
    partitions: int
    replication: int
    configs: Mapping[str, str]
    defaults: frozenset[str] = frozenset()


class AtomicWriter(Protocol):
    """Writes several records as one, and is the only one of its name that can.

    Readers see all of the records or none. A new writer of the same name takes over: one before it
    that still lives can write nothing any more, whatever it believes.
    """

    def write(self, records: Sequence[Record], timeout: float) -> None:
        """Write records and wait until the cluster has them.

        Raises:
            FencedError: another writer of this name has taken over. Nothing was written.
            BrokerError: no answer within ``timeout`` s, after which it is not known whether they
                were written; or a refusal, after which none was.
        """
        ...

    def close(self) -> None:
        """Release the connection."""
        ...


class Admin(Protocol):
    """Administration of topics. All methods raise BrokerError when the cluster refuses."""

    def describe(self, prefix: str = "") -> dict[str, TopicState]:
        """Topics whose name starts with ``prefix``, without Kafka's internal ones."""
        ...

    def create(self, spec: TopicSpec) -> None:
        """Create a topic and wait until it is there."""
        ...

    def add_partitions(self, topic: str, total: int) -> None:
        """Raise the number of partitions to ``total``."""
        ...

    def set_configs(self, topic: str, configs: Mapping[str, str]) -> None:
        """Set these configs, leaving the others as they are."""
        ...

    def delete(self, topics: Collection[str]) -> None:
        """Delete topics with all they hold."""
        ...

    def lag(self, group: str, topic: str) -> dict[int, int]:
        """Records of each partition that the group has not committed yet."""
        ...

    def close(self) -> None:
        """Release the connection."""
        ...


Start = Literal["earliest", "latest"]


class Transport(Protocol):
    """Makes the parts; the owner closes each of them, then the transport."""

    def producer(self, *, client_id: str = "videojam") -> Producer:
        """A new producer."""
        ...

    def consumer(
        self, group: str, topics: Sequence[str], listener: RebalanceListener
    ) -> GroupConsumer:
        """A new member of ``group``; it joins at its first poll."""
        ...

    def reader(
        self,
        topics: Sequence[str],
        *,
        start: Start = "earliest",
        partitions: Collection[int] | None = None,
    ) -> Reader:
        """A new reader of all (or the named) partitions of ``topics``.

        Raises:
            BrokerError: a topic does not exist.
        """
        ...

    def writer(self, name: str, *, timeout: float = 30.0) -> AtomicWriter:
        """A new writer, which takes over from those of that name before it.

        Raises:
            BrokerError: the cluster does not answer within ``timeout`` s.
        """
        ...

    def admin(self) -> Admin:
        """A new administration client."""
        ...

    def close(self) -> None:
        """Release what is shared."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
