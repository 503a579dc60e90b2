"""The messages between balancers (thesis 3.4.2), as JSON on ``F.signals``.

Each may carry its sender's table. Their size is bounded: a table that is too long for one message
loses its oldest rows.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from agents.balancing.values import Count, Finite, Name, Relayed
from dataflow.errors import RecordError

MAX_BYTES = 256 * 1024
"""Largest signal that is written or read."""
MAX_TABLE = 1000
"""Most rows that are read from one."""


class Priority(IntEnum):
    """What a replica attends to first; equal ones oldest first."""

    CONGESTION = 0
    SIGNAL = 1
    """Information requests, state updates and offload announcements."""
    DATA = 2


class _Signal(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    version: Literal[1] = 1
    sender: Name
    """Who sends it."""
    incarnation: Name
    """Which life of the sender."""
    to: Name | None = None
    """The only replica that it concerns; None for everybody."""
    at: Finite
    """When it was sent, by the sender's clock."""
    table: Annotated[tuple[Relayed, ...], Field(max_length=MAX_TABLE)] = ()
    """The sender's own row and what it knows of others."""

    def encode(self) -> bytes:
        """JSON of at most `MAX_BYTES`; rows beyond it are left out, the last first."""
        data = self.model_dump_json().encode()
        rows = len(self.table)
        while len(data) > MAX_BYTES and rows:
            rows //= 2
            data = self.model_copy(update={"table": self.table[:rows]}).model_dump_json().encode()
        return data


class InformationRequest(_Signal):
    """Asks for the receiver's state, because ours is old or unknown."""

    kind: Literal["information-request"] = "information-request"


class StateUpdate(_Signal):
    """The answer: the sender's state is in its table."""

    kind: Literal["state-update"] = "state-update"


class CongestionRisk(_Signal):
    """Stop sending here: it was not expected, and there is no room."""

    kind: Literal["congestion-risk"] = "congestion-risk"
    expected: Count = 0
    """What the sender of this signal expects from its receiver, items in this window."""


class WorkRequest(_Signal):
    """Room for work: how competing consumers pull (`agents.balancing.pull`)."""

    kind: Literal["work-request"] = "work-request"
    room: Count
    """Items that the sender could start on soon."""


Signal: TypeAlias = InformationRequest | StateUpdate | CongestionRisk | WorkRequest
_ANY: TypeAdapter[Signal] = TypeAdapter(Annotated[Signal, Field(discriminator="kind")])


def decode_signal(data: bytes) -> Signal:
    """The inverse of ``encode``.

    Raises:
        RecordError: reason ``bad-signal``: too large, no JSON, of another version or kind.
    """
    if len(data) > MAX_BYTES:
        raise RecordError("bad-signal", f"{len(data)} bytes; at most {MAX_BYTES} are read")
    try:
        return _ANY.validate_json(data)
    except ValidationError as error:
        raise RecordError("bad-signal", str(error)) from error


def priority(signal: Signal) -> Priority:
    """Which signals come first: congestion before the others, all before data."""
    return Priority.CONGESTION if signal.kind == "congestion-risk" else Priority.SIGNAL
