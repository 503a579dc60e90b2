"""The ledger: from what is published to how each frame ended.

A frame may be cut into parts, and parts into parts; at least once delivery repeats ends, and may
even repeat a cut with another number of parts. A frame has ended when, for some number of parts
that it was cut into, each of them has ended. Everything beyond that is a duplicate. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from dataflow.accounting.records import CameraReport, DropReport
from dataflow.messages import FrameId, Part


class Outcome(IntEnum):
    """How a part or a frame ended. Of two ends of the same part the lower one counts."""

    PROCESSED = 0
    DROPPED = 1
    DEAD = 2


@dataclass(frozen=True, slots=True, order=True)
class End:
    """One end of a part. Reasons break ties, so that the account depends on no order."""

    outcome: Outcome
    reason: str = ""


class PartTree:
    """The ends of a frame: a part, and what it was cut into (number of parts -> index -> part)."""

    __slots__ = ("cuts", "end")

    def __init__(self) -> None:
        self.end: End | None = None
        self.cuts: dict[int, dict[int, PartTree]] = {}

    def at(self, part: Part) -> PartTree:
        """The place of a part, made if need be."""
        node = self
        for index, count in part.path:
            node = node.cuts.setdefault(count, {}).setdefault(index, PartTree())
        return node

    def result(self) -> End | None:
        """The end of the whole, or None while something is missing: the worst of its parts."""
        candidates = [self.end, *(self._of_cut(count) for count in self.cuts)]
        return min((end for end in candidates if end is not None), default=None)

    def _of_cut(self, count: int) -> End | None:
        """The end of the whole if it was cut into ``count`` parts."""
        parts = self.cuts[count]
        if len(parts) < count:
            return None
        ends = [end for node in parts.values() if (end := node.result()) is not None]
        return max(ends) if len(ends) == count else None


@dataclass(slots=True)
class _Stream:
    """One run of a camera in one pipeline."""

    produced: int = 0
    closed: bool = False
    trees: dict[int, PartTree] = field(default_factory=dict)
    """By frame, of those that a further end may still change: open, dropped and dead."""
    ended: dict[int, End] = field(default_factory=dict)
    duplicates: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Frames of one camera in one pipeline, all its streams together.

    Invariant: ``produced == processed + dropped + dead + open``.

    Attributes:
        produced: frames captured.
        processed: frames of which every part was processed.
        dropped: frames of which a part was dropped, by reason.
        dead: frames of which a part is a dead letter, by reason.
        open: frames that have not ended yet.
        duplicates: ends of a part that had ended, or of a frame that had. Of two different ends of
            one part the lower outcome counts; otherwise they change no other number.
        closed: whether every stream has said that it is complete.
    """

    pipeline: str
    camera: str
    produced: int
    processed: int
    dropped: Counter[str]
    dead: Counter[str]
    open: int
    duplicates: int
    closed: bool

    @property
    def balanced(self) -> bool:
        """Whether every frame has ended."""
        return self.open == 0


class Ledger:
    """Collects ends and reports, in any order, each any number of times."""

    def __init__(self) -> None:
        self._streams: dict[tuple[str, str, str], _Stream] = {}
        self.unattributed: Counter[str] = Counter()

    def camera(self, report: CameraReport) -> None:
        """A camera's own report."""
        stream = self._stream(report.pipeline, report.camera, report.stream)
        listed = (frame.sequence + 1 for frame in report.dropped)
        stream.produced = max(stream.produced, report.produced, *listed)
        stream.closed = stream.closed or report.closed
        for frame in report.dropped:
            self._end(stream, frame.sequence, Part(), End(Outcome.DROPPED, frame.reason))

    def drop(self, report: DropReport) -> None:
        """A replica's report of a drop."""
        frame = FrameId(camera=report.camera, stream=report.stream, sequence=report.sequence)
        self.end(
            report.pipeline,
            frame,
            Part.parse(report.part),
            End(Outcome.DROPPED, f"{report.reason} at {report.function}"),
        )

    def end(self, pipeline: str, frame: FrameId, part: Part, end: End) -> None:
        """One part of a frame has ended."""
        stream = self._stream(pipeline, frame.camera, frame.stream)
        stream.produced = max(stream.produced, frame.sequence + 1)
        self._end(stream, frame.sequence, part, end)

    def orphan(self, reason: str) -> None:
        """A dead letter that names no frame."""
        self.unattributed[reason] += 1

    def accounts(self) -> Iterator[Account]:
        """The account of each camera, sorted by pipeline and camera."""
        grouped: dict[tuple[str, str], list[_Stream]] = {}
        for (pipeline, camera, _), stream in self._streams.items():
            grouped.setdefault((pipeline, camera), []).append(stream)
        for (pipeline, camera), streams in sorted(grouped.items()):
            ends = [end for stream in streams for end in stream.ended.values()]
            produced = sum(stream.produced for stream in streams)
            yield Account(
                pipeline=pipeline,
                camera=camera,
                produced=produced,
                processed=sum(end.outcome is Outcome.PROCESSED for end in ends),
                dropped=Counter(e.reason for e in ends if e.outcome is Outcome.DROPPED),
                dead=Counter(e.reason for e in ends if e.outcome is Outcome.DEAD),
                open=produced - len(ends),
                duplicates=sum(stream.duplicates for stream in streams),
                closed=all(stream.closed for stream in streams),
            )

    def open_frames(self) -> Iterator[tuple[str, FrameId]]:
        """Frames that have not ended, with their pipeline."""
        for (pipeline, camera, stream_id), stream in sorted(self._streams.items()):
            for sequence in range(stream.produced):
                if sequence not in stream.ended:
                    yield pipeline, FrameId(camera=camera, stream=stream_id, sequence=sequence)

    def _stream(self, pipeline: str, camera: str, stream: str) -> _Stream:
        return self._streams.setdefault((pipeline, camera, stream), _Stream())

    def _end(self, stream: _Stream, sequence: int, part: Part, end: End) -> None:
        known = stream.ended.get(sequence)
        if known is not None and known.outcome is Outcome.PROCESSED:
            stream.duplicates += 1  # nothing beats processed: its tree is not kept
            return
        tree = stream.trees.setdefault(sequence, PartTree())
        node = tree.at(part)
        if known is not None or node.end is not None:
            stream.duplicates += 1
        node.end = end if node.end is None else min(node.end, end)
        result = tree.result()
        if result is None:
            return
        stream.ended[sequence] = result
        if result.outcome is Outcome.PROCESSED:
            del stream.trees[sequence]
