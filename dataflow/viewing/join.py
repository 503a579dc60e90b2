"""Putting the results of a frame's parts together again, with the frame's picture. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from dataflow.accounting import End, Outcome, PartTree
from dataflow.messages import FrameId
from dataflow.results import Found, Plate, Result, parse_part

_Key = tuple[str, FrameId]


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedFrame:
    """All that a pipeline found in one frame.

    Attributes:
        pipeline: the pipeline.
        frame: identity of the frame.
        captured_at: seconds since the epoch.
        response_seconds: of its last part.
        vehicles: of all parts.
        plates: of all parts.
        complete: False when a part was dropped, died, or took longer than the join waited.
        picture: the frame's JPEG, or None if it was not seen (any more).
    """

    pipeline: str
    frame: FrameId
    captured_at: float
    response_seconds: float
    vehicles: tuple[Found, ...]
    plates: tuple[Plate, ...]
    complete: bool
    picture: bytes | None = field(repr=False)


@dataclass(slots=True)
class _Open:
    since: float
    tree: PartTree = field(default_factory=PartTree)
    results: dict[str, Result] = field(default_factory=dict)


class FrameJoin:
    """Joins results by frame.

    Args:
        patience: seconds after a frame's first result when it is given out incomplete.
        picture_bytes: how much of the latest frames' pictures is remembered.
    """

    def __init__(self, *, patience: float = 5.0, picture_bytes: int = 256 * 1024 * 1024) -> None:
        self._patience = patience
        self._limit = picture_bytes
        self._pictures: OrderedDict[_Key, bytes] = OrderedDict()
        self._bytes = 0
        self._open: OrderedDict[_Key, _Open] = OrderedDict()
        self._done: OrderedDict[_Key, None] = OrderedDict()

    def picture(self, pipeline: str, frame: FrameId, jpeg: bytes) -> None:
        """A frame as the camera sent it."""
        key = (pipeline, frame)
        self._bytes += len(jpeg) - len(self._pictures.pop(key, b""))
        self._pictures[key] = jpeg
        while self._bytes > self._limit:
            _, oldest = self._pictures.popitem(last=False)
            self._bytes -= len(oldest)

    def result(self, result: Result, now: float) -> JoinedFrame | None:
        """A result; the frame, if this was the last part of it."""
        key = (result.pipeline, result.frame)
        if key in self._done:
            return None  # delivered again
        entry = self._open.setdefault(key, _Open(now))
        entry.results[result.id] = result
        entry.tree.at(parse_part(result)).end = End(Outcome.PROCESSED)
        if entry.tree.result() is None:
            return None
        return self._close(key, complete=True)

    def expired(self, now: float) -> Iterator[JoinedFrame]:
        """Frames whose missing parts have been waited for long enough."""
        while self._open:
            key, entry = next(iter(self._open.items()))
            if now - entry.since < self._patience:
                return
            yield self._close(key, complete=False)

    def rest(self) -> Iterator[JoinedFrame]:
        """All frames that still wait for parts."""
        for key in list(self._open):
            yield self._close(key, complete=False)

    def _close(self, key: _Key, *, complete: bool) -> JoinedFrame:
        entry = self._open.pop(key)
        self._done[key] = None
        if len(self._done) > 100_000:
            self._done.popitem(last=False)
        picture = self._pictures.pop(key, None)
        self._bytes -= len(picture or b"")
        results = list(entry.results.values())
        last = max(results, key=lambda r: r.response_seconds)
        return JoinedFrame(
            pipeline=key[0],
            frame=key[1],
            captured_at=last.captured_at.timestamp(),
            response_seconds=last.response_seconds,
            vehicles=tuple(v for r in results for v in r.vehicles),
            plates=tuple(p for r in results for p in r.plates),
            complete=complete,
            picture=picture,
        )
