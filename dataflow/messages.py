"""Work records: frames and objects on their way through a pipeline.

On the wire they are CloudEvents 1.0 in Kafka's binary content mode: the value is the JPEG as the
camera sent it, the attributes are headers with the prefix ``ce_``. Headers of our own, with the
prefix ``vj_``, carry what CloudEvents has no word for.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from dataflow.errors import RecordError
from dataflow.functions.base import Box, Detection
from dataflow.moments import parse_rfc3339, rfc3339

VERSION = "1"
"""Version of the ``vj_`` headers. A reader refuses others: it cannot know what changed."""

FRAME_TYPE = "io.videojam.frame.v1"
OBJECT_TYPE = "io.videojam.object.v1"
MAX_SEQUENCE = 2**63 - 1
"""Largest number of a frame in its stream."""
MAX_CUTS = 100
"""Deepest nesting of parts that is read: what walks along it may recurse."""
_CUT = re.compile(r"(0|[1-9][0-9]{0,8})/([1-9][0-9]{0,8})")
"""One spelling of each cut: two texts of the same part would be two identities."""
_NUMBER = re.compile(r"-?[0-9]{1,19}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameId:
    """Identity of a frame.

    Attributes:
        camera: the camera's name.
        stream: one run of the camera: a restarted camera counts its frames anew.
        sequence: number of the frame in the stream, from 0.
    """

    camera: str
    stream: str
    sequence: int

    def __str__(self) -> str:
        return f"{self.camera}/{self.stream}/{self.sequence}"


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of a frame an item is.

    A frame that a step cuts into n items yields the parts 0..n-1 of n; cutting one of them again
    nests. The whole frame is the empty path. Each part stands for a share of the frame, and the
    shares of all the ends of a frame sum to exactly 1 (see `dataflow.accounting`).

    Attributes:
        path: (index, count) from the outermost cut to the innermost.
    """

    path: tuple[tuple[int, int], ...] = ()

    def child(self, index: int, count: int) -> Part:
        """Part ``index`` of ``count`` of this part."""
        return Part((*self.path, (index, count)))

    @property
    def share(self) -> Fraction:
        """The share of the frame that this part stands for."""
        return Fraction(1, math.prod(count for _, count in self.path))

    def __str__(self) -> str:
        return ".".join(f"{index}/{count}" for index, count in self.path)

    @classmethod
    def parse(cls, text: str) -> Part:
        """The inverse of ``str``.

        Raises:
            ValueError: not a path of cuts.
        """
        if not text:
            return cls()
        path = []
        cuts = text.split(".")
        if len(cuts) > MAX_CUTS:
            raise ValueError(f"{len(cuts)} nested cuts; at most {MAX_CUTS} are read")
        for cut in cuts:
            match = _CUT.fullmatch(cut)
            index, count = (int(number) for number in match.groups()) if match else (0, 0)
            if not index < count:
                raise ValueError(f"{cut!r} is no part: index/count with index below count")
            path.append((index, count))
        return cls(tuple(path))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What one function did to an item; times in seconds since the epoch, by its own clock.

    Attributes:
        function: its name.
        replica: who did it.
        received: when the replica fetched the item.
        started: when the batch with the item began.
        finished: when the batch was done.
    """

    function: str
    replica: str
    received: float
    started: float
    finished: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkItem:
    """One item of work.

    Attributes:
        frame: the frame it is, or was cut from.
        pipeline: the pipeline it passes.
        step: id of the step that it waits for.
        captured_at: seconds since the epoch, by the camera's clock.
        data: the encoded image.
        content_type: MIME type of ``data``.
        part: which part of the frame.
        origin: where the image's top left pixel lies in the frame.
        detections: what the step before found in this image, in its pixels.
        carried: what all steps found that belongs to this item, in the frame's pixels.
        stages: the steps passed so far.
        hops: how often it was offloaded to a peer on its way to this step.
        traceparent: W3C trace context, if the camera or its application set one.
    """

    frame: FrameId
    pipeline: str
    step: str
    captured_at: float
    data: bytes = field(repr=False)
    content_type: str = "image/jpeg"
    part: Part = Part()
    origin: tuple[int, int] = (0, 0)
    detections: tuple[Detection, ...] = ()
    carried: tuple[Detection, ...] = ()
    stages: tuple[Stage, ...] = ()
    hops: int = 0
    traceparent: str | None = None

    @property
    def id(self) -> str:
        """Identity within the pipeline: ``camera/stream/sequence`` and the part, if it is one."""
        return f"{self.frame}/{self.part}" if self.part.path else str(self.frame)

    def headers(self) -> list[tuple[str, bytes]]:
        """The record's headers."""
        frame = self.frame
        values = {
            "ce_specversion": "1.0",
            "ce_id": self.id,
            "ce_source": f"/cameras/{frame.camera}",
            "ce_type": OBJECT_TYPE if self.part.path else FRAME_TYPE,
            "ce_time": rfc3339(self.captured_at),
            "content-type": self.content_type,
            "vj_version": VERSION,
            "vj_camera": frame.camera,
            "vj_stream": frame.stream,
            "vj_sequence": str(frame.sequence),
            "vj_pipeline": self.pipeline,
            "vj_step": self.step,
        }
        if self.part.path:
            values["vj_part"] = str(self.part)
        if self.origin != (0, 0):
            values["vj_origin"] = f"{self.origin[0]},{self.origin[1]}"
        if self.detections:
            values["vj_detections"] = _dump_detections(self.detections)
        if self.carried:
            values["vj_carried"] = _dump_detections(self.carried)
        if self.stages:
            values["vj_stages"] = _dump_stages(self.stages)
        if self.hops:
            values["vj_hops"] = str(self.hops)
        if self.traceparent is not None:
            values["traceparent"] = self.traceparent
        return [(name, value.encode()) for name, value in values.items()]

    @classmethod
    def from_record(
        cls, headers: Sequence[tuple[str, bytes | None]], value: bytes | None
    ) -> WorkItem:
        """Read a work record.

        Raises:
            RecordError: reason ``unknown-version``, ``bad-header`` or ``image-empty``.
        """
        try:
            texts = {name: (raw or b"").decode() for name, raw in headers}
        except UnicodeDecodeError as error:
            raise RecordError("bad-header", f"a header is not UTF-8: {error}") from error
        version = texts.get("vj_version")
        if version is None:
            raise RecordError("bad-header", "no vj_version header: not a videojam record")
        if version != VERSION:
            raise RecordError(
                "unknown-version", f"vj_version {version!r}; this worker reads {VERSION!r}"
            )
        if not value:
            raise RecordError("image-empty", "the record has no bytes")
        try:
            return cls(
                frame=_frame(texts),
                pipeline=texts["vj_pipeline"],
                step=texts["vj_step"],
                captured_at=parse_rfc3339(texts["ce_time"]),
                data=value,
                content_type=texts.get("content-type", "image/jpeg"),
                part=Part.parse(texts.get("vj_part", "")),
                origin=_origin(texts.get("vj_origin")),
                detections=_load_detections(texts.get("vj_detections")),
                carried=_load_detections(texts.get("vj_carried")),
                stages=_load_stages(texts.get("vj_stages")),
                hops=_count(texts.get("vj_hops", "0")),
                traceparent=texts.get("traceparent"),
            )
        except KeyError as error:
            raise RecordError("bad-header", f"the header {error.args[0]} is missing") from error
        except (ValueError, TypeError, IndexError, OverflowError, RecursionError) as error:
            raise RecordError("bad-header", f"a header cannot be read: {error}") from error

    def passed(self, stage: Stage) -> WorkItem:
        """The item after one more stage; it has not been offloaded on its way to the next one."""
        return replace(self, stages=(*self.stages, stage), hops=0)


def _frame(texts: Mapping[str, str]) -> FrameId:
    camera, stream = texts["vj_camera"], texts["vj_stream"]
    sequence = _count(texts["vj_sequence"])
    if not camera or not stream:
        raise ValueError(f"camera {camera!r}, stream {stream!r}, sequence {sequence}")
    return FrameId(camera=camera, stream=stream, sequence=sequence)


def _origin(text: str | None) -> tuple[int, int]:
    if text is None:
        return (0, 0)
    x, y = text.split(",")
    return (_integer(x), _integer(y))


def _integer(text: str) -> int:
    if _NUMBER.fullmatch(text) is None:  # int() takes blanks, underscores and other scripts
        raise ValueError(f"{text!r} is no whole number")
    return int(text)


def _count(text: str) -> int:
    number = _integer(text)
    if not 0 <= number <= MAX_SEQUENCE:
        raise ValueError(f"{number} is not in 0..{MAX_SEQUENCE}")
    return number


def _dump_detections(detections: Sequence[Detection]) -> str:
    rows = [
        [d.kind, d.label, _r(d.box.x), _r(d.box.y), _r(d.box.w), _r(d.box.h), _r(d.score, 4)]
        + ([] if d.text is None else [d.text])
        for d in detections
    ]
    return json.dumps(rows, separators=(",", ":"))


def _r(number: float, digits: int = 1) -> float:
    return round(float(number), digits)


def _load_detections(text: str | None) -> tuple[Detection, ...]:
    if text is None:
        return ()
    return tuple(
        Detection(
            kind=_text(row[0]),
            label=_text(row[1]),
            box=Box(x=_real(row[2]), y=_real(row[3]), w=_real(row[4]), h=_real(row[5])),
            score=_real(row[6]),
            text=_text(row[7]) if len(row) > 7 else None,
        )
        for row in _rows(text)
    )


def _rows(text: str) -> list[list[object]]:
    rows = json.loads(text)
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise TypeError("not a list of lists")
    return rows


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    value.encode()  # JSON can spell half a surrogate pair, which nobody could write out again
    return value


def _real(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _dump_stages(stages: Sequence[Stage]) -> str:
    rows = [
        f"[{_quoted(s.function)},{_quoted(s.replica)},"
        f"{s.received:.6f},{s.started:.6f},{s.finished:.6f}]"
        for s in stages
    ]
    return f"[{','.join(rows)}]"


# A process writes the same few names again and again.
_quoted = functools.lru_cache(maxsize=1024)(json.dumps)


def _load_stages(text: str | None) -> tuple[Stage, ...]:
    if text is None:
        return ()
    return tuple(
        Stage(
            function=_text(row[0]),
            replica=_text(row[1]),
            received=_real(row[2]),
            started=_real(row[3]),
            finished=_real(row[4]),
        )
        for row in _rows(text)
    )
