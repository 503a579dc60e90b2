"""Taking over what was fetched: decoded, admitted, queued, and told to the balancer."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from agents.balancing import Relayed, Waiting
from agents.hand import Entry, Hand
from agents.outbox import read_handed
from agents.progress import PartitionProgress
from agents.steering import Outgoing, Steering
from dataflow.config import Config
from dataflow.errors import RecordError
from dataflow.messages import WorkItem
from dataflow.transport import Received


@dataclass(slots=True)
class Came:
    """What became of one fetch; all but what is queued is open and has to be reported."""

    evicted: list[Entry] = field(default_factory=list)
    """What had to go for it."""
    refused: list[Entry] = field(default_factory=list)
    """Frames that the group has no capacity for."""
    broken: list[tuple[Received, PartitionProgress, RecordError]] = field(default_factory=list)
    """Records that are no items of this function."""
    outgoing: list[Outgoing] = field(default_factory=list)
    """What the balancer decided at once."""


class Intake:
    """Fills a replica's hand.

    Args:
        config: the declaration.
        function: the replica's function.
        hand: the replica's.
        steering: is told what comes.
    """

    def __init__(self, config: Config, function: str, hand: Hand, steering: Steering) -> None:
        self._config = config
        self._function = function
        self._hand = hand
        self._steering = steering
        self._keys = itertools.count()

    def accept(self, records: Sequence[Received], now: float) -> Came:
        """Take over records; called with the hand's lock held.

        Args:
            records: as they were fetched.
            now: seconds since the epoch.
        """
        came = Came()
        upstream: list[Entry] = []
        handed: dict[str, tuple[int, tuple[Relayed, ...]]] = {}
        owned = self._hand.progress
        for record in records:
            if record.topic_partition not in owned:
                continue  # revoked while it was on its way to us; its next owner has it too
            progress = owned.of(record.topic_partition)
            progress.start(record.offset)
            try:
                item = WorkItem.from_record(record.headers, record.value)
                self._check_step(item)
            except RecordError as fault:
                self._hand.open_record(progress)
                came.broken.append((record, progress, fault))
                continue
            peer = read_handed(record.headers) if item.hops else None
            # A clock that is ahead must not send an item to the end of the queue for ever.
            queued = now if peer is None or peer.queued_at is None else min(now, peer.queued_at)
            entry = self._entry(record, progress, item, now, queued)
            if peer is not None:
                count, known = handed.get(peer.sender, (0, ()))
                handed[peer.sender] = (count + 1, peer.table or known)
            elif self._steering.admits(item.pipeline, item.step, item.frame.camera):
                upstream.append(entry)
            else:
                self._hand.open_record(progress)
                came.refused.append(entry)
                continue
            came.evicted += self._hand.put(entry)
        # The balancer is told before the function can take any of it.
        if upstream:
            came.outgoing.append(self._steering.arrived(upstream))
        for sender, (count, table) in handed.items():
            came.outgoing.append(self._steering.offloaded(sender, count, table))
        if upstream or handed:
            self._hand.changed.notify_all()
        return came

    def _entry(
        self,
        record: Received,
        progress: PartitionProgress,
        item: WorkItem,
        now: float,
        queued: float,
    ) -> Entry:
        waiting = Waiting(
            key=next(self._keys),
            camera=item.frame.camera,
            size=len(item.data),
            hops=item.hops,
        )
        return Entry(item, record, progress, waiting, now, queued)

    def _check_step(self, item: WorkItem) -> None:
        pipeline = self._config.pipelines.get(item.pipeline)
        if pipeline is None:
            raise RecordError("unknown-pipeline", f"no pipeline {item.pipeline!r} is declared")
        step = pipeline.step(item.step)
        if step is None or step.function != self._function:
            raise RecordError(
                "unknown-step", f"{item.step!r} of {item.pipeline!r} is no step of {self._function}"
            )
