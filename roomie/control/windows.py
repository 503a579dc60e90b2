"""What instances did lately, summed up from their workers' telemetry."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, floor
from statistics import median

from roomie.control.records import InstanceTelemetry, ModelSpec, Telemetry

HISTORY_SLOTS = 50
"""Seconds of arrivals that a forecaster sees (as VIDEOJAM's, baselines.md sec. 1)."""
_LEAST_ANSWERS = 3
_LEAST_ERRORS = 2
"""At the end of a probation so few count, however many are wanted during it: clients leave an
instance that errs alone, so a version that is bad enough never gets many requests. A single error
is no rate, though."""
_LEAST_SPANS = 3
"""Reports with answers from which the time in the middle says something, however few answers there
are: clients that spread by speed leave a slow version alone too."""


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Sums over a window.

    Attributes:
        seconds: how much of the window the telemetry covers.
        pending: requests that wait, as of the newest telemetry.
        grown: by how much that is more than at the window's beginning.
        spans: the telemetry that is summed up.
    """

    seconds: float = 0.0
    pending: int = 0
    grown: int = 0
    spans: tuple[InstanceTelemetry, ...] = ()

    @cached_property
    def requests(self) -> int:
        """Answered well."""
        return sum(span.requests for span in self.spans)

    @cached_property
    def failures(self) -> int:
        """Answered with an error."""
        return sum(span.failures for span in self.spans)

    @cached_property
    def items(self) -> int:
        """Inferred."""
        return sum(span.items for span in self.spans)

    @cached_property
    def compute_seconds(self) -> float:
        """That executions took."""
        return sum(span.compute_seconds for span in self.spans)

    @cached_property
    def executions(self) -> int:
        """Batches run."""
        return sum(span.executions for span in self.spans)

    @property
    def answered(self) -> int:
        """Requests with any answer."""
        return self.requests + self.failures

    @property
    def items_per_request(self) -> float:
        """1 while unknown."""
        return self.items / self.requests if self.requests else 1.0

    @property
    def arrivals_per_s(self) -> float:
        """Items a second that came: those that were answered, and by how many more wait."""
        if not self.seconds:
            return 0.0
        came = self.items + (self.failures + self.grown) * self.items_per_request
        return max(0.0, came / self.seconds)

    @property
    def execution_s(self) -> float | None:
        """Mean time of an execution; None without one."""
        return self.compute_seconds / self.executions if self.executions else None

    @property
    def typical_execution_s(self) -> float | None:
        """Median over the spans of an execution's time: a stall or a cold start does not show."""
        times = [span.compute_seconds / span.executions for span in self.spans if span.executions]
        return median(times) if times else None

    @property
    def typical_item_s(self) -> float | None:
        """The same of an item's."""
        times = [span.compute_seconds / span.items for span in self.spans if span.items]
        return median(times) if times else None

    @property
    def speed(self) -> float | None:
        """Items a second while it computes; None without any."""
        return self.items / self.compute_seconds if self.compute_seconds > 0 else None

    @property
    def batch(self) -> float:
        """Mean items of an execution; 0 without one."""
        return self.items / self.executions if self.executions else 0.0

    @classmethod
    def of(cls, parts: Iterable[Totals]) -> Totals:
        """The sums of several instances; the seconds are the longest."""
        kept = list(parts)
        return cls(
            seconds=max((p.seconds for p in kept), default=0.0),
            pending=sum(p.pending for p in kept),
            grown=sum(p.grown for p in kept),
            spans=tuple(span for p in kept for span in p.spans),
        )


class Windows:
    """Telemetry of all instances, for a while.

    Args:
        keep: seconds of the longest window that will be asked for.
    """

    def __init__(self, keep: float = HISTORY_SLOTS) -> None:
        self._keep = max(keep, HISTORY_SLOTS)
        self._heard: dict[str, deque[tuple[float, float, InstanceTelemetry]]] = {}

    def hear(self, telemetry: Telemetry, at: float) -> None:
        """Take what a worker measured.

        Args:
            telemetry: as it came.
            at: when its span ended, by the controller's clock.
        """
        for part in telemetry.instances:
            kept = self._heard.setdefault(part.id, deque())
            kept.append((at, telemetry.seconds, part))
            # The span before a window tells what waited when that began.
            while kept[0][0] < at - self._keep - telemetry.seconds:
                kept.popleft()

    def keep_only(self, instances: Collection[str]) -> None:
        """Forget all others."""
        for name in [name for name in self._heard if name not in instances]:
            del self._heard[name]

    def arrivals(self, instances: Sequence[str], now: float) -> list[float]:
        """Items a second that came to some instances in each of the last seconds, oldest first."""
        slots = [0.0] * HISTORY_SLOTS
        for name in instances:
            pending = 0
            for at, seconds, part in self._heard.get(name, ()):
                per_request = part.items / part.requests if part.requests else 1.0
                came = part.items + (part.failures + part.pending - pending) * per_request
                pending = part.pending
                first = HISTORY_SLOTS - (now - at + seconds)
                for slot in range(max(0, floor(first)), min(HISTORY_SLOTS, ceil(first + seconds))):
                    overlap = min(slot + 1, first + seconds) - max(slot, first)
                    slots[slot] += max(0.0, came) * max(0.0, overlap) / seconds
        return slots

    def totals(self, instance: str, since: float) -> Totals:
        """Sums over the spans that began at or after a time."""
        kept = self._heard.get(instance, ())
        # Half a span before counts: whoever measures and whoever asks do so at their own times.
        inside = [(s, p) for at, s, p in kept if at - s >= since - s / 2]
        if not inside:
            return Totals()
        before = [p.pending for at, s, p in kept if at - s < since - s / 2]
        start = before[-1] if before else 0
        parts = [part for _, part in inside]
        return Totals(
            seconds=sum(seconds for seconds, _ in inside),
            pending=parts[-1].pending,
            grown=parts[-1].pending - start,
            spans=tuple(parts),
        )


def verdict(new: Totals, old: Totals, spec: ModelSpec, *, least: int, over: bool) -> str | None:
    """What speaks against a version that is on probation.

    Args:
        new: what its instances did since they were ready.
        old: what the old version's did in the same time.
        spec: the new version's.
        least: requests below which nothing is held against it before the probation is over, and
            its time only if it was reported several times.
        over: whether the probation is over.

    Returns:
        Why it has to go; None where it may stay.
    """
    if over and not new.answered and new.pending:
        return f"it has answered nothing, and {new.pending} requests wait for it"
    counts = over and new.answered >= _LEAST_ANSWERS and new.failures >= _LEAST_ERRORS
    if new.answered >= least or counts:
        share = new.failures / new.answered
        if share > spec.error_limit:
            return (
                f"{new.failures} of {new.answered} requests failed ({share:.1%}); at most "
                f"{spec.error_limit:.1%} may"
            )
    # Time is judged at the end only, when there is enough of it: the first seconds of an instance,
    # or a moment in which its machine was busy, are not what it is like.
    timed = sum(1 for span in new.spans if span.items) >= _LEAST_SPANS
    return _slow(new, old, spec) if over and (new.answered >= least or timed) else None


def unproven(new: Totals, old: Totals, *, least: int) -> str | None:
    """Why a version that nothing speaks against has not proved itself either.

    Args:
        new: what its instances did since they were ready.
        old: what the old version's did in the same time.
        least: answers of the old version from which the silence of the new one means something.

    Returns:
        What is missing; None where it has answered well, or had hardly anything to answer.
    """
    if new.requests:
        return None
    if new.failures:
        return f"none of the {new.failures} requests that it answered went well"
    if old.requests >= least:
        return f"it has answered nothing, and the old version {old.requests} requests meanwhile"
    return None


def _slow(new: Totals, old: Totals, spec: ModelSpec) -> str | None:
    if spec.latency is not None:
        took = new.typical_execution_s
        if took is None or took <= spec.latency:
            return None
        return f"an inference takes {took:.4f} s; at most {spec.latency:g} s are wanted"
    now, before = new.typical_item_s, old.typical_item_s
    if now is None or before is None or now <= spec.slow_limit * before:
        return None
    return (
        f"an item takes {now:.4f} s, {now / before:.1f} times as long as with the old version "
        f"({before:.4f} s); at most {spec.slow_limit:g} times are allowed"
    )
