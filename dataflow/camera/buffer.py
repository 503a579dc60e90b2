"""The bounded buffer between the lens and the network."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from dataflow.camera.ledger import BUFFER_FULL, Ledger
from dataflow.camera.sources import Image
from dataflow.errors import ConfigError

WhenFull = Literal["drop-oldest", "drop-newest", "block"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferConfig:
    """Limits of what a camera holds back.

    Attributes:
        frames: most frames waiting to be sent.
        bytes: most bytes waiting to be sent, as captured: a frame of 1920x1080 has 6 MB before it
            is encoded. One frame is held however large it is.
        in_flight: most records sent and not yet acknowledged. When the broker is away this is what
            stops the sender, so that the policy below decides what is lost, not the client's own
            queue.
        when_full: ``drop-oldest`` keeps live video live; ``drop-newest`` keeps what came first;
            ``block`` makes the source wait (a live one then loses frames inside its own driver,
            where nobody can count them).
    """

    frames: int = 64
    bytes: int = 64 * 1024 * 1024
    in_flight: int = 64
    when_full: WhenFull = "drop-oldest"

    def __post_init__(self) -> None:
        for name in ("frames", "bytes", "in_flight"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    "must be at least 1", key=f"buffer.{name}", value=getattr(self, name)
                )
        if self.when_full not in ("drop-oldest", "drop-newest", "block"):
            raise ConfigError(
                "not a drop policy",
                key="buffer.when_full",
                value=self.when_full,
                remedy="one of drop-oldest, drop-newest, block",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A numbered frame that waits to be sent.

    Attributes:
        sequence: its number in the stream.
        captured_at: seconds since the epoch.
        image: uint8 [height, width, 3] BGR, or an encoded picture.
        traceparent: W3C trace context of the application, if any.
    """

    sequence: int
    captured_at: float
    image: Image = field(repr=False)
    traceparent: str | None = None

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return len(self.image) if isinstance(self.image, bytes) else self.image.nbytes


class FrameBuffer:
    """First in, first out, within limits. Any thread may put; one thread gets.

    Frames are numbered under the same lock that orders them, so sequence numbers and the order of
    sending agree, and a frame that the policy drops has a number like all others.
    """

    def __init__(self, config: BufferConfig, ledger: Ledger) -> None:
        self._config, self._ledger = config, ledger
        self._waiting: deque[Waiting] = deque()
        self._bytes = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, image: Image, captured_at: float, traceparent: str | None = None) -> int | None:
        """Number a frame and keep it, or drop by policy.

        Returns:
            The frame's sequence number; None when the buffer is closed, and the frame was not
            taken.
        """
        size = len(image) if isinstance(image, bytes) else image.nbytes
        with self._changed:
            if self._config.when_full == "block":
                self._changed.wait_for(lambda: self._closed or self._has_room(size))
            if self._closed:
                return None
            sequence = self._ledger.capture()
            if self._config.when_full == "drop-newest" and not self._has_room(size):
                self._ledger.drop(sequence, BUFFER_FULL)
                return sequence
            while not self._has_room(size):
                self._ledger.drop(self._pop().sequence, BUFFER_FULL)
            self._waiting.append(
                Waiting(
                    sequence=sequence,
                    captured_at=captured_at,
                    image=image,
                    traceparent=traceparent,
                )
            )
            self._bytes += size
            self._changed.notify_all()
            return sequence

    def get(self, timeout: float) -> Waiting | None:
        """The oldest frame, waiting up to ``timeout`` s; None when there is none."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._closed, timeout)
            if not self._waiting:
                return None
            frame = self._pop()
            self._changed.notify_all()
            return frame

    def close(self) -> None:
        """Take no more frames; those that wait can still be got."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether it takes no more frames."""
        with self._changed:
            return self._closed

    @property
    def drained(self) -> bool:
        """Closed, and nothing waits any more."""
        with self._changed:
            return self._closed and not self._waiting

    def __len__(self) -> int:
        with self._changed:
            return len(self._waiting)

    def _has_room(self, size: int) -> bool:
        if not self._waiting:
            return True
        return len(self._waiting) < self._config.frames and self._bytes + size <= self._config.bytes

    def _pop(self) -> Waiting:
        frame = self._waiting.popleft()
        self._bytes -= frame.size
        return frame
