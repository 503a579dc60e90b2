"""What a replica does when partitions come and go."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping

from agents.caller import Caller
from agents.cameras import CameraStates
from agents.hand import Hand
from agents.steering import Steering
from dataflow.transport import Producer, TopicPartition

_log = logging.getLogger("videojam.worker")

HANDOVER_SECONDS = 20.0
"""Deadline for all that a rebalance waits for; well below the group's max.poll.interval."""
_LOOK_SECONDS = 0.1
"""Pause between two looks, while the function is waited for, whether its call hangs."""


class Handover:
    """A `dataflow.transport.RebalanceListener`: takes partitions over, and hands them on.

    It runs in the thread that also watches for calls that hang, so it never waits for the function
    without watching. It raises nothing: who polls looks for faults afterwards.

    Args:
        replica: this replica's name.
        hand: what it has in hand.
        caller: the function.
        cameras: state per camera.
        steering: is told of the partitions.
        producer: of the outcomes and of the cameras' states.
        commit: records offsets, and returns when the broker has them or has refused them.
        dropped: told of partitions that are owned no more.
        failing: looks whether the replica is about to end with a fault; a hung call is one.
        monotonic: seconds of a clock that never jumps.
    """

    def __init__(
        self,
        *,
        replica: str,
        hand: Hand,
        caller: Caller,
        cameras: CameraStates,
        steering: Steering,
        producer: Producer,
        commit: Callable[[Mapping[TopicPartition, int]], None],
        dropped: Callable[[Collection[TopicPartition]], None],
        failing: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._replica = replica
        self._hand = hand
        self._caller = caller
        self._cameras = cameras
        self._steering = steering
        self._producer = producer
        self._commit = commit
        self._dropped = dropped
        self._failing = failing
        self._monotonic = monotonic

    def on_assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Take over partitions, and the state of the cameras that live there."""
        if not self._between_calls(lambda: self._cameras.take_over(_numbers(partitions))):
            return  # the replica is about to end: their next owner does better with them
        with self._hand.changed:
            self._hand.progress.assign(partitions)
            outgoing = self._steering.assigned()
        self._steering.send(outgoing)
        _log.info("%s owns %s more: %s", self._replica, len(partitions), _listed(partitions))

    def on_revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Finish what is in hand, commit it, and leave the rest to the next owner."""
        going = set(partitions)
        deadline = self._monotonic() + HANDOVER_SECONDS
        with self._hand.changed:
            self._hand.discard(going)
        while self._has_open(going) and not self._failing():
            if self._monotonic() > deadline:
                _log.warning("handing over with work in hand: some items will be done twice")
                break
            self._producer.poll(0.02)
        # A call that hangs holds the function for ever: its cameras keep their last snapshots.
        self._between_calls(lambda: self._cameras.hand_over(_numbers(partitions)), deadline)
        self._producer.flush(max(0.1, deadline - self._monotonic()))
        with self._hand.changed:
            positions = self._hand.progress.positions(going)
        self._commit(positions)
        self._drop(partitions)

    def on_lost(self, partitions: Collection[TopicPartition]) -> None:
        """Somebody else has them already: forget them."""
        with self._hand.changed:
            self._hand.discard(set(partitions))
        self._between_calls(lambda: self._cameras.forget(_numbers(partitions)))
        self._drop(partitions)

    def _between_calls(self, action: Callable[[], None], deadline: float | None = None) -> bool:
        """Do something while the function is not called; False when it does not come back.

        Args:
            action: what is done.
            deadline: when to give up, by the monotonic clock; None for only when a fault shows.
        """
        while True:
            with self._caller.exclusive(timeout=_LOOK_SECONDS) as free:
                if free:
                    action()
                    return True
            if self._failing() or (deadline is not None and self._monotonic() > deadline):
                return False

    def _drop(self, partitions: Collection[TopicPartition]) -> None:
        with self._hand.changed:
            self._hand.forget(partitions)
            outgoing = self._steering.assigned()
        self._dropped(partitions)
        self._steering.send(outgoing)
        _log.info("%s gave up %s: %s", self._replica, len(partitions), _listed(partitions))

    def _has_open(self, partitions: Collection[TopicPartition]) -> bool:
        with self._hand.changed:
            return self._hand.has_open(partitions)


def _numbers(partitions: Collection[TopicPartition]) -> list[int]:
    return [tp.partition for tp in partitions]


def _listed(partitions: Collection[TopicPartition]) -> str:
    return ", ".join(map(str, sorted(_numbers(partitions)))) or "none"
