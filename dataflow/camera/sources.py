"""Where frames come from: video files, devices, network streams, pictures, iterables.

`open_source` chooses by the look of its argument. All sources are read by one thread.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from dataflow.errors import SourceEnded, SourceError

Image = NDArray[np.uint8] | bytes
"""uint8 [height, width, 3] BGR (or [height, width] grey), or an encoded picture."""

_PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
_STREAMS = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "udp", "tcp", "srt"})


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a source.

    Attributes:
        image: the pixels, which nobody else will change, or an encoded picture.
        timestamp: seconds since the source's first frame; None where the source does not know.
    """

    image: Image = field(repr=False)
    timestamp: float | None = None


@runtime_checkable
class Source(Protocol):
    """Gives frames. Implement it to add a source of your own."""

    @property
    def name(self) -> str:
        """For people; without passwords."""
        ...

    @property
    def fps(self) -> float | None:
        """Frames per second at which it was recorded or announces itself; None: not known."""
        ...

    @property
    def finite(self) -> bool:
        """Whether it ends."""
        ...

    @property
    def live(self) -> bool:
        """Whether frames come at their own time, and are lost when nobody reads.

        A live source that fails is opened again; one that is not live is paced by its reader.
        """
        ...

    def read(self) -> Frame:
        """The next frame; blocks until there is one.

        Raises:
            SourceEnded: there is none any more.
            SourceError: the source is lost.
        """
        ...

    def close(self) -> None:
        """Release it; again does nothing."""
        ...


SourceSpec = str | int | Path | Iterable[Image] | Callable[[], Iterable[Image]] | Source
"""What `open_source` understands."""


def open_source(
    spec: SourceSpec,
    *,
    loop: bool = False,
    open_timeout: float = 10.0,
    read_timeout: float = 10.0,
) -> Source:
    """Open a source of frames.

    Args:
        spec: one of

            - path of a video file;
            - number or path of a device: ``0``, ``"0"``, ``"/dev/video0"``;
            - URL of a network stream: ``rtsp://``, ``http://`` and what else FFmpeg reads;
            - folder of pictures, or a glob pattern, read in natural order (``2.jpg`` before
              ``10.jpg``), or one picture; JPEG files are passed on untouched;
            - iterable of uint8 [height, width, 3] BGR arrays or of encoded pictures, or a function
              that returns a new one each time (needed to loop over, or reopen, a generator);
            - a `Source`.
        loop: begin a finite source again when it ends.
        open_timeout: seconds after which a network stream counts as unreachable.
        read_timeout: seconds without a frame after which a network stream counts as lost.

    Raises:
        SourceError: it cannot be opened; the message names the source and what to do.
    """
    from dataflow.camera import video  # noqa: PLC0415 - video imports this module

    if isinstance(spec, str | Path):
        text = str(spec)
        scheme = urlsplit(text).scheme.lower() if "://" in text else ""
        if scheme in _STREAMS:
            return video.NetworkSource(
                text, loop=loop, open_timeout=open_timeout, read_timeout=read_timeout
            )
        if scheme == "file":
            text = unquote(urlsplit(text).path)
        elif scheme:
            raise SourceError(
                f"{text}: unknown kind of URL; known: file, {', '.join(sorted(_STREAMS))}"
            )
        if text.isdecimal() and not Path(text).exists():
            return video.DeviceSource(int(text))
        return _open_path(text, loop=loop)
    if isinstance(spec, int):
        return video.DeviceSource(spec)
    if isinstance(spec, Source):
        return spec
    return IterableSource(spec, loop=loop)


def _open_path(text: str, *, loop: bool) -> Source:
    from dataflow.camera import video  # noqa: PLC0415 - video imports this module

    if not text.strip():
        raise SourceError("the source's name is empty; name a file, device, URL or folder")
    path = Path(text).expanduser()
    if path.is_char_device() or path.match("/dev/video*"):
        return video.DeviceSource(path)
    if path.is_dir():
        return PictureSource(_list_pictures(path), name=str(path), loop=loop)
    if not path.exists() and glob.has_magic(text):
        found = [Path(name) for name in glob.glob(str(path), recursive=True)]  # noqa: PTH207 - Path.glob takes no absolute patterns
        pictures = _pictures_only(found)
        if not pictures:
            raise SourceError(
                f"{text}: no picture matches this pattern; check it for typing errors"
            )
        return PictureSource(pictures, name=text, loop=loop)
    if path.suffix.lower() in _PICTURES and path.is_file():
        return PictureSource([path], name=str(path), loop=loop)
    return video.VideoSource(path, loop=loop)


def _list_pictures(folder: Path) -> list[Path]:
    try:
        pictures = _pictures_only(folder.iterdir())
    except OSError as error:
        raise SourceError(
            f"{folder}: the folder cannot be read ({error.strerror}); check its permissions"
        ) from error
    if not pictures:
        raise SourceError(
            f"{folder}: no pictures in this folder; it needs files ending in "
            f"{', '.join(sorted(_PICTURES))}"
        )
    return pictures


def _pictures_only(paths: Iterable[Path]) -> list[Path]:
    return sorted((p for p in paths if p.suffix.lower() in _PICTURES), key=_natural)


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    """Sort key in which numbers count as numbers: frame2 before frame10."""
    pieces = re.split(r"(\d+)", str(path))
    return [(p.isdecimal(), int(p) if p.isdecimal() else 0, p) for p in pieces]


class PictureSource:
    """Pictures from files, in the given order. Their bytes are passed on as they are."""

    fps: float | None = None
    live = False

    def __init__(self, paths: list[Path], *, name: str, loop: bool = False) -> None:
        self.name = name
        self.finite = not loop
        self._paths, self._next = paths, 0

    def read(self) -> Frame:
        """The next picture."""
        if self._next == len(self._paths):
            if self.finite:
                raise SourceEnded(f"{self.name}: all {len(self._paths)} pictures were read")
            self._next = 0
        path = self._paths[self._next]
        self._next += 1
        try:
            return Frame(path.read_bytes())
        except OSError as error:
            raise SourceError(
                f"{path}: the picture cannot be read ({error.strerror}); check that it still "
                f"exists and its permissions"
            ) from error

    def close(self) -> None:
        """Nothing is held."""


class IterableSource:
    """Frames of an iterable. Arrays are copied: many cameras' libraries reuse theirs."""

    fps: float | None = None
    live = False

    def __init__(
        self, frames: Iterable[Image] | Callable[[], Iterable[Image]], *, loop: bool = False
    ) -> None:
        self.name = f"the frames of {_describe(frames)}"
        self.finite = not loop
        self._make = _restartable(frames, self.name, loop=loop)
        self._frames = self._start()

    def read(self) -> Frame:
        """The next element."""
        try:
            image = next(self._frames)
        except StopIteration:
            if self.finite:
                raise SourceEnded(f"{self.name}: the iterator has ended") from None
            self._frames = self._start()
            try:
                image = next(self._frames)
            except StopIteration:
                raise SourceError(f"{self.name}: nothing to loop over, it is empty") from None
        except SourceError:
            raise
        except Exception as error:
            raise SourceError(f"{self.name}: the iterator failed: {error!r}") from error
        return Frame(own_image(image, self.name))

    def close(self) -> None:
        """Close a generator."""
        close = getattr(self._frames, "close", None)
        if close is not None:
            close()

    def _start(self) -> Iterator[Image]:
        try:
            return iter(self._make())
        except SourceError:
            raise
        except Exception as error:
            raise SourceError(f"{self.name}: cannot be iterated over: {error!r}") from error


def _describe(frames: object) -> str:
    name = getattr(frames, "__name__", None)
    return str(name) if isinstance(name, str) else f"a {type(frames).__name__}"


def _restartable(
    frames: Iterable[Image] | Callable[[], Iterable[Image]], name: str, *, loop: bool
) -> Callable[[], Iterable[Image]]:
    if isinstance(frames, Iterable):
        if loop and isinstance(frames, Iterator):
            raise SourceError(
                f"{name}: an iterator can be read only once, so it cannot loop; pass a list, or a "
                "function that returns a new iterator"
            )
        return lambda: frames
    if callable(frames):
        return frames
    raise SourceError(
        f"{name}: not a source; pass a path, a device number, a URL, an iterable of images or a "
        "function that returns one"
    )


def own_image(image: object, name: str) -> Image:
    """A checked copy of what an application hands over.

    Raises:
        SourceError: neither a uint8 array of the right shape nor bytes.
    """
    if isinstance(image, bytes):
        return image
    if isinstance(image, bytearray | memoryview):
        return bytes(image)
    if not isinstance(image, np.ndarray):
        raise SourceError(
            f"{name}: a frame is a {type(image).__name__}; it must be a NumPy array or bytes"
        )
    colour = image.ndim == 3 and image.shape[2] == 3
    if image.dtype != np.uint8 or not (colour or image.ndim == 2) or image.size == 0:
        raise SourceError(
            f"{name}: a frame has shape {image.shape} and dtype {image.dtype}; it must be uint8 "
            "[height, width, 3] in BGR order, or [height, width]"
        )
    return np.array(image, dtype=np.uint8, order="C")
