"""Peers that will not be heard of any more, and when nothing of them is left to come."""

from __future__ import annotations

from agents.balancing import StateTable
from agents.showing import Tally

_FORGET_SECONDS = 60.0
"""A peer that has been silent for so long counts as one that has said goodbye. Where each replica
that is started gets a name of its own, those that were killed would otherwise be kept, asked for
their rows, and shown, for as long as this one lives."""


class Parting:
    """Keeps a tally from growing with every replica that there ever was.

    Args:
        tally: of the replica.
    """

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._parted: dict[str, float] = {}

    def part_from(self, now: float, peer: str) -> None:
        """It has said goodbye, or `lost` has named it."""
        self._parted[peer] = now
        self._tally.part_from(peer)

    def lost(self, now: float, table: StateTable) -> list[str]:
        """Peers to part from: the silent ones, and those of which something came late.

        Work and rows are different topics, so the last items from and to a peer may come after its
        goodbye.
        """
        late = [peer for peer, at in self._parted.items() if now - at > _FORGET_SECONDS]
        for peer in late:
            del self._parted[peer]
        back = set(table.neighbours)
        late = [peer for peer in late if self._tally.knows(peer) and peer not in back]
        return [*table.lost(now, _FORGET_SECONDS), *late]
