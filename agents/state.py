"""A replica's row in ``F.state``: what it tells the others, and `videojam up`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.balancing import Row
from dataflow.errors import RecordError

FORMER_PEERS = "(former)"
"""In place of a peer's name, for all those that are gone: together, so that a row does not grow
with every replica that there ever was. No replica can be called so."""


class LinkState(BaseModel):
    """How long deliveries to a peer take, as estimated from those that were acknowledged."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    seconds: float
    """Expected seconds of an item of the mean size."""
    bytes_per_second: float
    """Moving mean of bytes / seconds of the deliveries."""


class ForecasterState(BaseModel):
    """How a watched forecaster does of late; the figures of `forecasting.Drift`."""

    model_config = ConfigDict(
        extra="ignore", frozen=True, from_attributes=True, use_attribute_docstrings=True
    )

    compared: int
    """Windows that the figures are about."""
    error: float | None = None
    """Absolute error over the load."""
    baseline_error: float | None = None
    """The same of the last window."""
    ratio: float | None = None
    """Error over that of the last window: above 1 the forecaster does harm."""
    bias: float | None = None
    """Signed error over the load."""
    handed_over: bool = False
    """Whether the last window forecasts at present."""
    hand_overs: int = 0
    """How often it has taken over."""
    faults: int = 0
    """Forecasts that had to be replaced."""
    tuned: bool = False
    """Whether a last layer that was learned from the replica's own load is in use."""


class Balance(BaseModel):
    """What a replica's balancer shows of itself. Counts are since the start of the process."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    policy: str
    """Name of the balancer."""
    row: Row | None = None
    """The replica's row of the state table: what its neighbours decide by."""
    forecast: float | None = None
    """Items that it expects to have in the next window, waiting ones included."""
    arrivals: float | None = None
    """Items a second that came from upstream over the last slots."""
    coming: float | None = None
    """Items a second that it forecasts to come from upstream over the next slots."""
    quotas: dict[str, int] = Field(default_factory=dict)
    """Items that it is to hand to each peer under the present policy."""
    offloaded: dict[str, int] = Field(default_factory=dict)
    """Items handed to each peer; those of peers that are gone as of one, `FORMER_PEERS`."""
    offloaded_bytes: int = 0
    """Their bytes."""
    received: dict[str, int] = Field(default_factory=dict)
    """Items taken over from each peer, likewise."""
    failed: int = 0
    """Items that could not be handed on, and came back into the queue."""
    links: dict[str, LinkState] = Field(default_factory=dict)
    """The link to each peer that has had a delivery."""
    dropped: dict[str, int] = Field(default_factory=dict)
    """Items dropped, by reason."""
    shed: int = 0
    """Items dropped because the whole group lacks capacity."""
    signals_sent: dict[str, int] = Field(default_factory=dict)
    """By kind."""
    signals_heard: dict[str, int] = Field(default_factory=dict)
    """By kind."""
    overloaded_since: float | None = None
    """Since when the whole group lacks capacity, seconds since the epoch."""
    busy: float = 0.0
    """Fraction of a core that balancing has taken; see `agents.showing.Tally.spent`."""
    rows: int = 0
    """Rows published."""
    forecaster: ForecasterState | None = None
    """How the forecaster does, where it is watched."""


class ReplicaState(BaseModel):
    """One record of the compacted state topic; its key is the replica's name."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    version: Literal[1] = 1
    replica: str
    """Name, unique in the function's group."""
    incarnation: str
    """One life of the process: another one under the same name is another process."""
    function: str
    """The function."""
    host: str
    """Where it runs."""
    pid: int
    """Its process."""
    at: float
    """When its counts were made, seconds since the epoch; by a clock that is never set while the
    process lives. Rows that follow each other within a moment may share them."""
    started_at: float
    """When the process began, seconds since the epoch."""
    partitions: tuple[int, ...]
    """Partitions of ``F.work`` that it owns."""
    queued: int = Field(ge=0)
    """Items waiting in its queue."""
    queued_bytes: int = Field(ge=0)
    """Their bytes."""
    processed: int = Field(ge=0)
    """Items processed since the start."""
    dropped: int = Field(ge=0)
    """Items dropped since the start."""
    dead: int = Field(ge=0)
    """Dead letters since the start."""
    rate: float
    """Items a second, lately."""
    busy: float
    """Fraction of the time spent in the function, lately."""
    service_seconds: float | None
    """Mean seconds in the function per item."""
    response_seconds: float | None
    """Mean seconds from capture to the end of this function."""
    balance: Balance | None = None
    """What its balancer does."""

    @classmethod
    def from_json(cls, value: bytes) -> ReplicaState:
        """Read a record's value.

        Raises:
            RecordError: reason ``bad-state``.
        """
        try:
            return cls.model_validate_json(value)
        except ValidationError as error:
            raise RecordError("bad-state", str(error)) from error
