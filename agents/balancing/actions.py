"""What comes out of a balancer. Its shell carries actions out in the order in which they come."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TypeAlias

from agents.balancing.signals import Signal
from agents.balancing.values import Relayed, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Offload:
    """Send items to a peer.

    Attributes:
        peer: the replica that is to process them.
        partitions: those that it owned when last heard of; any of them reaches it.
        keys: which items, in the order in which they should leave.
        table: rows to attach to the first item; empty except for the first after a new policy.
    """

    peer: str
    partitions: tuple[int, ...]
    keys: tuple[Hashable, ...]
    table: tuple[Relayed, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishState:
    """Publish this replica's row to all neighbours."""

    row: Row


@dataclass(frozen=True, slots=True, kw_only=True)
class SendSignal:
    """Publish a signal; see `agents.balancing.signals`."""

    signal: Signal


Action: TypeAlias = Offload | PublishState | SendSignal
Actions: TypeAlias = tuple[Action, ...]
