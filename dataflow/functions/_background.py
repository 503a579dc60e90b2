"""The background of one camera: a MOG2 model with exposure compensation, and its snapshot."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dataflow.errors import RecordError
from dataflow.images import decode_image, encode_jpeg

SNAPSHOT_MAX_BYTES = 200_000
"""A snapshot is one Kafka record, far below the usual limit of 1 MB a message."""

_MAGIC = b"VJBG\x01"
_MAX_SIDE = 65_535
_METER_SIDE = 96
_GAIN_LIMIT = 3.0
_GAIN_DRIFT = 0.02
_EDGES_EVERY = 16
_NEW_EDGE = 6
_SHADOW_DEPTH = 0.65
"""A shadow leaves at least this part of the light. Darker is a dark vehicle: OpenCV's own 0.5
takes them for shadows on grey asphalt."""

FOREGROUND = 255
"""Value of a mask where something moves."""
SHADOW = 127
"""Value of a mask where something darkens the background."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackgroundSettings:
    """How a model learns.

    Attributes:
        work_size: longest side of the picture that is modelled, in pixels; never enlarged.
        history: frames over which the background is learnt once it is known.
        variance_threshold: squared distance, in variances, beyond which a pixel is foreground.
        shadows: tell shadows from things, and leave them out.
        warmup_frames: frames after which the model is good enough to be relied on.
        exposure_compensation: undo the camera's automatic exposure before the comparison.
    """

    work_size: int
    history: int
    variance_threshold: float
    shadows: bool
    warmup_frames: int
    exposure_compensation: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BackgroundSnapshot:
    """What moves with a camera.

    Attributes:
        width: of the camera's frames, in pixels.
        height: of the camera's frames, in pixels.
        learned: frames the model has learnt from.
        last_sequence: the newest frame seen.
        last_captured_at: its time, in seconds since the epoch.
        background: uint8 [h, w, 3] BGR at working resolution.
    """

    width: int
    height: int
    learned: int
    last_sequence: int
    last_captured_at: float
    background: NDArray[np.uint8]

    def to_bytes(self) -> bytes:
        """A magic word with the version, the length of a JSON header, the header, a PNG or JPEG."""
        header = asdict(self)
        del header["background"]
        encoded = json.dumps(header, allow_nan=False).encode()
        prefix = _MAGIC + struct.pack(">H", len(encoded)) + encoded
        room = SNAPSHOT_MAX_BYTES - len(prefix)
        for picture in _encodings(self.background):
            if len(picture) < room:
                break
        return prefix + picture

    @classmethod
    def from_bytes(cls, state: bytes) -> BackgroundSnapshot:
        """Read what :meth:`to_bytes` wrote.

        Raises:
            RecordError: reason ``snapshot-invalid``, or that of the picture's decoder.
        """
        start = len(_MAGIC) + 2
        if not state.startswith(_MAGIC) or len(state) < start:
            raise RecordError("snapshot-invalid", "not a background snapshot of version 1")
        end = start + struct.unpack(">H", state[start - 2 : start])[0]
        try:
            header = json.loads(state[start:end])
            width, height, learned = (int(header[k]) for k in ("width", "height", "learned"))
            last_sequence = int(header["last_sequence"])
            last_captured_at = float(header["last_captured_at"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise RecordError("snapshot-invalid", f"damaged header ({error})") from error
        if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE and learned > 0):
            raise RecordError("snapshot-invalid", f"header out of range ({header})")
        if not math.isfinite(last_captured_at):
            raise RecordError("snapshot-invalid", "the capture time is not a number")
        return cls(
            width=width,
            height=height,
            learned=learned,
            last_sequence=last_sequence,
            last_captured_at=last_captured_at,
            background=decode_image(state[end:], max_pixels=8_000_000),
        )


def _encodings(picture: NDArray[np.uint8]) -> Iterator[bytes]:
    """Encodings of a picture from the best to the smallest: PNG, JPEG, JPEG of half the size."""
    yield cv2.imencode(".png", picture)[1].tobytes()
    for quality in (97, 92, 85, 70, 50, 30):
        # At full colour resolution: a red line on the road must not bleed into it.
        options = [
            cv2.IMWRITE_JPEG_QUALITY,
            quality,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
        ]
        yield cv2.imencode(".jpg", picture, options)[1].tobytes()
    size = (max(1, min(320, picture.shape[1] // 2)), max(1, min(320, picture.shape[0] // 2)))
    half = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    yield encode_jpeg(np.asarray(half, dtype=np.uint8), quality=50)


class _ExposureMeter:
    """Follows the gain of a camera that adjusts its exposure when a white car fills the picture.

    The gain is the median, per channel, of the ratio between the frame and a slowly learnt
    reference, both very small: right as long as the background is more than half of the picture.
    Slow changes (dusk) are left to the background model, fast ones are undone.
    """

    def __init__(self) -> None:
        self._reference: NDArray[np.float32] | None = None
        self.change = 0.0
        """Size of the last gain, as the absolute value of its natural logarithm."""

    def compensate(self, frame: NDArray[np.uint8], *, rate: float) -> NDArray[np.uint8]:
        """The frame as it would look at the reference's exposure; learns with ``rate``."""
        scale = _METER_SIDE / max(frame.shape)
        small = cv2.resize(
            frame,
            (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale))),
            interpolation=cv2.INTER_AREA,
        ).astype(np.float32)
        if self._reference is None:
            self._reference = small
            return frame
        log_gain = self._log_gain(small, self._reference)
        learnt = small * np.exp(log_gain * (1 - _GAIN_DRIFT))
        self._reference += np.float32(rate) * (learnt - self._reference)
        self.change = float(np.abs(log_gain).max())
        if self.change < 0.01:
            return frame
        levels = np.arange(256, dtype=np.float32)[:, None] * np.exp(log_gain * (1 - _GAIN_DRIFT))
        table = np.clip(np.rint(levels), 0, 255).astype(np.uint8)[None]
        return np.asarray(cv2.LUT(frame, table), dtype=np.uint8)

    @staticmethod
    def _log_gain(
        small: NDArray[np.float32], reference: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        gains = np.zeros(3, dtype=np.float32)
        for channel in range(3):
            now, then = small[..., channel], reference[..., channel]
            usable = (now > 4) & (now < 250) & (then > 4) & (then < 250)
            if np.count_nonzero(usable) * 4 > usable.size:
                gains[channel] = np.log(np.median(then[usable] / now[usable]))
        limit = np.log(_GAIN_LIMIT)
        return np.clip(gains, -limit, limit).astype(np.float32)


def _edges(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Strength of the edges, uint8 [height, width]: a quarter of the Sobel gradient's size."""
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    along_x = cv2.convertScaleAbs(cv2.Sobel(grey, cv2.CV_16S, 1, 0), alpha=0.25)
    along_y = cv2.convertScaleAbs(cv2.Sobel(grey, cv2.CV_16S, 0, 1), alpha=0.25)
    return np.asarray(cv2.max(along_x, along_y), dtype=np.uint8)


class BackgroundModel:
    """What one camera sees when nothing moves.

    Attributes:
        width: of the frames, in pixels.
        height: of the frames, in pixels.
        learned: frames learnt from since the model began.
        last_sequence: the newest frame seen; -1 before the first.
        last_captured_at: its time, in seconds since the epoch.
        bad_frames: frames in a row that were foreground nearly everywhere.
    """

    def __init__(self, settings: BackgroundSettings, *, width: int, height: int) -> None:
        self._settings = settings
        self.width, self.height = width, height
        self.last_sequence, self.last_captured_at = -1, -math.inf
        self.reset()

    @property
    def work_shape(self) -> tuple[int, int]:
        """Height and width of the modelled picture, in pixels."""
        scale = min(1.0, self._settings.work_size / max(self.width, self.height))
        return max(1, round(self.height * scale)), max(1, round(self.width * scale))

    def reset(self) -> None:
        """Forget the picture (not the place in the stream) and learn quickly again."""
        self.learned = 0
        self.bad_frames = 0
        self._meter = _ExposureMeter()
        self._background_edges: NDArray[np.uint8] | None = None
        self._mog2 = cv2.createBackgroundSubtractorMOG2(
            history=self._settings.history,
            varThreshold=self._settings.variance_threshold,
            detectShadows=self._settings.shadows,
        )
        self._mog2.setShadowThreshold(_SHADOW_DEPTH)

    def foreground(
        self, image: NDArray[np.uint8], *, sequence: int, captured_at: float
    ) -> NDArray[np.uint8]:
        """Compare a frame with the background, and learn from it if it is a new one.

        A frame that is not newer than the last one, by number and by time, has been delivered
        again or late: it is compared, and nothing is learnt. Numbers that start again with a
        later time are a camera that was restarted.

        Args:
            image: uint8 [height, width, 3] BGR, of this model's frame size.
            sequence: the frame's number.
            captured_at: seconds since the epoch.

        Returns:
            uint8 mask at working resolution: 255 foreground, 127 shadow, 0 background.
        """
        rows, columns = self.work_shape
        work = image
        if image.shape[:2] != (rows, columns):
            # Averaging over areas costs most where the sizes are close, and gains least there.
            close = 2 * columns > image.shape[1]
            method = cv2.INTER_LINEAR if close else cv2.INTER_AREA
            resized = cv2.resize(image, (columns, rows), interpolation=method)
            work = np.asarray(resized, dtype=np.uint8)
        work = np.asarray(cv2.GaussianBlur(work, (3, 3), 0), dtype=np.uint8)
        is_new = sequence > self.last_sequence or captured_at > self.last_captured_at
        # As OpenCV's own automatic rate, on our count, which survives a move.
        rate = 1.0 / min(2 * (self.learned + 1), self._settings.history) if is_new else 0.0
        if self._settings.exposure_compensation:
            work = self._meter.compensate(work, rate=rate)
            # Undoing a gain magnifies what the sensor and the codec have rounded away.
            self._mog2.setVarThreshold(
                self._settings.variance_threshold * (1 + 3 * self._meter.change)
            )
        mask = np.asarray(self._mog2.apply(work, learningRate=rate), dtype=np.uint8)
        if self._settings.shadows and self.learned:
            mask = self._without_textured_shadows(mask, work)
        if is_new:
            self.learned += 1
            self.last_sequence, self.last_captured_at = sequence, captured_at
        return mask

    def _without_textured_shadows(
        self, mask: NDArray[np.uint8], work: NDArray[np.uint8]
    ) -> NDArray[np.uint8]:
        """Turn shadow into foreground where it shows edges that the background has not.

        A shadow darkens the road evenly; a grey car on grey asphalt passes for one by its colour,
        but it has windows, lamps and gaps. The outline of the mask does not count: a real shadow
        has an edge there.
        """
        if self._background_edges is None or self.learned % _EDGES_EVERY == 0:
            background = np.asarray(self._mog2.getBackgroundImage(), dtype=np.uint8)
            self._background_edges = _edges(background)
        inner = cv2.erode(np.where(mask > 0, 255, 0).astype(np.uint8), np.ones((5, 5), np.uint8))
        new_edges = cv2.subtract(_edges(work), self._background_edges) > _NEW_EDGE
        seeds = np.where((mask == SHADOW) & (inner > 0) & new_edges, 255, 0).astype(np.uint8)
        textured = (cv2.dilate(seeds, np.ones((3, 3), np.uint8)) > 0) & (mask == SHADOW)
        return np.where(textured, FOREGROUND, mask).astype(np.uint8)

    def snapshot(self) -> BackgroundSnapshot | None:
        """What another replica needs to go on; None before anything is learnt."""
        if not self.learned:
            return None
        return BackgroundSnapshot(
            width=self.width,
            height=self.height,
            learned=self.learned,
            last_sequence=self.last_sequence,
            last_captured_at=self.last_captured_at,
            background=np.asarray(self._mog2.getBackgroundImage(), dtype=np.uint8),
        )

    @classmethod
    def from_snapshot(
        cls, settings: BackgroundSettings, snapshot: BackgroundSnapshot
    ) -> BackgroundModel:
        """A model that goes on where the snapshot's one stopped.

        The picture is restored, the variance of each pixel is not: the model counts at most a
        quarter of its history, so that it learns the variance (swaying leaves) sooner, but not so
        soon that slow vehicles are learnt as well.
        """
        model = cls(settings, width=snapshot.width, height=snapshot.height)
        rows, columns = model.work_shape
        picture = snapshot.background
        if picture.shape[:2] != (rows, columns):
            resized = cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_LINEAR)
            picture = np.asarray(resized, dtype=np.uint8)
        model._mog2.apply(picture, learningRate=1.0)
        if settings.exposure_compensation:
            model._meter.compensate(picture, rate=1.0)
        model.learned = min(snapshot.learned, max(settings.warmup_frames, settings.history // 4))
        model.last_sequence = snapshot.last_sequence
        model.last_captured_at = snapshot.last_captured_at
        return model
