"""Which workers there are, and whether they can still be counted on."""

from __future__ import annotations

from dataclasses import dataclass

from roomie.control.records import GpuReport, WorkerReport

_STALE_LEASES = 3.0
"""A report that was old already when a controller began is trusted for so many leases: after
that, nothing new is placed there before the worker has been heard again."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """A GPU that may take instances.

    Attributes:
        gpu: as reported.
        worker: whose.
        node: its machine.
        usable: whether new instances may go there now.
    """

    gpu: GpuReport
    worker: str
    node: str
    usable: bool


@dataclass
class _Worker:
    report: WorkerReport
    heard_at: float
    fresh: bool


class Fleet:
    """Workers by name, with their leases.

    A lease counts from when its report was heard, by the controller's clock: the workers' clocks
    may be wrong. And it runs only while the controller can hear: after an outage of the broker,
    the silence of the workers says nothing about them.

    Args:
        patience: seconds without a word of its own after which the controller is deaf.
    """

    def __init__(self, patience: float) -> None:
        self._workers: dict[str, _Worker] = {}
        self._patience = patience
        self._deaf = False

    def __contains__(self, worker: str) -> bool:
        return worker in self._workers

    @property
    def deaf(self) -> bool:
        """Whether silence says nothing."""
        return self._deaf

    def reports(self) -> tuple[WorkerReport, ...]:
        """What all said last, by name."""
        return tuple(self._workers[name].report for name in sorted(self._workers))

    def restore(self, report: WorkerReport, now: float) -> None:
        """Take a report that was there before the controller began; its lease begins anew."""
        fresh = now - report.at <= _STALE_LEASES * report.lease
        self._workers[report.worker] = _Worker(report, now, fresh)

    def hear(self, report: WorkerReport, now: float) -> bool:
        """Take a report; whether the worker is new, or new instances can go there now."""
        before = self._workers.get(report.worker)
        self._workers[report.worker] = _Worker(report, now, fresh=True)
        return (
            before is None
            or not before.fresh
            or before.report.gpus != report.gpus
            or before.report.server_ready < report.server_ready
        )

    def forget(self, worker: str) -> None:
        """A worker has left."""
        self._workers.pop(worker, None)

    def expire(self, now: float, heard: float) -> tuple[WorkerReport, ...]:
        """Take out workers whose lease is over.

        Args:
            now: seconds.
            heard: when the controller last heard something that it had said itself.

        Returns:
            What they had said last.
        """
        if now - heard > self._patience:
            self._deaf = True
            return ()
        if self._deaf:
            self._deaf = False
            for worker in self._workers.values():
                worker.heard_at = now
        lost = [
            name
            for name, worker in sorted(self._workers.items())
            if heard - worker.heard_at > worker.report.lease
        ]
        return tuple(self._workers.pop(name).report for name in lost)

    def sites(self) -> tuple[Site, ...]:
        """All GPUs, by worker, in the order in which they were reported."""
        found: dict[str, Site] = {}
        for name, worker in sorted(self._workers.items()):
            usable = worker.fresh and worker.report.server_ready
            for gpu in worker.report.gpus:
                # Where two workers claim one GPU, the first one has it: both cannot be right.
                found.setdefault(
                    gpu.id,
                    Site(gpu=gpu, worker=name, node=worker.report.node, usable=usable),
                )
        return tuple(found.values())
