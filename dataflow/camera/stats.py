"""What a camera tells of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraStats:
    """What a camera has done so far.

    Records count once for each pipeline that the camera feeds, so at any time
    ``captured * len(pipelines) == acked + lost + open``.

    Attributes:
        camera: its name.
        stream: this run of it.
        pipelines: what its frames enter.
        captured: frames that got a sequence number, also those dropped later.
        skipped: frames of the source that were passed over to keep to the frame rate asked for.
        sent: records handed to the client.
        acked: records that the broker has acknowledged.
        failed: records whose delivery failed; they are among the dropped.
        dropped: records lost, by reason (`dataflow.camera.ledger`).
        open: records that wait or are on their way.
        reconnects: how often the source was lost and came back.
        fps: frames captured per second, over the last five seconds.
        seconds: since the camera was opened.
        closed: these are the final figures.
    """

    camera: str
    stream: str
    pipelines: tuple[str, ...]
    captured: int
    skipped: int
    sent: int
    acked: int
    failed: int
    dropped: Mapping[str, int]
    open: int
    reconnects: int
    fps: float
    seconds: float
    closed: bool

    @property
    def lost(self) -> int:
        """Records dropped, for whatever reason."""
        return sum(self.dropped.values())
