"""A worker that only pretends: it follows placements and reports, and loads nothing.

For tests, for emulations, and to try a controller without GPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from roomie.control.records import (
    GpuReport,
    InstanceReport,
    InstanceState,
    PlacedInstance,
    Placement,
    WorkerReport,
)


@dataclass
class _Running:
    placed: PlacedInstance
    state: InstanceState
    since: float
    reason: str | None = None


class FakeWorker:
    """One worker. Reads no clock.

    Args:
        name: its name.
        gpus: their kinds; they are called NAME/0, NAME/1 and so on.
        memory_bytes: declared size of each GPU; that of the kind when None.
        node: its machine; its name when None.
        load_s: seconds that loading takes.
        drain_s: seconds that draining takes.
        lease: of its reports, seconds.
        fault: why an instance fails to load; None where it does not.
    """

    def __init__(
        self,
        name: str,
        gpus: Sequence[str] = ("A100-SXM4-40GB",),
        *,
        memory_bytes: int | None = None,
        node: str | None = None,
        load_s: float = 1.0,
        drain_s: float = 0.5,
        lease: float = 5.0,
        fault: Callable[[PlacedInstance], str | None] | None = None,
    ) -> None:
        self.name = name
        self.node = node or name
        self.load_s = load_s
        self.drain_s = drain_s
        self.lease = lease
        self.fault = fault or (lambda _: None)
        self.server_ready = True
        self._gpus = tuple(
            GpuReport(id=f"{name}/{n}", device=kind, memory_bytes=memory_bytes)
            for n, kind in enumerate(gpus)
        )
        self._life = 0
        self._running: dict[str, _Running] = {}

    @property
    def running(self) -> dict[str, PlacedInstance]:
        """What takes memory on its GPUs, by id."""
        return {
            name: running.placed
            for name, running in self._running.items()
            if running.state in ("loading", "ready", "draining")
        }

    @property
    def ready(self) -> set[str]:
        """What would answer requests."""
        return {name for name, running in self._running.items() if running.state == "ready"}

    def restart(self) -> None:
        """Lose everything that was loaded."""
        self._life += 1
        self._running = {}

    def follow(self, placements: Iterable[Placement], now: float) -> None:
        """Begin to load what is placed here and is missing, and to drain what is to go."""
        wanted = {i.id: i for p in placements for i in p.instances if i.worker == self.name}
        for name in [name for name in self._running if name not in wanted]:
            del self._running[name]
        for name, placed in wanted.items():
            running = self._running.get(name)
            if placed.state == "draining":
                if running is not None and running.state != "draining":
                    running.state, running.since = "draining", now
            elif running is None:
                self._running[name] = _Running(placed, "loading", now)
        self._settle(now)

    def _settle(self, now: float) -> None:
        for name, running in list(self._running.items()):
            waited = now - running.since
            if running.state == "loading" and waited >= self.load_s:
                running.reason = self.fault(running.placed)
                running.state = "ready" if running.reason is None else "failed"
                running.since = now
            elif running.state == "draining" and waited >= self.drain_s:
                del self._running[name]

    def report(self, now: float) -> WorkerReport:
        """What it says of itself."""
        self._settle(now)
        return WorkerReport(
            worker=self.name,
            node=self.node,
            incarnation=f"{self.name}-{self._life}",
            url=f"{self.node}:8001",
            gpus=self._gpus,
            at=now,
            lease=self.lease,
            server_ready=self.server_ready,
            instances=tuple(
                InstanceReport(id=name, state=r.state, reason=r.reason)
                for name, r in sorted(self._running.items())
            ),
        )
