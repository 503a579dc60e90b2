"""A replica at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agents.histogram import Counts
    from agents.state import Balance


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaStatus:
    """A replica at one moment; what its row in ``F.state`` shows.

    Attributes:
        partitions: numbers of the partitions it owns.
        queued: items waiting.
        queued_bytes: their bytes.
        processed: items that the function has processed, in all.
        dropped: items dropped, in all.
        dead: dead letters, in all.
        rate: items a second over the last seconds.
        busy: fraction of the last seconds spent in the function.
        service_seconds: mean time of the function per item, None while unknown.
        response_seconds: mean time from capture to the end of this function.
    """

    partitions: tuple[int, ...]
    queued: int
    queued_bytes: int
    processed: int
    dropped: int
    dead: int
    rate: float
    busy: float
    service_seconds: float | None
    response_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """A replica with its balancing at one moment; what metrics are made of.

    Attributes:
        status: the replica.
        balance: its balancing, with the row as it is now.
        balancing_seconds: processor time of balancing; see `agents.showing.Tally.spent`.
        batches: calls of the function.
        busy_seconds: spent in them.
        responses: seconds from capture to the end of this function, of each item.
    """

    status: ReplicaStatus
    balance: Balance
    balancing_seconds: float
    batches: int
    busy_seconds: float
    responses: Counts
