"""The in-memory producer."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from dataflow.errors import BrokerError, BufferFullError, RecordTooLargeError
from dataflow.transport.base import DeliveryCallback, LatencyCallback, Record
from dataflow.transport.memory.cluster import Cluster, deadline_after
from dataflow.transport.memory.log import record_size
from dataflow.transport.partitioning import partition_for_key


@dataclass(slots=True)
class _Open:
    """A record that the application has not heard of yet."""

    record: Record
    partition: int
    size: int
    on_delivery: DeliveryCallback | None
    on_latency: LatencyCallback | None
    sent_at: float
    took: float = 0.0
    error: BrokerError | None = None


class MemoryProducer:
    """See `dataflow.transport.base.Producer`.

    Args:
        cluster: what it sends to.
        delivery_timeout: seconds after which a record that cannot be sent is given up.
        buffer_records: most records that are open, callbacks to come included.
        buffer_bytes: most bytes of them.
    """

    def __init__(
        self, cluster: Cluster, *, delivery_timeout: float, buffer_records: int, buffer_bytes: int
    ) -> None:
        self._cluster = cluster
        self._delivery_timeout = delivery_timeout
        self._buffer_records = buffer_records
        self._buffer_bytes = buffer_bytes
        self._held: deque[_Open] = deque()
        self._done: deque[_Open] = deque()
        self._records = 0
        self._bytes = 0
        self._keyless = 0
        self._known: dict[str, int] = {}
        self._closed = False

    def send(
        self,
        record: Record,
        on_delivery: DeliveryCallback | None = None,
        *,
        on_latency: LatencyCallback | None = None,
    ) -> None:
        """Queue a record; outside an outage it is in its log when this returns."""
        with self._cluster.condition:
            if self._closed:
                raise BrokerError("this producer is closed")
            partition = self._partition(record)
            size = record_size(record)
            topic = self._cluster.topics.get(record.topic)
            if topic is not None and size > topic.number("max.message.bytes"):
                raise RecordTooLargeError(
                    f"sending to {record.topic}: a record of {size} bytes is too large; raise "
                    "cluster.max_message_size in topics.yaml and run `videojam topics apply`, or "
                    "send smaller frames"
                )
            if self._records >= self._buffer_records or self._bytes + size > self._buffer_bytes:
                raise BufferFullError("the producer's local buffer is full")
            self._records += 1
            self._bytes += size
            now = self._cluster.clock()
            self._held.append(_Open(record, partition, size, on_delivery, on_latency, now))
            self.pump()

    def poll(self, timeout: float = 0.0) -> int:
        """Run delivery callbacks that are due."""
        left = deadline_after(timeout)
        with self._cluster.condition:
            self.pump()
            while not self._done and (remaining := left()) > 0:
                self._cluster.wait(remaining)
                self.pump()
            due = len(self._done)
        served = 0
        # A callback may send: what that delivers is left to the next poll, so that this one ends.
        while served < due and self._serve():
            served += 1
        return served

    def flush(self, timeout: float) -> int:
        """Wait for all deliveries."""
        left = deadline_after(timeout)
        while True:
            self.poll()
            with self._cluster.condition:
                remaining = left()
                if self._records == 0 or remaining <= 0:
                    return self._records
                if not self._done:
                    self._cluster.wait(remaining)

    def partitions_for(self, topic: str) -> int:
        """Number of partitions; during an outage what this producer has learnt before."""
        with self._cluster.condition:
            if self._cluster.down and topic in self._known:
                return self._known[topic]
            self._cluster.require_up()
            self._known[topic] = len(self._cluster.topic(topic).logs)
            return self._known[topic]

    def close(self, timeout: float = 10.0) -> int:
        """Flush and release; what is still held then fails."""
        left = self.flush(timeout)
        with self._cluster.condition:
            self._closed = True
            while self._held:
                self._finish(
                    self._held.popleft(), BrokerError("the producer closed before the delivery")
                )
        self.poll()
        return left

    def pump(self) -> None:
        """Deliver what is held, or give up what was held for too long. Needs the lock."""
        cluster = self._cluster
        while self._held:
            first = self._held[0]
            if cluster.clock() - first.sent_at >= self._delivery_timeout:
                error: BrokerError | None = BrokerError(
                    f"delivery to {first.record.topic}: timed out"
                )
            elif cluster.down:
                return
            else:
                error = self._deliver(first)
            self._finish(self._held.popleft(), error)

    def _deliver(self, sent: _Open) -> BrokerError | None:
        cluster, record = self._cluster, sent.record
        what = f"delivery to {record.topic}"
        topic = cluster.topics.get(record.topic)
        if topic is None or sent.partition >= len(topic.logs):
            return BrokerError(f"{what}: no such topic; run `videojam topics apply`")
        if cluster.failing[record.topic] > 0:
            cluster.failing[record.topic] -= 1
            return BrokerError(f"{what}: failed, as the test asked for")
        if topic.compacted and record.key is None:
            return BrokerError(f"{what}: a record of a compacted topic needs a key")
        topic.logs[sent.partition].append(
            cluster.now_ms, record.key, record.value, tuple(record.headers)
        )
        return None

    def _finish(self, sent: _Open, error: BrokerError | None) -> None:
        sent.error = error
        sent.took = self._cluster.clock() - sent.sent_at
        self._done.append(sent)
        self._cluster.condition.notify_all()

    def _serve(self) -> bool:
        """Run one callback, without the lock."""
        with self._cluster.condition:
            if not self._done:
                return False
            sent = self._done.popleft()
        try:
            if sent.on_latency is not None and sent.error is None:
                sent.on_latency(sent.took)
            if sent.on_delivery is not None:
                sent.on_delivery(sent.error)
        finally:
            with self._cluster.condition:
                self._records -= 1
                self._bytes -= sent.size
                self._cluster.condition.notify_all()
        return True

    def _partition(self, record: Record) -> int:
        total = self.partitions_for(record.topic)
        if record.partition is not None:
            if not 0 <= record.partition < total:
                raise BrokerError(
                    f"sending to {record.topic}: no partition {record.partition}, it has {total}"
                )
            return record.partition
        if record.key is not None:
            return partition_for_key(record.key, total)
        self._keyless += 1
        return self._keyless % total
