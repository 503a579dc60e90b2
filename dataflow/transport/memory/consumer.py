"""The in-memory group consumer and reader."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from dataflow.errors import BrokerError
from dataflow.transport.base import RebalanceListener, Received, Start, TopicPartition
from dataflow.transport.memory.cluster import Cluster, Cursor, deadline_after
from dataflow.transport.memory.group import Member


class MemoryGroupConsumer:
    """See `dataflow.transport.base.GroupConsumer`.

    A partition without a commit is read from the earliest record.
    """

    def __init__(
        self, cluster: Cluster, group: str, topics: Sequence[str], listener: RebalanceListener
    ) -> None:
        self._cluster = cluster
        self._group = cluster.group(group)
        self._listener = listener
        self._member = Member(tuple(topics))
        self._cursor = Cursor()
        self._unsent: dict[TopicPartition, int] = {}
        self._joined = False
        self._closed = False

    def poll(self, max_records: int, timeout: float) -> list[Received]:
        """Records, and rebalances on the way."""
        left = deadline_after(timeout)
        cluster = self._cluster
        with cluster.condition:
            self._require_open()
            self._member.polled_at = None
        try:
            while True:
                while self._rebalance():
                    pass
                with cluster.condition:
                    self._require_open()
                    records = [] if cluster.down else self._cursor.fetch(cluster, max_records)
                    remaining = left()
                    if records or remaining <= 0:
                        return records
                    if not self._rebalance_due():
                        cluster.wait(remaining)
        finally:
            with cluster.condition:
                self._member.polled_at = cluster.clock()

    def commit(self, offsets: Mapping[TopicPartition, int], *, wait: bool) -> None:
        """Record the next offset to read of each partition."""
        with self._cluster.condition:
            self._require_open()
            if not offsets:
                return
            if self._cluster.down and not wait:
                self._unsent.update(offsets)
                return
            self._cluster.require_up()
            self._cluster.expire()
            foreign = sorted(offsets.keys() - self._member.owned)
            if self._member not in self._group:
                foreign = sorted(offsets)
            if not foreign:
                self._group.committed.update(offsets)
            elif wait:
                names = ", ".join(f"{tp.topic}[{tp.partition}]" for tp in foreign)
                raise BrokerError(f"committing offsets: not the owner of {names}")

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        """Stop fetching."""
        with self._cluster.condition:
            self._cursor.paused |= self._cursor.positions.keys() & set(partitions)

    def resume(self, partitions: Collection[TopicPartition]) -> None:
        """Fetch again."""
        with self._cluster.condition:
            self._cursor.paused -= set(partitions)

    def close(self) -> None:
        """Leave the group."""
        with self._cluster.condition:
            if self._closed:
                return
            self._cluster.expire()
            self._send_commits()
            owned = sorted(self._member.owned)
            lost = self._joined and self._member not in self._group
            alive = self._member.gone_at is None
        try:
            if owned and alive:
                (self._listener.on_lost if lost else self._listener.on_revoked)(owned)
        finally:
            with self._cluster.condition:
                self._closed = True
                if self._cluster.down and alive:
                    self._member.gone_at = self._cluster.clock()  # nobody hears the good-bye
                elif alive:
                    self._member.owned.clear()
                    self._group.leave(self._member, self._cluster.partitions)
                self._cluster.condition.notify_all()

    def crash(self) -> None:
        """Vanish, as a killed process does: no callback, no commit, no good-bye."""
        with self._cluster.condition:
            if not self._closed and self._member.gone_at is None:
                self._member.gone_at = self._cluster.clock()
                self._cluster.condition.notify_all()

    def expel(self) -> None:
        """Be removed by the coordinator, as after a pause longer than the session timeout."""
        with self._cluster.condition:
            self._group.leave(self._member, self._cluster.partitions)
            self._cluster.condition.notify_all()

    def _require_open(self) -> None:
        if self._closed or self._member.gone_at is not None:
            raise BrokerError("this consumer is closed or has crashed")

    def _rebalance_due(self) -> bool:
        return not self._cluster.down and bool(
            self._member not in self._group
            or self._member.revocable()
            or self._group.assignable(self._member)
        )

    def _rebalance(self) -> bool:
        """Do the next step towards the target; False when there is none.

        Ownership changes under the lock, callbacks run without it.
        """
        cluster, member = self._cluster, self._member
        with cluster.condition:
            lost = self._lose()
            if not lost:
                if cluster.down:
                    return False
                self._join()
                self._send_commits()
            revoked = [] if lost else member.revocable()
            assigned = [] if lost or revoked else self._group.assignable(member)
            for partition in assigned:
                log = cluster.log(partition)
                begin = 0 if log is None else log.start
                self._cursor.positions[partition] = self._group.committed.get(partition, begin)
            member.owned.update(assigned)
        if lost:
            self._listener.on_lost(lost)
        elif revoked:
            try:
                self._listener.on_revoked(revoked)
            finally:
                with cluster.condition:
                    member.owned.difference_update(revoked)
                    self._cursor.drop(revoked)
                    cluster.condition.notify_all()
        elif assigned:
            self._listener.on_assigned(assigned)
        return bool(lost or revoked or assigned)

    def _lose(self) -> list[TopicPartition]:
        """What this member has lost since the last look; empty while it is a member."""
        cluster, member = self._cluster, self._member
        cluster.expire()
        if (
            cluster.down_since is not None
            and cluster.clock() - cluster.down_since >= cluster.session_timeout
        ):
            # A client that hears nothing for a session's length counts itself out.
            self._group.leave(member, cluster.partitions)
        if not self._joined or member in self._group:
            return []
        self._joined = False
        lost = sorted(member.owned)
        member.owned.clear()
        member.target.clear()
        self._cursor.drop(lost)
        self._unsent.clear()
        return lost

    def _join(self) -> None:
        for topic in self._member.topics:
            self._cluster.topic(topic)
        if self._member not in self._group:
            self._group.join(self._member, self._cluster.partitions)
            self._joined = True
            self._cluster.condition.notify_all()

    def _send_commits(self) -> None:
        """Commits made during an outage, as far as they are still ours to make."""
        if self._unsent and not self._cluster.down:
            if self._member in self._group:
                owned = self._member.owned
                self._group.committed.update(
                    {tp: at for tp, at in self._unsent.items() if tp in owned}
                )
            self._unsent.clear()


class MemoryReader:
    """See `dataflow.transport.base.Reader`."""

    def __init__(
        self,
        cluster: Cluster,
        topics: Sequence[str],
        start: Start,
        only: Collection[int] | None,
    ) -> None:
        self._cluster = cluster
        self._cursor = Cursor()
        self._ends: dict[TopicPartition, int] = {}
        self._closed = False
        with cluster.condition:
            cluster.require_up()
            for topic in topics:
                for number, log in enumerate(cluster.topic(topic).logs):
                    if only is None or number in only:
                        partition = TopicPartition(topic, number)
                        self._ends[partition] = log.end
                        self._cursor.positions[partition] = (
                            log.start if start == "earliest" else log.end
                        )

    def poll(self, max_records: int, timeout: float) -> list[Received]:
        """Records, as they come."""
        left = deadline_after(timeout)
        with self._cluster.condition:
            while True:
                if self._closed:
                    raise BrokerError("this reader is closed")
                down = self._cluster.down
                records = [] if down else self._cursor.fetch(self._cluster, max_records)
                remaining = left()
                if records or remaining <= 0:
                    return records
                self._cluster.wait(remaining)

    def caught_up(self) -> bool:
        """Whether nothing older than the reader is left to poll."""
        with self._cluster.condition:
            return all(self._passed(partition, end) for partition, end in self._ends.items())

    def close(self) -> None:
        """Release the connection."""
        with self._cluster.condition:
            self._closed = True

    def _passed(self, partition: TopicPartition, end: int) -> bool:
        log = self._cluster.log(partition)
        following = [] if log is None else log.read(self._cursor.positions[partition], 1)
        return not following or following[0].offset >= end
