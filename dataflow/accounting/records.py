"""Records of the accounting topic, as JSON.

A camera repeats a cumulative `CameraReport` for each pipeline it feeds; a worker publishes a
`DropReport` for each item it drops. Together with the results and the dead letters they say what
became of every frame. Delivery is at least once, so a reader takes the highest numbers and the
union of the lists; a frame that is both listed as dropped and processed was processed (its
delivery was reported as failed after it had been written).
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from dataflow.errors import RecordError

MAX_DROPS = 1000
"""Most drops in one record: about 50 kB of JSON, far below Kafka's default limit of 1 MB."""


class _Record(BaseModel):
    # A later version may add keys: readers of this one pass over them.
    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    def to_json(self) -> bytes:
        """The record's value."""
        return self.model_dump_json().encode()


class DroppedFrame(_Record):
    """A frame that its camera did not deliver."""

    sequence: int = Field(ge=0)
    """Its number in the stream."""
    reason: str
    """A short, stable code; see `dataflow.camera.ledger`."""


class CameraReport(_Record):
    """What one camera has produced for one pipeline since its stream began."""

    type: Literal["camera"] = "camera"
    """Tells the records of the topic apart."""
    version: Literal[1] = 1
    """Version of this record's format."""
    camera: str
    """The camera's name."""
    stream: str
    """The run of the camera."""
    pipeline: str
    """The pipeline that its frames enter."""
    kind: str
    """The camera's kind."""
    produced: int = Field(ge=0)
    """Highest sequence number + 1: every frame captured has one, also those dropped locally."""
    acked: int = Field(ge=0)
    """Frames that the broker has acknowledged so far."""
    dropped: tuple[DroppedFrame, ...] = Field(default=(), max_length=MAX_DROPS)
    """Frames dropped since the record before; each frame is listed once in a stream."""
    closed: bool = False
    """The stream has ended: ``produced`` is final, and every frame has had its outcome."""
    at: float
    """When this was written, in seconds since the epoch, by the camera's clock."""

    @property
    def key(self) -> bytes:
        """Key of the record: ``camera/<name>/<stream>/<pipeline>``."""
        return f"camera/{self.camera}/{self.stream}/{self.pipeline}".encode()


class DropReport(_Record):
    """One item that a worker dropped on purpose."""

    type: Literal["drop"] = "drop"
    """Tells the records of the topic apart."""
    version: Literal[1] = 1
    """Version of this record's format."""
    id: str
    """The item's identity, `WorkItem.id`."""
    pipeline: str
    """The pipeline it was passing."""
    camera: str
    """The camera it came from."""
    stream: str
    """The run of the camera."""
    sequence: int = Field(ge=0)
    """The frame's number in the stream."""
    part: str = ""
    """Which part of the frame, as `Part` writes it; empty for the whole frame."""
    function: str
    """The function it was waiting for."""
    replica: str
    """Who dropped it."""
    reason: str
    """A short, stable code."""
    at: float
    """When, in seconds since the epoch, by the replica's clock."""

    @property
    def key(self) -> bytes:
        """Key of the record: ``drop/<pipeline>/<id>``."""
        return f"drop/{self.pipeline}/{self.id}".encode()


_ANY: TypeAdapter[CameraReport | DropReport] = TypeAdapter(
    Annotated[CameraReport | DropReport, Field(discriminator="type")]
)


def parse_report(value: bytes | None) -> CameraReport | DropReport:
    """Read a record of the accounting topic.

    Raises:
        RecordError: reason ``unknown-version`` or ``bad-report``.
    """
    try:
        data = json.loads(value or b"")
    except ValueError as error:
        raise RecordError("bad-report", f"not JSON: {error}") from error
    if not isinstance(data, dict):
        raise RecordError("bad-report", f"a JSON {type(data).__name__} where a report should be")
    if data.get("version", 1) != 1:
        raise RecordError("unknown-version", f"report version {data['version']!r}; this reads 1")
    try:
        return _ANY.validate_python(data)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise RecordError("bad-report", f"{where}: {fault['msg']}") from error
