"""Records on the accounting topic: what cameras produced, and what was dropped where."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from dataflow.errors import RecordError


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class DroppedFrame(_Record):
    """A frame that the camera itself gave up."""

    sequence: Annotated[int, Field(ge=0)]
    """Its number in the stream."""
    reason: str
    """Short code, for example ``buffer-full`` or ``delivery-failed``."""


class CameraReport(_Record):
    """What one run of a camera has produced for one pipeline so far."""

    type: Literal["camera"] = "camera"
    version: Literal[1] = 1
    camera: str
    """Name of the camera."""
    stream: str
    """One run of the camera."""
    pipeline: str
    """The pipeline that the frames entered."""
    kind: str
    """Kind of camera."""
    produced: Annotated[int, Field(ge=0)]
    """Frames captured: the highest sequence number plus one."""
    acked: Annotated[int, Field(ge=0)]
    """Frames that the broker has."""
    dropped: tuple[DroppedFrame, ...] = ()
    """Frames given up since the report before; each is listed once."""
    closed: bool = False
    """Whether this is the last report of the stream."""
    at: float
    """Seconds since the epoch."""


class DropReport(_Record):
    """An item that a replica dropped."""

    type: Literal["drop"] = "drop"
    version: Literal[1] = 1
    id: str
    """The item's identity within the pipeline."""
    pipeline: str
    """The pipeline."""
    camera: str
    """Name of the camera."""
    stream: str
    """One run of the camera."""
    sequence: Annotated[int, Field(ge=0)]
    """Number of the frame in the stream."""
    part: str
    """Which part of the frame; empty for all of it."""
    function: str
    """Where it was dropped."""
    replica: str
    """By whom."""
    reason: str
    """Short code, for example ``queue-full``."""
    at: float
    """Seconds since the epoch."""


_REPORT: TypeAdapter[CameraReport | DropReport] = TypeAdapter(
    Annotated[CameraReport | DropReport, Field(discriminator="type")]
)


def parse_report(value: bytes | None) -> CameraReport | DropReport:
    """Read a record of the accounting topic.

    Raises:
        RecordError: reason ``bad-report``.
    """
    try:
        return _REPORT.validate_json(value or b"")
    except ValidationError as error:
        raise RecordError("bad-report", str(error)) from error
