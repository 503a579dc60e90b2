"""Results: what a pipeline found in a frame or in one object of it, as JSON on ``results.*``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from dataflow.errors import RecordError
from dataflow.functions.base import Box, Detection
from dataflow.messages import FrameId, Part, Stage, WorkItem

Score = Annotated[float, Field(ge=0.0, le=1.0)]


def _writable(text: str) -> str:
    text.encode()  # half a surrogate pair is no text; UnicodeEncodeError is a ValueError
    return text


Text = Annotated[str, AfterValidator(_writable)]
"""What a plugin says; it can be written as UTF-8."""


class _Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,  # JSON has no word for them
    )


class ResultBox(_Model):
    """A rectangle in pixels of the camera's frame."""

    x: float
    """Left edge."""
    y: float
    """Top edge."""
    w: float
    """Width."""
    h: float
    """Height."""


class Found(_Model):
    """A vehicle, or another thing that a function of the user's own finds."""

    kind: Text
    """``vehicle``, or the plugin's own word."""
    label: Text = ""
    """Class within the kind."""
    score: Score
    """Confidence."""
    box: ResultBox
    """Where in the frame."""


class Plate(_Model):
    """A number plate."""

    text: Text
    """What it says."""
    confidence: Score
    """Confidence in the text."""
    box: ResultBox
    """Where in the frame."""


class StageTimes(_Model):
    """What one step cost, in seconds."""

    function: str
    """The function."""
    replica: str
    """The replica that ran it."""
    transit: float
    """From the end of the step before (or the capture) until this replica had the item."""
    waited: float
    """In the replica's queue."""
    took: float
    """In the function, as a member of its batch."""


class Result(_Model):
    """One end of a frame, or of one object cut from it. A repeated id is the same result again."""

    version: Literal[1] = 1
    """Version of this format."""
    id: str
    """Unique within the pipeline; also the record's key."""
    pipeline: str
    """The pipeline."""
    camera: str
    """The camera's name."""
    stream: str
    """One run of the camera."""
    sequence: Annotated[int, Field(ge=0)]
    """Number of the frame in the stream."""
    part: str = ""
    """Which part of the frame, for example ``0/2``: the first of two objects. Empty: all of it."""
    captured_at: AwareDatetime
    """By the camera's clock."""
    finished_at: AwareDatetime
    """By the last replica's clock."""
    response_seconds: float
    """From capture to finish."""
    vehicles: tuple[Found, ...] = ()
    """Vehicles in this part of the frame."""
    plates: tuple[Plate, ...] = ()
    """Plates in this part of the frame."""
    others: tuple[Found, ...] = ()
    """Whatever else functions found."""
    stages: tuple[StageTimes, ...] = ()
    """The steps it passed."""

    @property
    def frame(self) -> FrameId:
        """Identity of the frame."""
        return FrameId(camera=self.camera, stream=self.stream, sequence=self.sequence)

    def to_json(self) -> bytes:
        """The record's value."""
        return self.model_dump_json().encode()

    @classmethod
    def from_json(cls, value: bytes | None) -> Result:
        """Read a record's value.

        Raises:
            RecordError: reason ``bad-result``: not a result of this version.
        """
        try:
            return cls.model_validate_json(value or b"")
        except ValidationError as error:
            raise RecordError("bad-result", str(error)) from error


REPORTED_KINDS = ("vehicle", "plate")
"""Kinds with a list of their own in `Result`. ``region`` is never reported: it is a means."""


def reportable(detection: Detection) -> bool:
    """Whether a detection belongs in a result."""
    return detection.kind != "region"


def build_result(item: WorkItem, finished_at: float) -> Result:
    """The result of an item that has passed its last step.

    Args:
        item: with ``carried`` complete.
        finished_at: seconds since the epoch.

    Raises:
        RecordError: reason ``bad-result``: a function found something that cannot be written, for
            example a box that is not finite.
    """
    try:
        return _build(item, finished_at)
    except ValidationError as error:
        raise RecordError("bad-result", str(error)) from error


def _build(item: WorkItem, finished_at: float) -> Result:
    vehicles: list[Found] = []
    plates: list[Plate] = []
    others: list[Found] = []
    for found in item.carried:
        if found.kind == "plate":
            plates.append(
                Plate(text=found.text or "", confidence=_unit(found.score), box=_box(found.box))
            )
        elif reportable(found):
            entry = Found(
                kind=found.kind,
                label=found.label,
                score=_unit(found.score),
                box=_box(found.box),
            )
            (vehicles if found.kind == "vehicle" else others).append(entry)
    return Result.model_validate(
        {
            "id": item.id,
            "pipeline": item.pipeline,
            "camera": item.frame.camera,
            "stream": item.frame.stream,
            "sequence": item.frame.sequence,
            "part": str(item.part),
            "captured_at": item.captured_at,
            "finished_at": finished_at,
            "response_seconds": round(finished_at - item.captured_at, 6),
            "vehicles": tuple(vehicles),
            "plates": tuple(plates),
            "others": tuple(others),
            "stages": tuple(_stages(item.captured_at, item.stages)),
        }
    )


def _unit(score: float) -> float:
    return round(min(max(score, 0.0), 1.0), 4)


def _box(box: Box) -> ResultBox:
    return ResultBox(x=round(box.x, 1), y=round(box.y, 1), w=round(box.w, 1), h=round(box.h, 1))


def _stages(captured_at: float, stages: Iterable[Stage]) -> Iterable[StageTimes]:
    before = captured_at
    for stage in stages:
        yield StageTimes(
            function=stage.function,
            replica=stage.replica,
            transit=round(stage.received - before, 6),
            waited=round(stage.started - stage.received, 6),
            took=round(stage.finished - stage.started, 6),
        )
        before = stage.finished


def parse_part(result: Result) -> Part:
    """The part that a result stands for.

    Raises:
        RecordError: reason ``bad-result``.
    """
    try:
        return Part.parse(result.part)
    except ValueError as error:
        raise RecordError("bad-result", f"part {result.part!r}: {error}") from error
