"""Counting vehicles a frame from what is said about frames, into a trace that can be trained on."""

from __future__ import annotations

import csv
import io
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from forecasting.errors import TraceError


@dataclass(slots=True)
class _Frame:
    captured_at: float | None = None
    vehicles: set[Hashable] = field(default_factory=set)
    """What tells one vehicle of the frame from another: its place."""
    passed: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    """Parts of the frame that passed, and parts that were lost. One may be both: lost by one
    replica, delivered again, and processed by another."""

    @property
    def count(self) -> int:
        return len(self.vehicles) + len(self.lost - self.passed)


class FrameTally:
    """Vehicles in each frame of each sequence.

    At-least-once delivery repeats results, and several parts of a frame may carry the same
    vehicle: each counts once. A part that was lost counts as one vehicle, for it was demanded; a
    whole frame that was lost says nothing, and is left out.
    """

    def __init__(self) -> None:
        self._sequences: dict[str, dict[int, _Frame]] = {}

    def __len__(self) -> int:
        return sum(len(frames) for frames in self._sequences.values())

    def seen(
        self,
        sequence: str,
        frame: int,
        part: str,
        *,
        captured_at: float,
        vehicles: set[Hashable],
    ) -> None:
        """A part of a frame has passed.

        Args:
            sequence: one run of a camera.
            frame: its number.
            part: which part of it; empty for all of it.
            captured_at: seconds of the camera's clock.
            vehicles: what tells each vehicle of the part from the others of the frame.
        """
        entry = self._sequences.setdefault(sequence, {}).setdefault(frame, _Frame())
        entry.captured_at = captured_at
        entry.passed.add(part)
        entry.vehicles |= vehicles

    def lost(self, sequence: str, frame: int, part: str) -> None:
        """A part of a frame was dropped or is dead; nothing if it is the whole frame."""
        if part:
            entry = self._sequences.setdefault(sequence, {}).setdefault(frame, _Frame())
            entry.lost.add(part)

    def rows(self) -> Iterator[tuple[str, int, int, float]]:
        """Sequence, frame, vehicles, and seconds since the first frame, in order.

        When a frame was captured of which nothing passed is taken from its neighbours; a sequence
        of which nothing passed at all is left out.
        """
        for name, frames in sorted(self._sequences.items()):
            numbers = sorted(frames)
            known = [n for n in numbers if frames[n].captured_at is not None]
            if not known:
                continue
            times = np.array([frames[n].captured_at for n in known], np.float64)
            inside = [n for n in numbers if known[0] <= n <= known[-1]]
            # a camera's clock may be set back; time in a trace does not go back
            captured = np.maximum.accumulate(np.interp(inside, known, times))
            for number, at in zip(inside, captured - captured[0], strict=True):
                yield name, number, frames[number].count, round(float(at), 4)

    def write(self, file: Path) -> int:
        """Write the trace, all at once: a reader never finds half of it.

        Returns:
            How many frames.

        Raises:
            TraceError: nothing was recorded, or the file cannot be written.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("sequence", "frame", "vehicles", "seconds"))
        count = 0
        for row in self.rows():
            writer.writerow(row)
            count += 1
        if not count:
            raise TraceError(
                "no result came, so there is nothing to write",
                file=file,
                remedy="see whether the pipelines run: `videojam results`; or record for longer",
            )
        partial = file.with_name(file.name + ".part")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(text.getvalue(), encoding="utf-8")
            partial.replace(file)
        except OSError as error:
            raise TraceError(
                f"the trace cannot be written: {error.strerror or error}",
                file=file,
                remedy="choose another --out",
            ) from error
        return count
