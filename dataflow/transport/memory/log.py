"""Topics of the in-memory cluster: partitioned logs, their configs and their cleaning."""

from __future__ import annotations

import bisect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dataflow.config.topics import TopicSpec
from dataflow.errors import BrokerError
from dataflow.transport.base import Record, TopicState

Headers = tuple[tuple[str, bytes], ...]

TOPIC_DEFAULTS: Mapping[str, str] = {
    "cleanup.policy": "delete",
    "compression.gzip.level": "-1",
    "compression.lz4.level": "9",
    "compression.type": "producer",
    "compression.zstd.level": "3",
    "delete.retention.ms": "86400000",
    "file.delete.delay.ms": "60000",
    "flush.messages": "9223372036854775807",
    "flush.ms": "9223372036854775807",
    "follower.replication.throttled.replicas": "",
    "index.interval.bytes": "4096",
    "leader.replication.throttled.replicas": "",
    "local.retention.bytes": "-2",
    "local.retention.ms": "-2",
    "max.compaction.lag.ms": "9223372036854775807",
    "max.message.bytes": "1048588",
    "message.timestamp.after.max.ms": "3600000",
    "message.timestamp.before.max.ms": "9223372036854775807",
    "message.timestamp.type": "CreateTime",
    "min.cleanable.dirty.ratio": "0.5",
    "min.compaction.lag.ms": "0",
    "min.insync.replicas": "1",
    "preallocate": "false",
    "remote.storage.enable": "false",
    "retention.bytes": "-1",
    "retention.ms": "604800000",
    "segment.bytes": "1073741824",
    "segment.index.bytes": "10485760",
    "segment.jitter.ms": "0",
    "segment.ms": "604800000",
    "unclean.leader.election.enable": "false",
}
"""Topic configs and their defaults (Apache Kafka 4.0, ``LogConfig``)."""

_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_RECORD_OVERHEAD = 70
"""Bytes that a batch of one record adds: 61 for the batch and up to 9 for lengths and deltas."""


class Stored(NamedTuple):
    """A record in a log."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def size(self) -> int:
        """Bytes, without the log's own framing."""
        return _size(self.key, self.value, self.headers)


@dataclass(slots=True)
class Log:
    """One partition: records by ascending offset, with holes where cleaning took some.

    Attributes:
        start: the first offset that may still be there.
        end: the offset that the next record gets.
        records: what is there.
    """

    start: int = 0
    end: int = 0
    records: list[Stored] = field(default_factory=list)

    def append(
        self, timestamp_ms: int, key: bytes | None, value: bytes | None, headers: Headers
    ) -> None:
        """Write a record at the end."""
        self.records.append(Stored(self.end, timestamp_ms, key, value, headers))
        self.end += 1

    def read(self, position: int, limit: int) -> list[Stored]:
        """Up to ``limit`` records from the first at or after ``position``."""
        first = bisect.bisect_left(self.records, position, key=_offset)
        return self.records[first : first + limit]

    def compact(self, now_ms: int, tombstone_ms: int) -> None:
        """Keep the last record of each key, and tombstones only for ``tombstone_ms``."""
        last = {record.key: record.offset for record in self.records}
        self.records = [
            record
            for record in self.records
            if last[record.key] == record.offset
            and (record.value is not None or now_ms - record.timestamp_ms < tombstone_ms)
        ]

    def expire(self, now_ms: int, retention_ms: int, retention_bytes: int) -> None:
        """Delete the oldest records by age and by size; -1 stands for no limit."""
        drop = 0
        if retention_ms >= 0:
            while (
                drop < len(self.records) and now_ms - self.records[drop].timestamp_ms > retention_ms
            ):
                drop += 1
        if retention_bytes >= 0:
            size = sum(record.size for record in self.records[drop:])
            while drop < len(self.records) and size > retention_bytes:
                size -= self.records[drop].size
                drop += 1
        if drop:
            self.start = self.records[drop - 1].offset + 1
            del self.records[:drop]


class Topic:
    """One topic.

    Args:
        spec: its declaration.
        brokers: how many brokers the cluster pretends to have.

    Raises:
        BrokerError: Kafka would refuse the declaration.
    """

    def __init__(self, spec: TopicSpec, brokers: int) -> None:
        if not _NAME.fullmatch(spec.name) or spec.name in {".", ".."}:
            raise BrokerError(
                f"creating {spec.name}: a topic's name has 1 to 249 of the characters a-z, A-Z, "
                "0-9, '.', '_' and '-'"
            )
        if spec.partitions < 1:
            raise BrokerError(f"creating {spec.name}: {spec.partitions} partitions; need 1 or more")
        if not 1 <= spec.replication <= brokers:
            raise BrokerError(
                f"creating {spec.name}: replication factor {spec.replication} with {brokers} "
                "broker(s); lower cluster.replication in topics.yaml"
            )
        self.name = spec.name
        self.replication = spec.replication
        self.logs = [Log() for _ in range(spec.partitions)]
        self._own: dict[str, str] = {}
        self.configure(spec.configs)

    def configure(self, configs: Mapping[str, str]) -> None:
        """Set some configs.

        Raises:
            BrokerError: Kafka knows no such config, or not that value.
        """
        for key, value in configs.items():
            if key not in TOPIC_DEFAULTS:
                raise BrokerError(f"configuring {self.name}: unknown topic config name: {key}")
            if not _valid(key, value):
                raise BrokerError(
                    f"configuring {self.name}: invalid value {value!r} for configuration {key}"
                )
        self._own.update(configs)

    def number(self, key: str) -> int:
        """An integer config in force."""
        return int(self._own.get(key, TOPIC_DEFAULTS[key]))

    @property
    def compacted(self) -> bool:
        """Whether cleaning keeps the last record of each key."""
        return "compact" in self._policy

    @property
    def _policy(self) -> str:
        return self._own.get("cleanup.policy", TOPIC_DEFAULTS["cleanup.policy"])

    def state(self) -> TopicState:
        """The topic as an administrator sees it."""
        return TopicState(
            name=self.name,
            partitions=len(self.logs),
            replication=self.replication,
            configs={**TOPIC_DEFAULTS, **self._own},
            defaults=frozenset(TOPIC_DEFAULTS.keys() - self._own.keys()),
        )

    def clean(self, now_ms: int) -> None:
        """Do what the topic's cleanup.policy asks for."""
        for log in self.logs:
            if self.compacted:
                log.compact(now_ms, self.number("delete.retention.ms"))
            if "delete" in self._policy:
                log.expire(now_ms, self.number("retention.ms"), self.number("retention.bytes"))


def record_size(record: Record) -> int:
    """What Kafka compares with max.message.bytes, to within a few bytes."""
    return _size(record.key, record.value, record.headers) + _RECORD_OVERHEAD


def _size(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> int:
    return (
        len(key or b"")
        + len(value or b"")
        + sum(len(name.encode()) + len(raw) + 2 for name, raw in headers)
    )


def _offset(record: Stored) -> int:
    return record.offset


def _valid(key: str, value: str) -> bool:
    default = TOPIC_DEFAULTS[key]
    if key == "cleanup.policy":
        return bool(value) and set(value.split(",")) <= {"delete", "compact"}
    if default in {"true", "false"}:
        return value in {"true", "false"}
    if default.lstrip("-").isdigit():
        return re.fullmatch(r"-?\d{1,19}", value) is not None
    return True
