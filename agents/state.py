"""A replica's row in ``F.state``: what it tells the others, and `videojam up`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dataflow.errors import RecordError


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
    """When this row was written, seconds since the epoch."""
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
