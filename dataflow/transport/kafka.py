"""Apache Kafka through confluent-kafka (librdkafka)."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
)
from confluent_kafka import Producer as ConfluentProducer
from confluent_kafka import TopicPartition as ConfluentPartition

from dataflow.config.model import Config, SecurityConfig
from dataflow.errors import BrokerError, BufferFullError, RecordTooLargeError
from dataflow.transport.base import (
    DeliveryCallback,
    RebalanceListener,
    Received,
    Record,
    Start,
    TopicPartition,
)
from dataflow.transport.kafka_admin import KafkaAdmin, describe_error

_log = logging.getLogger("videojam.kafka")

_METADATA_SECONDS = 10.0
"""Deadline of one metadata request."""
_ANY_PARTITION = -1
"""RD_KAFKA_PARTITION_UA: the partitioner chooses."""
_PARTITIONS_FRESH_SECONDS = 60.0
"""How long a topic's partition count is believed."""
_RETRIABLE_COMMITS = {
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError._NO_OFFSET,
}
"""Refused commits after which the records are simply delivered again, to whoever owns them."""


class KafkaTransport:
    """Connections to one cluster.

    Args:
        bootstrap_servers: comma-separated host:port list.
        security: authentication and encryption.
        max_message_size: largest record, in bytes.
        session_timeout: seconds after which the group gives a silent member's partitions away.
        max_poll_interval: seconds without a poll after which a member leaves its group; not below
            ``session_timeout``.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        security: SecurityConfig | None = None,
        max_message_size: int = 10 * 1024 * 1024,
        session_timeout: float = 6.0,
        max_poll_interval: float = 300.0,
    ) -> None:
        self.bootstrap_servers = bootstrap_servers
        self._max_message_size = max_message_size
        self._session_timeout = session_timeout
        self._max_poll_interval = max_poll_interval
        self._common: dict[str, Any] = {
            "bootstrap.servers": bootstrap_servers,
            # A cluster that comes back is noticed within a second, not after librdkafka's ten.
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 1000,
            "socket.keepalive.enable": True,
            "logger": _log,
            "error_cb": _on_error,
            **security_settings(security or SecurityConfig()),
        }

    @classmethod
    def from_config(cls, config: Config, *, bootstrap_servers: str | None = None) -> Self:
        """The cluster that topics.yaml declares, or another one with the same settings."""
        return cls(
            bootstrap_servers or config.cluster.bootstrap_servers,
            security=config.cluster.security,
            max_message_size=int(config.cluster.max_message_size),
        )

    def producer(self, *, client_id: str = "videojam") -> KafkaProducer:
        """A new idempotent producer."""
        return KafkaProducer(
            {
                **self._common,
                "client.id": client_id,
                "enable.idempotence": True,
                "linger.ms": 2,
                # Frames are JPEG: compressing them again costs time and gains nothing.
                "compression.type": "none",
                "message.max.bytes": self._max_message_size,
                "queue.buffering.max.kbytes": 128 * 1024,
                "delivery.timeout.ms": 120_000,
                "partitioner": "murmur2_random",
                # From the first mention of a topic: a misspelt name is reported after this long.
                "topic.metadata.propagation.max.ms": 5_000,
            }
        )

    def consumer(
        self, group: str, topics: Sequence[str], listener: RebalanceListener
    ) -> KafkaGroupConsumer:
        """A new member of ``group``."""
        timeout = int(self._session_timeout * 1000)
        return KafkaGroupConsumer(
            {
                **self._common,
                **self._fetching(),
                "group.id": group,
                "client.id": group,
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": timeout,
                "max.poll.interval.ms": int(self._max_poll_interval * 1000),
                "heartbeat.interval.ms": max(100, timeout // 3),
                "auto.offset.reset": "earliest",
            },
            topics,
            listener,
        )

    def reader(
        self,
        topics: Sequence[str],
        *,
        start: Start = "earliest",
        partitions: Collection[int] | None = None,
    ) -> KafkaReader:
        """A new reader."""
        return KafkaReader(
            {
                **self._common,
                **self._fetching(),
                # Required by librdkafka; nothing joins or commits under it.
                "group.id": f"videojam-reader-{uuid.uuid4()}",
                # Where retention overtakes the reader, it goes on with what is still there.
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
            },
            topics,
            start,
            partitions,
        )

    def admin(self) -> KafkaAdmin:
        """A new administration client."""
        return KafkaAdmin(self._common)

    def check(self, timeout: float = 5.0) -> None:
        """Ask the cluster for its metadata.

        Raises:
            BrokerError: no answer within ``timeout`` s.
        """
        self.admin().check(timeout)

    def close(self) -> None:
        """Nothing is shared between the parts."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _fetching(self) -> dict[str, Any]:
        return {
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "fetch.wait.max.ms": 100,
            "fetch.message.max.bytes": max(1024 * 1024, self._max_message_size),
            # Enough to keep a function busy that moves hundreds of frames a second: with 16 MB the
            # data plane is about a tenth slower (evaluation.benchmarks.data_plane).
            "queued.max.messages.kbytes": 64 * 1024,
            "fetch.queue.backoff.ms": 10,
        }


class KafkaProducer:
    """See `dataflow.transport.base.Producer`."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._producer = ConfluentProducer(dict(settings))
        self._servers = settings["bootstrap.servers"]
        self._partitions: dict[str, tuple[float, int]] = {}

    def send(self, record: Record, on_delivery: DeliveryCallback | None = None) -> None:
        """Queue a record."""
        headers = record.headers
        try:
            self._producer.produce(
                record.topic,
                record.value,
                record.key,
                _ANY_PARTITION if record.partition is None else record.partition,
                headers=headers if isinstance(headers, list) else list(headers),
                on_delivery=None if on_delivery is None else _adapt(on_delivery),
            )
        except BufferError as error:
            raise BufferFullError("the producer's local buffer is full") from error
        except KafkaException as error:
            raise _broker_error(error.args[0], f"sending to {record.topic}") from error

    def poll(self, timeout: float = 0.0) -> int:
        """Run delivery callbacks that are due."""
        return int(self._producer.poll(timeout))

    def flush(self, timeout: float) -> int:
        """Wait for all deliveries."""
        return int(self._producer.flush(timeout))

    def partitions_for(self, topic: str) -> int:
        """Number of partitions."""
        known = self._partitions.get(topic)
        now = time.monotonic()
        if known is not None and now - known[0] < _PARTITIONS_FRESH_SECONDS:
            return known[1]
        try:
            metadata = self._producer.list_topics(topic, _METADATA_SECONDS).topics[topic]
        except KafkaException as error:
            if known is not None:
                return known[1]  # the cluster is away; what was true a minute ago still is
            raise describe_error(error.args[0], self._servers) from error
        if metadata.error is not None:
            raise _broker_error(metadata.error, f"topic {topic}")
        self._partitions[topic] = (now, len(metadata.partitions))
        return len(metadata.partitions)

    def close(self, timeout: float = 10.0) -> int:
        """Flush and release."""
        left = self.flush(timeout)
        if left:
            self._producer.purge()
            self._producer.poll(0.1)
        return left


class KafkaGroupConsumer:
    """See `dataflow.transport.base.GroupConsumer`."""

    def __init__(
        self, settings: Mapping[str, Any], topics: Sequence[str], listener: RebalanceListener
    ) -> None:
        self._consumer = Consumer({**settings, "on_commit": _on_commit})
        self._listener = listener
        self._topics = list(topics)
        self._joined = False
        self._closed = False
        self._gone: set[TopicPartition] = set()

    def poll(self, max_records: int, timeout: float) -> list[Received]:
        """Records, and rebalances on the way."""
        self._require_open()
        if not self._joined:
            # Not in the constructor: librdkafka joins at once, by itself, and a member that does
            # not poll yet would hold up every rebalance of the others.
            self._joined = True
            self._consumer.subscribe(
                self._topics,
                on_assign=self._assigned,
                on_revoke=self._revoked,
                on_lost=self._lost,
            )
        self._gone.clear()
        received = _poll(self._consumer, max_records, timeout, _raise_if_hopeless)
        if self._gone:
            # A record taken from the queue before the rebalance that came in the same call: its
            # new owner gets it.
            received = [record for record in received if record.topic_partition not in self._gone]
        return received

    def commit(self, offsets: Mapping[TopicPartition, int], *, wait: bool) -> None:
        """Record the next offset to read of each partition."""
        self._require_open()
        if not offsets:
            return
        positions = [ConfluentPartition(tp.topic, tp.partition, at) for tp, at in offsets.items()]
        try:
            if wait:
                self._consumer.commit(offsets=positions, asynchronous=False)
            else:
                self._consumer.commit(offsets=positions, asynchronous=True)
        except KafkaException as error:
            fault = error.args[0]
            if not wait and fault.code() in _RETRIABLE_COMMITS:
                _log.info("commit refused (%s): the records will be delivered again", fault)
                return
            raise _broker_error(fault, "committing offsets") from error

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        """Stop fetching."""
        self._consumer.pause([ConfluentPartition(*tp) for tp in partitions])

    def resume(self, partitions: Collection[TopicPartition]) -> None:
        """Fetch again."""
        self._consumer.resume([ConfluentPartition(*tp) for tp in partitions])

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()
        self._closed = True

    def _require_open(self) -> None:
        if self._closed:  # confluent-kafka would raise a bare RuntimeError
            raise BrokerError("this consumer is closed")

    def _assigned(self, _: Consumer, partitions: list[ConfluentPartition]) -> None:
        self._listener.on_assigned(_plain(partitions))

    def _revoked(self, _: Consumer, partitions: list[ConfluentPartition]) -> None:
        self._gone.update(_plain(partitions))
        self._listener.on_revoked(_plain(partitions))

    def _lost(self, _: Consumer, partitions: list[ConfluentPartition]) -> None:
        self._gone.update(_plain(partitions))
        self._listener.on_lost(_plain(partitions))


class KafkaReader:
    """See `dataflow.transport.base.Reader`."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        topics: Sequence[str],
        start: Start,
        only: Collection[int] | None,
    ) -> None:
        self._consumer = Consumer(dict(settings))
        self._servers = str(settings["bootstrap.servers"])
        self._ends: dict[TopicPartition, int] = {}
        """What the partitions that are still to catch up with must reach."""
        positions = []
        try:
            for topic in topics:
                for partition in self._partitions(topic):
                    if only is None or partition in only:
                        # Asked for now: "the end" is where it is when the reader is opened, not
                        # where the first fetch happens to find it.
                        low, high = self._offsets(topic, partition)
                        position = low if start == "earliest" else high
                        if position < high:
                            self._ends[TopicPartition(topic, partition)] = high
                        positions.append(ConfluentPartition(topic, partition, position))
        except BrokerError:
            self._consumer.close()
            raise
        self._consumer.assign(positions)

    def poll(self, max_records: int, timeout: float) -> list[Received]:
        """Records, as they come."""
        received = _poll(self._consumer, max_records, timeout, self._note)
        if self._ends:
            for record in received:
                partition = record.topic_partition
                if record.offset + 1 >= self._ends.get(partition, record.offset + 2):
                    del self._ends[partition]
        return received

    def caught_up(self) -> bool:
        """Whether each partition has reached the end that it had, or its present end."""
        return not self._ends

    def close(self) -> None:
        """Release the connection."""
        self._consumer.close()

    def _note(self, message: Message) -> None:
        error = message.error()
        if error is not None and error.code() == KafkaError._PARTITION_EOF:
            # The last records before the end may have been compacted away.
            self._ends.pop(TopicPartition(message.topic() or "", message.partition() or 0), None)
            return
        _raise_if_hopeless(message)

    def _partitions(self, topic: str) -> list[int]:
        try:
            metadata = self._consumer.list_topics(topic, _METADATA_SECONDS).topics[topic]
        except KafkaException as error:
            raise describe_error(error.args[0], self._servers) from error
        if metadata.error is not None:
            raise _broker_error(metadata.error, f"topic {topic}")
        return sorted(metadata.partitions)

    def _offsets(self, topic: str, partition: int) -> tuple[int, int]:
        try:
            offsets = self._consumer.get_watermark_offsets(
                ConfluentPartition(topic, partition), _METADATA_SECONDS
            )
        except KafkaException as error:
            raise describe_error(error.args[0], self._servers) from error
        if offsets is None:
            raise BrokerError(f"{topic}[{partition}]: no answer from {self._servers}")
        return offsets


def security_settings(security: SecurityConfig) -> dict[str, str]:
    """Librdkafka's settings for a declaration."""
    settings = {
        "security.protocol": security.protocol,
        "sasl.mechanism": security.sasl_mechanism,
        "sasl.username": security.username,
        "sasl.password": None
        if security.password is None
        else security.password.get_secret_value(),
        "ssl.ca.location": security.ca_file,
        "ssl.certificate.location": security.certificate_file,
        "ssl.key.location": security.key_file,
        "ssl.key.password": None
        if security.key_password is None
        else security.key_password.get_secret_value(),
    }
    return {key: value for key, value in settings.items() if value is not None}


def _poll(
    consumer: Consumer, max_records: int, timeout: float, on_error: Callable[[Message], None]
) -> list[Received]:
    # consume() waits for the whole number of records, so the waiting is done for the first alone.
    first = consumer.poll(timeout)
    if first is None:
        return []
    messages: list[Any] = [first]  # the stubs call every field of a good message optional
    if max_records > 1:
        messages += consumer.consume(max_records - 1, 0)
    received = []
    for message in messages:
        if message.error() is not None:
            on_error(message)
            continue
        received.append(
            Received(
                message.topic(),
                message.partition(),
                message.offset(),
                message.key(),
                message.value(),
                message.headers() or (),
                message.timestamp()[1],
            )
        )
    return received


def _adapt(on_delivery: DeliveryCallback) -> Callable[[KafkaError | None, Message], None]:
    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is None:
            on_delivery(None)
        else:
            on_delivery(_broker_error(error, f"delivery to {message.topic()}"))

    return delivered


def _plain(partitions: list[ConfluentPartition]) -> list[TopicPartition]:
    return [TopicPartition(p.topic, p.partition) for p in partitions]


def _broker_error(error: KafkaError, what: str) -> BrokerError:
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return RecordTooLargeError(
            f"{what}: the record is too large; raise cluster.max_message_size in topics.yaml and "
            "run `videojam topics apply`, or send smaller frames"
        )
    if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
        return BrokerError(f"{what}: no such topic; run `videojam topics apply`")
    return BrokerError(f"{what}: {error.str()}")


def _raise_if_hopeless(message: Message) -> None:
    error = message.error()
    if error is None:
        return
    if error.fatal() or error.code() in (
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    ):
        raise _broker_error(error, f"reading {message.topic() or ''}".strip())
    _log.warning("%s", error.str())


def _on_error(error: KafkaError) -> None:
    """Connection trouble that librdkafka mends by itself: say so, once a change."""
    if error.code() == KafkaError._ALL_BROKERS_DOWN:
        _log.warning("no broker answers; trying again")
    else:
        _log.info("%s", error.str())


def _on_commit(error: KafkaError | None, _: list[ConfluentPartition]) -> None:
    if error is not None and error.code() != KafkaError._NO_OFFSET:
        _log.info("commit refused (%s): the records will be delivered again", error.str())
