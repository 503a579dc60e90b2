"""What a replica has in hand: items that it has fetched and that have not ended yet.

One lock guards all of it. The fetching thread puts items in, the processing thread takes batches
out, the balancing thread claims items for peers, and delivery reports end them.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass

from agents.balancing import Order, Queue, Waiting
from agents.progress import PartitionProgress, Progress
from agents.queue import WorkQueue
from dataflow.config import QueueConfig
from dataflow.messages import WorkItem
from dataflow.transport import Received, TopicPartition


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One fetched item.

    Attributes:
        item: as its headers describe it.
        record: as it was received.
        progress: of its partition, in the assignment that it was fetched under.
        waiting: how the balancer sees it.
        received: when it was fetched, seconds since the epoch.
        queued: when it entered the first queue of the group: the queue's order.
    """

    item: WorkItem
    record: Received
    progress: PartitionProgress
    waiting: Waiting
    received: float
    queued: float


class Hand:
    """The queue, and what has left it without having ended.

    Every method must be called with ``changed`` held. Invariant: an item that was started and not
    finished is either in the queue or counted as open.

    Args:
        limits: of the queue.
        order: which items the function takes next.
    """

    def __init__(self, limits: QueueConfig, order: Order) -> None:
        self.changed = threading.Condition()
        self.progress = Progress()
        self.in_function = 0
        self._order = order
        self._open: Counter[PartitionProgress] = Counter()
        self._queue: WorkQueue[Entry] = WorkQueue(
            max_items=limits.items,
            max_bytes=int(limits.size),
            when_full=limits.when_full,
            size_of=lambda entry: entry.waiting.size,
            since=lambda entry: entry.queued,
        )

    # -- the queue ------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def bytes(self) -> int:
        """Bytes waiting."""
        return self._queue.bytes

    def room(self) -> int:
        """How many more items may be put in before the queue is full."""
        return self._queue.room()

    def snapshot(self) -> Queue:
        """What waits, oldest first, as the balancer wants it."""
        return Queue(
            waiting=tuple(entry.waiting for entry in self._queue), in_flight=self.in_function
        )

    def put(self, entry: Entry) -> list[Entry]:
        """Queue an item; returns those that had to go for it, counted as open.

        The caller notifies ``changed`` when it has put in all that it has: waking the function for
        each item would make its batches small.
        """
        evicted = self._queue.offer(entry)
        self._count(evicted)
        return evicted

    def put_back(self, entry: Entry) -> list[Entry]:
        """An open item waits again, unless its partition has left in the meantime."""
        self._close(entry.progress)
        partition = entry.record.topic_partition
        if partition not in self.progress or self.progress.of(partition) is not entry.progress:
            return []
        evicted = self.put(entry)
        self.changed.notify_all()
        return evicted

    def take(self, most: int) -> list[Entry]:
        """The next batch for the function, counted as open and in the function."""
        places = self._order.take([entry.waiting for entry in self._queue], most)
        batch = self._queue.remove(places)
        self._count(batch)
        self.in_function = len(batch)
        self.changed.notify_all()  # there is room
        return batch

    def claim(self, keys: Sequence[Hashable]) -> list[Entry]:
        """Take these items out, in this order, counted as open; unknown keys are passed over."""
        wanted = set(keys)
        gone = {e.waiting.key: e for e in self._queue.discard(lambda e: e.waiting.key in wanted)}
        claimed = [gone[key] for key in keys if key in gone]
        self._count(claimed)
        if claimed:
            self.changed.notify_all()
        return claimed

    # -- what is open ---------------------------------------------------------------------------

    def open_record(self, progress: PartitionProgress) -> None:
        """A record that never was an item has to end too."""
        self._open[progress] += 1

    def finish(self, progress: PartitionProgress, offset: int) -> None:
        """An open item has ended: its outcome is published."""
        progress.finish(offset)
        self._close(progress)

    def _close(self, progress: PartitionProgress) -> None:
        if progress in self._open:  # else its partition has left in the meantime
            self._open[progress] -= 1

    def _count(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._open[entry.progress] += 1

    # -- partitions -----------------------------------------------------------------------------

    def discard(self, partitions: Collection[TopicPartition]) -> None:
        """Partitions leave: what waits of them is for their next owner."""
        self._queue.discard(lambda entry: entry.record.topic_partition in partitions)

    def has_open(self, partitions: Collection[TopicPartition]) -> bool:
        """Whether items of these partitions have left the queue and not ended."""
        return any(self._open[self.progress.of(p)] for p in partitions if p in self.progress)

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Partitions are gone."""
        for partition in partitions:
            if partition in self.progress:
                self._open.pop(self.progress.of(partition), None)
        self.progress.drop(partitions)
