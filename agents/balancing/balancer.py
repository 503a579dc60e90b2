"""The interface of all balancers: events with their times in, actions out.

A balancer does no I/O, reads no clock and owns no thread. Its shell calls it from one thread at a
time, feeds it everything that happens to the replica, and carries out what comes back in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from agents.balancing.actions import Actions
from agents.balancing.member import Member
from agents.balancing.signals import Signal
from agents.balancing.values import Queue, Relayed, Row, Waiting


class Balancer(Protocol):
    """Decides for one replica.

    All times are seconds of one clock, whose zero slots are counted from: the epoch.
    """

    @property
    def member(self) -> Member:
        """What it has measured of itself and heard of the others."""
        ...

    def start(self, now: float) -> Actions:
        """The replica is ready: announce it."""
        ...

    def assigned(self, now: float, partitions: Sequence[int]) -> Actions:
        """The partitions that it owns from now on."""
        ...

    def arrived(self, now: float, items: Sequence[Waiting]) -> Actions:
        """Items came from upstream, those included that the queue then dropped.

        Called when they are in the queue, before the function can take them and before a full
        queue drops any: what comes back may make room.
        """
        ...

    def offloaded(self, now: float, sender: str, items: int, table: Sequence[Relayed]) -> Actions:
        """Items came from a peer; ``table`` is what the first of them carried."""
        ...

    def processed(self, now: float, items: int, seconds: float) -> Actions:
        """The function has done a batch in ``seconds``."""
        ...

    def heard(self, now: float, row: Row) -> Actions:
        """A neighbour published its row."""
        ...

    def gone(self, now: float, replica: str) -> Actions:
        """A neighbour said goodbye (its row was deleted), or has been silent for minutes."""
        ...

    def signalled(self, now: float, signal: Signal) -> Actions:
        """A signal came; those for others are ignored."""
        ...

    def delivered(self, now: float, peer: str, items: int, size: int, seconds: float) -> Actions:
        """Offloaded items, ``size`` bytes, were acknowledged after ``seconds``."""
        ...

    def failed(self, now: float, peer: str, items: int, size: int) -> Actions:
        """Offloaded items could not be delivered; the shell has them back in the queue."""
        ...

    def tick(self, now: float, queue: Queue) -> Actions:
        """Time passes, or the queue has changed: what is to be done?"""
        ...
