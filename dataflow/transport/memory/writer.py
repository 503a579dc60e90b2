"""The in-memory atomic writer."""

from __future__ import annotations

from collections.abc import Sequence

from dataflow.errors import BrokerError, FencedError, RecordTooLargeError
from dataflow.transport.base import Record
from dataflow.transport.memory.cluster import Cluster
from dataflow.transport.memory.log import record_size
from dataflow.transport.partitioning import partition_for_key


class MemoryAtomicWriter:
    """See `dataflow.transport.base.AtomicWriter`.

    Args:
        cluster: what it writes to.
        name: of the writer.

    Raises:
        BrokerError: there is an outage.
    """

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster = cluster
        self._name = name
        with cluster.condition:
            cluster.require_up()
            cluster.writers[name] += 1
            self._epoch = cluster.writers[name]

    def write(self, records: Sequence[Record], timeout: float) -> None:  # noqa: ARG002 - the answer is known at once
        """Write all records, or none."""
        cluster = self._cluster
        with cluster.condition:
            cluster.require_up()
            if cluster.writers[self._name] != self._epoch:
                raise FencedError(
                    f"another writer called {self._name} has taken over; nothing was written"
                )
            logs = []
            for record in records:
                topic = cluster.topic(record.topic)
                if cluster.failing[record.topic] > 0:
                    cluster.failing[record.topic] -= 1
                    raise BrokerError(f"writing to {record.topic}: failed, as the test asked for")
                if topic.compacted and record.key is None:
                    raise BrokerError(f"{record.topic}: a record of a compacted topic needs a key")
                if record_size(record) > topic.number("max.message.bytes"):
                    raise RecordTooLargeError(f"writing to {record.topic}: the record is too large")
                number = record.partition
                if number is None:
                    number = partition_for_key(record.key or b"", len(topic.logs))
                elif not 0 <= number < len(topic.logs):
                    raise BrokerError(
                        f"writing to {record.topic}: no partition {number}, "
                        f"it has {len(topic.logs)}"
                    )
                logs.append(topic.logs[number])
            for log, record in zip(logs, records, strict=True):
                log.append(cluster.now_ms, record.key, record.value, tuple(record.headers))
            cluster.condition.notify_all()

    def close(self) -> None:
        """Nothing to release."""
