"""Recorded and made-up load: vehicles a frame, and what they mean in items a slot."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forecasting.errors import TraceError
from forecasting.windows import Loads, Window

COLUMNS = ("sequence", "frame", "vehicles")
"""Columns that a trace has; a fourth, ``seconds``, may say when each frame was captured."""

_SECONDS = "seconds"
_LONGEST_GAP_SECONDS = 5.0
"""A camera that is silent for longer was off: the sequence ends, and another one begins."""
_MOST_VEHICLES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """Vehicles in each frame of one camera.

    Attributes:
        name: of the sequence.
        vehicles: float32 [frames], how many.
        fps: frames a second.
    """

    name: str
    vehicles: Loads
    fps: float

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.vehicles) / self.fps

    def slots(self, fps: float, slot_seconds: float = 1.0, *, speed: float = 1.0) -> Loads:
        """Items a slot that a camera of another frame rate would have sent for the same scene.

        Each frame shows what the scene showed at that time: the vehicles of the newest frame of
        the trace. A started last slot is left out.

        Args:
            fps: of the camera.
            slot_seconds: length of a slot in seconds.
            speed: how many times faster the scene passes.

        Returns:
            float32 [slots].
        """
        per_slot = fps * slot_seconds
        count = math.floor(self.seconds / (speed * slot_seconds) + 1e-9)
        frames = np.arange(math.ceil(count * per_slot - 1e-9))
        source = np.floor(frames * (speed * self.fps / fps) + 1e-6).astype(np.int64)
        seen = self.vehicles[np.minimum(source, len(self.vehicles) - 1)]
        slot = np.minimum((frames / per_slot + 1e-9).astype(np.int64), max(count - 1, 0))
        return np.bincount(slot, weights=seen, minlength=count)[:count].astype(np.float32)


def read_traces(file: Path, *, fps: float = 10.0) -> list[Trace]:
    """Read a CSV file with the columns sequence, frame, vehicles, and perhaps seconds.

    Args:
        file: with a header line; frames of a sequence in order. ``seconds`` are those from the
            start of the sequence at which a frame was captured; its frame rate follows from them.
        fps: frame rate of files without ``seconds``. Frames that are missing (frame numbers with
            gaps) count as the frame before them.

    Raises:
        TraceError: the file cannot be read, or a line of it is wrong.
    """
    sequences: dict[str, list[tuple[int, float, float | None]]] = {}
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            for line, name, row in _rows(file, stream):
                frames = sequences.setdefault(name, [])
                if frames and row[0] <= frames[-1][0]:
                    raise TraceError(
                        f"frame {row[0]} of sequence {name!r} follows frame {frames[-1][0]}",
                        file=file,
                        line=line,
                        key="frame",
                        remedy="sort the frames of each sequence, and leave out repeated ones",
                    )
                frames.append(row)
    except OSError as error:
        raise TraceError(
            f"the trace cannot be read: {error.strerror or error}",
            file=file,
            remedy="give a CSV file with the columns sequence, frame, vehicles",
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TraceError(
            f"the trace is not CSV text: {error}", file=file, remedy="save it as UTF-8 CSV"
        ) from error
    if not sequences:
        raise TraceError("the trace has no frames", file=file, remedy="record longer")
    return [
        trace for name, frames in sequences.items() for trace in _traces(name, frames, fps, file)
    ]


def _rows(
    file: Path, stream: Iterable[str]
) -> Iterator[tuple[int, str, tuple[int, float, float | None]]]:
    reader = csv.DictReader(stream)
    lacking = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if lacking:
        raise TraceError(
            f"the header lacks {', '.join(lacking)}",
            file=file,
            line=1,
            remedy=f"the first line is {','.join(COLUMNS)} (and {_SECONDS}, if known)",
        )
    timed = _SECONDS in (reader.fieldnames or ())
    for row in reader:
        line = reader.line_num
        frame = int(_number(row["frame"], file, line, "frame"))
        vehicles = _number(row["vehicles"], file, line, "vehicles")
        seconds = _number(row[_SECONDS], file, line, _SECONDS) if timed else None
        yield line, str(row["sequence"]), (frame, vehicles, seconds)


def _number(text: str | None, file: Path, line: int, key: str) -> float:
    try:
        number = float(text or "")
    except ValueError:
        number = math.nan
    if not number >= 0 or (key == "vehicles" and number > _MOST_VEHICLES) or math.isinf(number):
        raise TraceError(
            "a number of 0 or more is expected",
            file=file,
            line=line,
            key=key,
            value=text,
            remedy="correct the line, or leave it out",
        )
    return number


def _traces(
    name: str, frames: Sequence[tuple[int, float, float | None]], fps: float, file: Path
) -> Iterator[Trace]:
    numbers = np.array([frame for frame, _, _ in frames], np.float64)
    vehicles = np.array([count for _, count, _ in frames], np.float32)
    if frames[0][2] is None:
        times = (numbers - numbers[0]) / fps
        rate = fps
    else:
        times = np.array([seconds for _, _, seconds in frames], np.float64)
        steps = np.diff(times)
        if (steps < 0).any():
            raise TraceError(
                f"the seconds of sequence {name!r} go backwards",
                file=file,
                key=_SECONDS,
                remedy="sort the frames of each sequence by time",
            )
        usual = float(np.median(steps[steps > 0])) if (steps > 0).any() else 1.0 / fps
        rate = 1.0 / usual
    breaks = np.flatnonzero(np.diff(times) > _LONGEST_GAP_SECONDS) + 1
    parts = np.split(np.arange(len(times)), breaks)
    for index, part in enumerate(parts):
        grid = np.arange(round((times[part[-1]] - times[part[0]]) * rate) + 1) / rate
        newest = np.searchsorted(times[part] - times[part[0]], grid + 0.5 / rate, side="right") - 1
        yield Trace(
            name=name if len(parts) == 1 else f"{name}#{index}",
            vehicles=vehicles[part[newest]],
            fps=rate,
        )


def sequence_of(trace: Trace) -> str:
    """The sequence that a trace is of, or a part of where the camera was off in between."""
    return trace.name.rpartition("#")[0] or trace.name


def every_third(traces: Sequence[Trace]) -> tuple[str, ...]:
    """Sequences to keep for a test unless told otherwise: the 2nd, the 5th, the 8th, ..."""
    return tuple(dict.fromkeys(sequence_of(trace) for trace in traces))[1::3]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Windows:
    """Forecasting problems: what was known, and what came.

    Attributes:
        histories: float32 [n, h].
        targets: float32 [n, k].
        known: int64 [n], slots of each history that had been measured; the others are 0.
    """

    histories: Loads
    targets: Loads
    known: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.targets)

    def select(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Windows:
        """Some of them."""
        return Windows(
            histories=self.histories[chosen],
            targets=self.targets[chosen],
            known=self.known[chosen],
        )


def rolling_origin(
    loads: Loads, window: Window, *, stride: int = 1, least_known: int | None = None
) -> Windows:
    """Every problem that a load poses when the origin moves over it.

    Args:
        loads: float32 [t], items a slot.
        window: how time is cut.
        stride: slots between two origins.
        least_known: slots measured before the first origin; a window by default, as a replica
            forecasts first when its first window ends. Histories that reach beyond the start of
            the load are 0 there.

    Returns:
        n problems, 0 where the load is too short.
    """
    first = window.slots if least_known is None else least_known
    origins = np.arange(first, len(loads) - window.slots + 1, stride)
    padded = np.concatenate([np.zeros(window.history, np.float32), loads.astype(np.float32)])
    back = origins[:, None] + np.arange(window.history)
    ahead = window.history + origins[:, None] + np.arange(window.slots)
    return Windows(
        histories=padded[back].reshape(-1, window.history),
        targets=padded[ahead].reshape(-1, window.slots),
        known=np.minimum(origins, window.history),
    )


def join_windows(parts: Sequence[Windows], window: Window) -> Windows:
    """All problems of several loads, in order."""
    empty = rolling_origin(np.zeros(0, np.float32), window)
    parts = [empty, *parts]
    return Windows(
        histories=np.concatenate([part.histories for part in parts]),
        targets=np.concatenate([part.targets for part in parts]),
        known=np.concatenate([part.known for part in parts]),
    )
