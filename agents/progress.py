"""Which offsets may be committed: those below which everything has ended.

Items of a partition end out of order (batches, deliveries, drops); the committed offset is that of
the oldest one still open. Pure and single-threaded; the engine guards it.
"""

from __future__ import annotations

from collections.abc import Collection

from dataflow.transport import TopicPartition


class PartitionProgress:
    """One assignment of one partition. A later assignment of it has its own object.

    Invariant: `position` never passes an offset that was started and has not finished.
    """

    def __init__(self) -> None:
        self._open: dict[int, None] = {}  # insertion order is offset order
        self._next: int | None = None
        self._committed: int | None = None

    def start(self, offset: int) -> None:
        """An item was fetched; offsets grow, but need not be consecutive."""
        self._open[offset] = None
        self._next = offset + 1

    def finish(self, offset: int) -> None:
        """The item has ended: its outcome is published."""
        self._open.pop(offset, None)

    def position(self) -> int | None:
        """The offset to commit; None before the first item."""
        return next(iter(self._open), self._next)

    def uncommitted(self) -> int | None:
        """The offset to commit if it has moved since `committed` was last called."""
        position = self.position()
        return None if position == self._committed else position

    def committed(self, offset: int) -> None:
        """Note a commit."""
        self._committed = offset


class Progress:
    """All partitions that a replica owns."""

    def __init__(self) -> None:
        self._partitions: dict[TopicPartition, PartitionProgress] = {}

    def __contains__(self, partition: TopicPartition) -> bool:
        return partition in self._partitions

    @property
    def partitions(self) -> list[TopicPartition]:
        """What is owned, sorted."""
        return sorted(self._partitions)

    def assign(self, partitions: Collection[TopicPartition]) -> None:
        """Start with newly assigned partitions."""
        for partition in partitions:
            self._partitions[partition] = PartitionProgress()

    def drop(self, partitions: Collection[TopicPartition]) -> None:
        """Forget partitions that are owned no more; their open items may still call ``finish``."""
        for partition in partitions:
            self._partitions.pop(partition, None)

    def of(self, partition: TopicPartition) -> PartitionProgress:
        """Progress of one partition that is owned."""
        return self._partitions[partition]

    def take_commits(self) -> dict[TopicPartition, int]:
        """Offsets that have moved since the last call, which are then taken as committed."""
        moved: dict[TopicPartition, int] = {}
        for partition, progress in self._partitions.items():
            offset = progress.uncommitted()
            if offset is not None:
                progress.committed(offset)
                moved[partition] = offset
        return moved

    def positions(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Offsets to commit when these leave, moved or not: an earlier commit may have failed."""
        return {
            partition: offset
            for partition in partitions
            if partition in self._partitions
            and (offset := self._partitions[partition].position()) is not None
        }
