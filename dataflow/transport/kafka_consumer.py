"""Records out of Apache Kafka: as a member of a group, or as a reader of one's own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as ConfluentPartition

from dataflow.errors import BrokerError
from dataflow.transport.base import RebalanceListener, Received, Start, TopicPartition
from dataflow.transport.kafka_errors import broker_error, describe_error
from dataflow.transport.kafka_metadata import METADATA_SECONDS, ask_partitions

_log = logging.getLogger("videojam.kafka")

_RETRIABLE_COMMITS = {
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError._NO_OFFSET,
}
"""Refused commits after which the records are simply delivered again, to whoever owns them."""


class KafkaGroupConsumer:
    """See `dataflow.transport.base.GroupConsumer`.

    Args:
        settings: librdkafka's.
        topics: to subscribe to at the first poll.
        listener: told of partitions that come and go.
        leave_seconds: how long `close` waits for librdkafka to leave the group, beside the time
            that the listener takes. Longer than a session helps nobody: by then the group has
            given the partitions away.
        make: the client, from its settings.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        topics: Sequence[str],
        listener: RebalanceListener,
        *,
        leave_seconds: float,
        make: Callable[[dict[str, Any]], Consumer] = Consumer,
    ) -> None:
        self._consumer = make({**settings, "on_commit": _on_commit})
        self._listener: RebalanceListener | None = listener
        self._listening = threading.Lock()
        """Held while the listener runs: from `poll`, or from the thread of `close`."""
        self._topics = list(topics)
        self._leave_seconds = leave_seconds
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
            raise broker_error(fault, "committing offsets") from error

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        """Stop fetching."""
        self._consumer.pause([ConfluentPartition(*tp) for tp in partitions])

    def resume(self, partitions: Collection[TopicPartition]) -> None:
        """Fetch again."""
        self._consumer.resume([ConfluentPartition(*tp) for tp in partitions])

    def close(self) -> None:
        """Leave the group.

        librdkafka has no deadline of its own here, and waits for ever where a rebalance is under
        way that does not end. What it has not done after ``leave_seconds`` is left to a thread
        that ends with the process; the group then misses this member when its session is over.
        """
        if self._closed:
            return
        fault: list[BaseException] = []

        def leave() -> None:
            try:
                self._consumer.close()
            except BaseException as error:  # noqa: BLE001 - raised by close()
                fault.append(error)

        leaving = threading.Thread(target=leave, name="leave-group", daemon=True)
        leaving.start()
        leaving.join(self._leave_seconds)
        while leaving.is_alive() and self._listening.locked():
            # It commits what it has finished, and has a deadline of its own.
            leaving.join(self._leave_seconds)
        self._closed = True
        if leaving.is_alive():
            with self._listening:
                self._listener = None
            _log.warning(
                "the group was not left within %g s: the partitions go to others when this "
                "member's session is over",
                self._leave_seconds,
            )
        if fault:
            raise fault[0]

    def _require_open(self) -> None:
        if self._closed:  # confluent-kafka would raise a bare RuntimeError
            raise BrokerError("this consumer is closed")

    def _assigned(self, _: Consumer, partitions: list[ConfluentPartition]) -> None:
        with self._listening:
            if self._listener is not None:
                self._listener.on_assigned(_plain(partitions))

    def _revoked(self, _: Consumer, partitions: list[ConfluentPartition]) -> None:
        with self._listening:
            self._gone.update(_plain(partitions))
            if self._listener is not None:
                self._listener.on_revoked(_plain(partitions))

    def _lost(self, _: Consumer, partitions: list[ConfluentPartition]) -> None:
        with self._listening:
            self._gone.update(_plain(partitions))
            if self._listener is not None:
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
                for partition in ask_partitions(
                    self._consumer, topic, servers=self._servers, what=f"topic {topic}"
                ):
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

    def _offsets(self, topic: str, partition: int) -> tuple[int, int]:
        try:
            offsets = self._consumer.get_watermark_offsets(
                ConfluentPartition(topic, partition), METADATA_SECONDS
            )
        except KafkaException as error:
            raise describe_error(error.args[0], self._servers) from error
        if offsets is None:
            raise BrokerError(f"{topic}[{partition}]: no answer from {self._servers}")
        return offsets


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


def _plain(partitions: list[ConfluentPartition]) -> list[TopicPartition]:
    return [TopicPartition(p.topic, p.partition) for p in partitions]


def _raise_if_hopeless(message: Message) -> None:
    error = message.error()
    if error is None:
        return
    if error.fatal() or error.code() in (
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.INVALID_SESSION_TIMEOUT,
    ):
        raise broker_error(error, f"reading {message.topic() or ''}".strip())
    _log.warning("%s", error.str())


def _on_commit(error: KafkaError | None, _: list[ConfluentPartition]) -> None:
    if error is not None and error.code() != KafkaError._NO_OFFSET:
        _log.info("commit refused (%s): the records will be delivered again", error.str())
