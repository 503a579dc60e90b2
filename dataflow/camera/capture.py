"""The loop that reads a source: pacing, thinning, and coming back when the camera is lost."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from dataflow.camera.pacing import Backoff, RateLimit, Schedule, Thinning
from dataflow.camera.sources import Image, Source
from dataflow.errors import SourceEnded, SourceError

_log = logging.getLogger("videojam.camera")

_LOOK_SECONDS = 0.2
"""How often a waiting owner looks whether it was stopped or the time is up."""
_GRACE_SECONDS = 1.0
"""How long a stopped capture may hang in its driver before it is left behind."""

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
        self._began: float | None = None
        self._taken = 0
        self.reconnects = 0
        self.skipped = 0

    def run(self) -> None:
        """Read to the end.

        Raises:
            SourceError: the source could not be opened at first, or one that is not live failed.
        """
        source: Source | None = self._open()
        self._began = self._monotonic()
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
        if settings.duration is None or self._began is None:
            return False
        return self._monotonic() - self._began >= settings.duration


class CaptureThread:
    """Runs a `Capture` beside its owner, who can leave it behind: cameras' drivers hang.

    Args:
        name: the camera's name.
        open_source: opens the source.
        stopped: whether the owner wants it to end.
        duration: most seconds of reading.
        monotonic: seconds of a clock that is never set.
        make: the `Capture`, given how to open the source and whether it is to end.
    """

    def __init__(
        self,
        name: str,
        *,
        open_source: Callable[[], Source],
        stopped: Callable[[], bool],
        duration: float | None,
        monotonic: Callable[[], float],
        make: Callable[[Callable[[], Source], Callable[[], bool]], Capture],
    ) -> None:
        self._name, self._open_source, self._stopped = name, open_source, stopped
        self._duration, self._monotonic = duration, monotonic
        self._opened, self._go = threading.Event(), threading.Event()
        self._halt, self._done = threading.Event(), threading.Event()
        self.fault: BaseException | None = None
        self.capture = make(self._open, lambda: self._halt.is_set() or stopped())

    def open(self) -> None:
        """Start, and wait until the source is open.

        Raises:
            SourceError: it cannot be opened.
        """
        threading.Thread(
            target=self._work, name=f"videojam-camera-{self._name}", daemon=True
        ).start()
        self._wait(self._opened, None)
        if self.fault is not None:
            raise self.fault

    def read(self) -> None:
        """Let it read, and wait for the end; what it failed of is `fault`."""
        self._go.set()
        self._wait(self._done, self._duration)

    def halt(self) -> None:
        """Have it end, without waiting."""
        self._halt.set()
        self._go.set()

    def _open(self) -> Source:
        source = self._open_source()
        self._opened.set()
        self._go.wait()
        return source

    def _work(self) -> None:
        try:
            self.capture.run()
        except BaseException as error:  # noqa: BLE001 - the owner raises it again
            self.fault = error
        finally:
            self._done.set()
            self._opened.set()

    def _wait(self, event: threading.Event, limit: float | None) -> None:
        end = None if limit is None else self._monotonic() + limit
        while not event.wait(_LOOK_SECONDS):
            if self._stopped() or (end is not None and self._monotonic() >= end):
                if not event.wait(_GRACE_SECONDS):
                    _log.warning("camera %s: left the source behind, it hangs", self._name)
                return
