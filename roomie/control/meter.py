"""Telemetry out of a server's counters: differences between two looks. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from roomie.control.records import InstanceTelemetry, Telemetry
from roomie.triton.server import ModelStatistics


class Meter:
    """Turns counters into what was done since the last look.

    Counters begin anew when a model is loaded again; what it did before that and after the last
    look is lost, and never counted twice.

    Args:
        worker: whose server it is.
    """

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._before: dict[str, ModelStatistics] = {}
        self._at: float | None = None

    def measure(
        self,
        statistics: Mapping[str, ModelStatistics],
        batches: Mapping[str, int],
        at: float,
        used_bytes: Mapping[str, int] | None = None,
    ) -> Telemetry | None:
        """What was done since the last call.

        Args:
            statistics: of the server's models.
            batches: largest batch of each instance; others are left out.
            at: the time, seconds since the epoch.
            used_bytes: memory taken on each GPU, where that is known.

        Returns:
            None at the first call, which has nothing to compare with.
        """
        before, self._before = self._before, dict(statistics)
        began, self._at = self._at, at
        if began is None or at <= began:
            return None
        return Telemetry(
            worker=self._worker,
            at=at,
            seconds=at - began,
            used_bytes=dict(used_bytes or {}),
            instances=tuple(
                _difference(name, statistics[name], before.get(name), batches[name])
                for name in sorted(statistics)
                if name in batches
            ),
        )


def _difference(
    name: str, now: ModelStatistics, before: ModelStatistics | None, batch: int
) -> InstanceTelemetry:
    begun_anew = before is None or any(
        new < old
        for new, old in (
            (now.requests, before.requests),
            (now.failures, before.failures),
            (now.executions, before.executions),
        )
    )
    old = ModelStatistics() if begun_anew or before is None else before
    full, full_before = now.by_batch.get(batch, (0, 0.0)), old.by_batch.get(batch, (0, 0.0))
    return InstanceTelemetry(
        id=name,
        requests=now.requests - old.requests,
        failures=now.failures - old.failures,
        items=max(0, now.items - old.items),
        queue_seconds=max(0.0, now.queue_seconds - old.queue_seconds),
        compute_seconds=max(0.0, now.compute_seconds - old.compute_seconds),
        executions=now.executions - old.executions,
        pending=now.pending or 0,
        full_executions=max(0, full[0] - full_before[0]),
        full_seconds=max(0.0, full[1] - full_before[1]),
    )
