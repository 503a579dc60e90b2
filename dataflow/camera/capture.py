"""The loop that reads a source: pacing, thinning, and coming back when the camera is lost."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from dataflow.camera.pacing import Backoff, RateLimit, Schedule, Thinning
from dataflow.camera.sources import Image, Source
from dataflow.errors import SourceEnded, SourceError

_log = logging.getLogger("videojam.camera")

Pace = Literal["realtime", "fast"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureSettings:
    """How a source is read; see `CameraProducer`."""

    fps: float | None
    pace: Pace
    max_frames: int | None
    duration: float | None


class Capture:
    """Reads one source until it ends, is stopped, or enough was read.

    Args:
        open_source: opens the source; called again when a live one was lost.
        put: takes a frame and its time; False ends the capture.
        settings: pace and limits.
        backoff: waits between tries to come back.
        clock: seconds since the epoch.
        monotonic: seconds of a clock that is never set.
        sleep: waits; may return early when the capture is to end.
        stopped: whether it is to end.
    """

    def __init__(
        self,
        *,
        open_source: Callable[[], Source],
        put: Callable[[Image, float], bool],
        settings: CaptureSettings,
        backoff: Backoff,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        sleep: Callable[[float], object],
        stopped: Callable[[], bool],
    ) -> None:
        self._open, self._put, self._settings = open_source, put, settings
        self._backoff, self._stopped = backoff, stopped
        self._clock, self._monotonic, self._sleep = clock, monotonic, sleep
        self._began = monotonic()
        self._taken = 0
        self.reconnects = 0
        self.skipped = 0

    def run(self) -> None:
        """Read to the end.

        Raises:
            SourceError: the source could not be opened at first, or one that is not live failed.
        """
        source: Source | None = self._open()
        while source is not None:
            try:
                self._read_all(source)
            except SourceEnded as end:
                _log.info("%s", end)
                return
            except SourceError as error:
                if not source.live:
                    raise
                _log.warning("%s", error)
            finally:
                source.close()
            source = self._reopen()

    def _reopen(self) -> Source | None:
        while not self._finished():
            wait = self._backoff.next()
            _log.info("opening the source again in %.1f s", wait)
            self._sleep(wait)
            if self._finished():
                break
            try:
                source = self._open()
            except SourceError as error:
                _log.warning("%s", error)
                continue
            self.reconnects += 1
            return source
        return None

    def _read_all(self, source: Source) -> None:
        take = self._live(source) if source.live else self._recorded(source)
        while not self._finished():
            frame = source.read()
            self._backoff.reset()
            if not take(frame.timestamp):
                self.skipped += 1
                continue
            if self._finished() or not self._put(frame.image, self._clock()):
                return
            self._taken += 1

    def _live(self, source: Source) -> Callable[[float | None], bool]:
        wanted = self._settings.fps
        if wanted is not None and source.fps is not None and wanted >= source.fps:
            wanted = None  # the camera's own rate: jitter must not cost a frame
        limit = RateLimit(wanted)
        return lambda _: limit.keep(self._monotonic())

    def _recorded(self, source: Source) -> Callable[[float | None], bool]:
        native, wanted = source.fps, self._settings.fps
        thinning, schedule = Thinning(wanted, native), Schedule()
        # Pictures and iterables have no rate of their own: the one asked for is how they are
        # played, and with none they come as fast as they are given.
        rate = native or wanted
        index = -1

        def take(timestamp: float | None) -> bool:
            nonlocal index
            index += 1
            if not thinning.keep():
                return False
            offset = timestamp if timestamp is not None else index / rate if rate else None
            if self._settings.pace == "realtime" and offset is not None:
                delay = schedule.delay(offset, self._monotonic())
                if delay > 0:
                    self._sleep(delay)
            return True

        return take

    def _finished(self) -> bool:
        settings = self._settings
        if self._stopped():
            return True
        if settings.max_frames is not None and self._taken >= settings.max_frames:
            return True
        return (
            settings.duration is not None and self._monotonic() - self._began >= settings.duration
        )
