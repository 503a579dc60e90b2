"""Sources that OpenCV reads: video files, devices, network streams."""

from __future__ import annotations

import logging
import os
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

# FFmpeg inside OpenCV writes to stderr by itself; what went wrong is said in our own messages.
# Read once, when OpenCV first opens a video: so it stands before the import. A level that the user
# has set is kept.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np
from cv2 import videoio_registry

from dataflow.camera.sources import Frame
from dataflow.errors import SourceEnded, SourceError

_log = logging.getLogger("videojam.camera")

_MAX_FPS = 1000.0
"""Above it, a claimed frame rate is the time base of the stream (90,000), not a rate."""
_MAX_GAP_SECONDS = 10.0
"""A longer jump between two frames of a file is a damaged time stamp."""
_PORTS = {"rtsp": 554, "rtsps": 322, "rtmp": 1935, "rtmps": 443, "http": 80, "https": 443}
_TEXT_CODECS = {b"ansi", b"text"}
"""FFmpeg plays any text file as a film of a terminal. Nobody means that."""


class _Capture:
    """One opened cv2.VideoCapture."""

    def __init__(
        self, target: str | int, *, open_timeout: float = 0.0, read_timeout: float = 0.0
    ) -> None:
        quiet()
        api, options = cv2.CAP_ANY, []
        if isinstance(target, str):
            # FFmpeg where OpenCV has it: the other back-ends take "cam1.avi" for the pattern of
            # an image sequence.
            if cv2.CAP_FFMPEG in videoio_registry.getBackends():
                api = cv2.CAP_FFMPEG
            if open_timeout or read_timeout:
                options = [
                    cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
                    int(open_timeout * 1000),
                    cv2.CAP_PROP_READ_TIMEOUT_MSEC,
                    int(read_timeout * 1000),
                ]
        try:
            self._video = cv2.VideoCapture(target, api, options)
        except cv2.error:  # some back-ends raise where others merely do not open
            self._video = cv2.VideoCapture()

    @property
    def opened(self) -> bool:
        """Whether there is something to read."""
        codec = int(self._video.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
        return self._video.isOpened() and codec.to_bytes(4, "little") not in _TEXT_CODECS

    @property
    def fps(self) -> float | None:
        """Announced rate, if it is one."""
        fps = self._video.get(cv2.CAP_PROP_FPS)
        return float(fps) if 0 < fps <= _MAX_FPS else None

    @property
    def frames(self) -> int | None:
        """Announced length, if it has one."""
        count = self._video.get(cv2.CAP_PROP_FRAME_COUNT)
        return int(count) if count > 0 else None

    @property
    def position(self) -> float:
        """Time stamp of the frame read last, in seconds."""
        return float(self._video.get(cv2.CAP_PROP_POS_MSEC)) / 1000.0

    def read(self) -> np.typing.NDArray[np.uint8] | None:
        """The next frame, an array of its own; None: there is none."""
        try:
            there, pixels = self._video.read()
        except cv2.error as error:
            _log.debug("OpenCV failed to read: %s", error)
            return None
        return np.asarray(pixels, dtype=np.uint8) if there else None

    def release(self) -> None:
        """Close it; again does nothing."""
        self._video.release()


def quiet() -> None:
    """Keep OpenCV from writing to stderr."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


class VideoSource:
    """A video file.

    Args:
        path: the file, of any format that FFmpeg reads.
        loop: begin again at the end; time stamps go on.
    """

    live = False

    def __init__(self, path: Path, *, loop: bool = False) -> None:
        self.name = str(path)
        self.finite = not loop
        self._path = path
        self._play = _Play(self._open())

    @property
    def fps(self) -> float | None:
        """Frames per second as the file says."""
        return self._play.capture.fps

    def read(self) -> Frame:
        """The next frame, with its time since the first one."""
        frame = self._play.read()
        if frame is not None:
            return frame
        played, expected = self._play.count, self._play.capture.frames
        if played == 0:
            raise SourceError(
                f"{self.name}: the file has a video's header but no frame that can be read; it is "
                "damaged or incomplete: copy or record it again"
            )
        if expected is not None and played < 0.9 * expected:
            _log.warning(
                "%s ended after %d of about %d frames: it may be damaged",
                self.name,
                played,
                expected,
            )
        if self.finite:
            raise SourceEnded(f"{self.name}: the file has ended after {played} frames")
        self._play.capture.release()
        self._play = _Play(self._open(), start=self._play.end)
        return self.read()

    def close(self) -> None:
        """Close the file."""
        self._play.capture.release()

    def _open(self) -> _Capture:
        path = self._path
        if not path.exists():
            raise SourceError(f"{path}: no such file; check the path")
        if not os.access(path, os.R_OK):
            raise SourceError(f"{path}: no permission to read it; try chmod u+r, or another user")
        if path.stat().st_size == 0:
            raise SourceError(f"{path}: the file is empty; copy or record it again")
        capture = _Capture(str(path))
        if not capture.opened:
            capture.release()
            raise SourceError(
                f"{path}: not a video that OpenCV can read; `ffprobe` tells what it is, and "
                "`ffmpeg -i IN -c:v libx264 OUT.mp4` converts it"
            )
        return capture


class _Play:
    """One pass over a file, with time stamps that only rise.

    The file's own time stamps are used where they are sound, for the sake of files with a variable
    frame rate; otherwise frames are one interval apart.
    """

    def __init__(self, capture: _Capture, *, start: float = 0.0) -> None:
        self.capture = capture
        self.count = 0
        self._interval = 1.0 / (capture.fps or 25.0)
        self._now = self._start = start
        self._shift: float | None = None

    @property
    def end(self) -> float:
        """When the frame after the last one would be due."""
        return self._now + self._interval

    def read(self) -> Frame | None:
        """The next frame; None at the end."""
        pixels = self.capture.read()
        if pixels is None:
            return None
        position = self.capture.position
        if self._shift is None:
            self._shift = self._start - position
        time = position + self._shift
        if self.count and not self._now < time <= self._now + _MAX_GAP_SECONDS:
            time = self._now + self._interval
            self._shift = time - position
        self._now = time
        self.count += 1
        return Frame(pixels, time)


class _LiveSource:
    """A source that frames come from at their own time."""

    def __init__(self, name: str, capture: _Capture) -> None:
        self.name = name
        self.finite = False
        self.live = True
        self._capture = capture

    @property
    def fps(self) -> float | None:
        """Frames per second as announced."""
        return self._capture.fps

    def read(self) -> Frame:
        """The next frame."""
        pixels = self._capture.read()
        if pixels is None:
            raise SourceError(f"{self.name}: the camera sends no more frames; is it still there?")
        return Frame(pixels)

    def close(self) -> None:
        """Let go of the camera."""
        self._capture.release()


class DeviceSource(_LiveSource):
    """A camera that is a device of this machine."""

    def __init__(self, device: int | Path) -> None:
        path = Path(f"/dev/video{device}") if isinstance(device, int) else device
        if path.parent == Path("/dev") and os.name == "posix":
            if not path.exists():
                found = ", ".join(sorted(str(p) for p in Path("/dev").glob("video*"))) or "none"
                raise SourceError(f"{path}: no such device; cameras on this machine: {found}")
            if not os.access(path, os.R_OK | os.W_OK):
                raise SourceError(
                    f"{path}: no permission to use the camera; add your user to the group that "
                    f"owns it (`ls -l {path}`; often: `sudo usermod -aG video $USER`)"
                )
        number = re.fullmatch(r"/dev/video(\d+)", str(path))
        capture = _Capture(int(number.group(1)) if number else str(path))
        if not capture.opened:
            capture.release()
            raise SourceError(
                f"{path}: the camera cannot be opened; is another program using it, and is it a "
                "video camera?"
            )
        super().__init__(str(path), capture)


class NetworkSource(_LiveSource):
    """A stream or a recording behind a URL.

    A URL whose content has a length (a file on a web server) is a recording: finite, and not live.
    """

    def __init__(
        self, url: str, *, loop: bool = False, open_timeout: float, read_timeout: float
    ) -> None:
        self._url = url
        self._timeouts = {"open_timeout": open_timeout, "read_timeout": read_timeout}
        super().__init__(_without_password(url), self._open())
        length = self._capture.frames
        self.live = length is None
        self.finite = not self.live and not loop
        self._play = _Play(self._capture)

    def read(self) -> Frame:
        """The next frame; those of a recording with their time since the first one."""
        if self.live:
            return super().read()
        frame = self._play.read()
        if frame is None and self.finite:
            raise SourceEnded(f"{self.name}: the recording has ended")
        if frame is None:
            self._capture.release()
            self._capture = self._open()
            self._play = _Play(self._capture, start=self._play.end)
            frame = self._play.read()
        if frame is None:
            raise SourceError(f"{self.name}: the recording has no frames to loop over")
        return frame

    def _open(self) -> _Capture:
        capture = _Capture(self._url, **self._timeouts)
        if not capture.opened:
            capture.release()
            raise SourceError(f"{_without_password(self._url)}: {_diagnose(self._url)}")
        return capture


def _without_password(url: str) -> str:
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:***@", url)


def _diagnose(url: str) -> str:
    """Why a stream did not open: OpenCV does not say, so its host is asked."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    if scheme not in _PORTS or parts.hostname is None:
        return "no video arrives from there; check address and sender"
    try:
        port = parts.port or _PORTS[scheme]
    except ValueError:
        return "the port is not a number from 0 to 65535"
    where = f"{parts.hostname}:{port}"
    try:
        with socket.create_connection((parts.hostname, port), timeout=3.0):
            pass
    except socket.gaierror:
        return f"the host {parts.hostname} is not known; check its name"
    except TimeoutError:
        return f"{where} does not answer; is the camera on, and is a firewall between?"
    except OSError as error:
        return f"{where} cannot be reached ({error.strerror}); is the camera on, the port right?"
    return f"{where} answers, but gives no video there; check path, user and password of the URL"
