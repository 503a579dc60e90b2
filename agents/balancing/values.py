"""What goes into a balancer and what comes out of it.

Times are seconds of the caller's clock, sizes are bytes, rates are items a second. ``Row`` crosses
the wire and is validated there; the other values stay inside a process.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

Floats: TypeAlias = npt.NDArray[np.float64]
Histories: TypeAlias = npt.NDArray[np.float32]

Forecast: TypeAlias = Callable[[Histories], Histories]
"""Arrivals a slot, float32[n, h] oldest first (0 where unknown) -> the next ones, float32[n, k]."""

MAX_NAME = 249
"""Longest name of a replica: that of a Kafka resource."""
MAX_CAMERAS = 256
"""Most cameras that a row lists: the busiest."""
MAX_PEERS = 10_000
"""Most peers that a row counts."""
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
Finite = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=2**53)]


class Row(BaseModel):
    """What a replica has measured about itself: one row of the state table (thesis 3.4.3).

    Only its own replica ever makes one. Others relay it as it is, so that what is measured and
    what is forecast never mix.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    version: Literal[1] = 1
    replica: Name
    """Who."""
    incarnation: Name
    """Which life of it."""
    at: Finite
    """When it was measured, by its own clock: orders the rows of one replica."""
    load: Count
    """Items waiting: neither in the function nor on their way to a neighbour."""
    in_flight: Count = 0
    """Items in the function."""
    mu: Finite
    """Items a second that it can process; 0 while nobody knows."""
    slot: Annotated[int, Field(ge=0, le=2**53)]
    """The first slot that ``history`` does not cover; slots count from the epoch."""
    history: Annotated[tuple[Count, ...], Field(max_length=1000)] = ()
    """Arrivals from upstream in each slot before ``slot``, drops included, oldest first."""
    partitions: Annotated[tuple[Count, ...], Field(max_length=10_000)] = ()
    """Partitions of the work topic that it owns: where to offload to."""
    received: Annotated[dict[Name, Count], Field(max_length=MAX_PEERS)] = Field(
        default_factory=dict
    )
    """Items that it has taken over from each peer in this life."""
    sending: Annotated[dict[Name, Count], Field(max_length=MAX_PEERS)] = Field(default_factory=dict)
    """Items that it has sent to each peer and that no row of that peer counts yet."""
    item_bytes: Finite = 0.0
    """Mean size of the items that arrived lately."""
    cameras: Annotated[dict[Name, Finite], Field(max_length=MAX_CAMERAS)] = Field(
        default_factory=dict
    )
    """Items a second from each camera whose home it is: what fairness is measured by."""


class Relayed(BaseModel):
    """A row as somebody else passes it on."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    row: Row
    """As its replica made it."""
    age: Finite
    """Seconds since the relaying replica learnt that its maker was alive then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """One item in a replica's queue.

    Attributes:
        key: how the shell finds it again.
        camera: whose it is.
        size: bytes.
        hops: how often it has been offloaded; 0 is an item from upstream.
    """

    key: Hashable
    camera: str = ""
    size: int = 0
    hops: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A replica's queue at one moment.

    Attributes:
        waiting: in the order of processing, next first. Nothing that is in the function, or
            already handed over for offloading.
        in_flight: items in the function.
    """

    waiting: Sequence[Waiting] = ()
    in_flight: int = 0
