"""What the parts of one in-memory transport share: topics, groups, the lock and the faults."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from dataflow.errors import BrokerError
from dataflow.transport.base import Received, TopicPartition
from dataflow.transport.memory.group import Group
from dataflow.transport.memory.log import Log, Topic

_WATCH_SECONDS = 0.02
"""How often a waiting call looks at the clock while something is due by it alone."""
_IDLE_SECONDS = 1.0
"""The same while nothing is known to be due."""


@dataclass(slots=True, kw_only=True)
class Cluster:
    """One broker's worth of state. All of it is read and changed under ``condition``.

    Attributes:
        clock: seconds since the epoch, for timestamps and all timeouts but those of calls.
        session_timeout: seconds after which a member that vanished loses its partitions.
        max_poll_interval: seconds without a poll after which a member is removed.
        brokers: how many brokers it pretends to have: the limit of the replication factor.
        condition: notified of every change.
        topics: by name.
        failing: how many coming deliveries fail, by topic.
        down_since: when the outage began, or None.
        writers: how many atomic writers of a name there have been; the last one may write.
    """

    clock: Callable[[], float]
    session_timeout: float
    max_poll_interval: float
    brokers: int
    condition: threading.Condition = field(default_factory=threading.Condition)
    topics: dict[str, Topic] = field(default_factory=dict)
    failing: Counter[str] = field(default_factory=Counter)
    down_since: float | None = None
    writers: Counter[str] = field(default_factory=Counter)
    _groups: dict[str, Group] = field(default_factory=dict)

    @property
    def down(self) -> bool:
        """Whether there is an outage."""
        return self.down_since is not None

    @property
    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return int(self.clock() * 1000)

    @property
    def partitions(self) -> dict[str, int]:
        """Number of partitions of each topic."""
        return {name: len(topic.logs) for name, topic in self.topics.items()}

    def require_up(self) -> None:
        """Raise BrokerError during an outage."""
        if self.down:
            raise BrokerError(
                "no Kafka broker answers: this transport is in memory and in an outage\n"
                "  remedy: end it with MemoryTransport.restore()"
            )

    def topic(self, name: str) -> Topic:
        """The topic of that name.

        Raises:
            BrokerError: there is none.
        """
        try:
            return self.topics[name]
        except KeyError:
            raise BrokerError(
                f"no topic {name}\n"
                "  remedy: create it: `videojam topics apply` on a cluster, Admin.create in memory"
            ) from None

    def log(self, partition: TopicPartition) -> Log | None:
        """The log of a partition, or None where it is gone."""
        topic = self.topics.get(partition.topic)
        if topic is None or partition.partition >= len(topic.logs):
            return None
        return topic.logs[partition.partition]

    def group(self, name: str) -> Group:
        """The group of that name, a new one at its first mention."""
        if name not in self._groups:
            self._groups[name] = Group(self.session_timeout, self.max_poll_interval)
        return self._groups[name]

    def topics_changed(self, *, deleted: Collection[str] = ()) -> None:
        """Compute all groups' assignments anew."""
        for group in self._groups.values():
            for topic in deleted:
                group.forget(topic)
            group.rebalance(self.partitions)
        self.condition.notify_all()

    def expire(self) -> None:
        """Remove members whose time is up."""
        now, partitions = self.clock(), self.partitions
        for group in self._groups.values():
            if group.expire(now, partitions):
                self.condition.notify_all()

    def wait(self, seconds: float) -> None:
        """Wait for a change, for at most ``seconds`` of real time."""
        due = self.down or any(group.awaits_timeout for group in self._groups.values())
        self.condition.wait(min(seconds, _WATCH_SECONDS if due else _IDLE_SECONDS))


@dataclass(slots=True)
class Cursor:
    """Positions in some partitions, and what is fetched from there.

    Attributes:
        positions: the offset to fetch next, by partition.
        paused: partitions that are not fetched.
    """

    positions: dict[TopicPartition, int] = field(default_factory=dict)
    paused: set[TopicPartition] = field(default_factory=set)
    _turn: int = 0

    def drop(self, partitions: Collection[TopicPartition]) -> None:
        """Forget some partitions."""
        for partition in partitions:
            self.positions.pop(partition, None)
            self.paused.discard(partition)

    def fetch(self, cluster: Cluster, limit: int) -> list[Received]:
        """Up to ``limit`` records, beginning with another partition each time."""
        ready = sorted(self.positions.keys() - self.paused)
        if not ready:
            return []
        self._turn = (self._turn + 1) % len(ready)
        received: list[Received] = []
        for partition in ready[self._turn :] + ready[: self._turn]:
            log = cluster.log(partition)
            if log is None:
                continue
            position = self.positions[partition]
            if not log.start <= position <= log.end:  # deleted below us, or the topic is new
                position = log.start
            room = limit - len(received)
            found = log.read(position, room)
            # Past the last record there may be holes that cleaning left: they count as read.
            self.positions[partition] = found[-1].offset + 1 if len(found) == room else log.end
            received += [
                Received(
                    partition.topic,
                    partition.partition,
                    record.offset,
                    record.key,
                    record.value,
                    record.headers,
                    record.timestamp_ms,
                )
                for record in found
            ]
            if len(received) == limit:
                break
        return received


def deadline_after(timeout: float) -> Callable[[], float]:
    """A function that returns how many seconds of ``timeout`` are left, by real time."""
    end = time.monotonic() + timeout
    return lambda: end - time.monotonic()
