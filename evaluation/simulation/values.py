"""What a simulated cluster is made of and handles, and the books of a run: values."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from agents.balancing import Waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSpec:
    """A replica.

    Attributes:
        name: unique.
        mu: items a second with full batches.
        batch: largest batch.
        overhead: fraction of a full batch's time that a batch of any size takes.
        jitter: coefficient of variation of a batch's time.
    """

    name: str
    mu: float
    batch: int = 1
    overhead: float = 0.0
    jitter: float = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSpec:
    """Every replica's link.

    Attributes:
        latency: seconds, one way.
        bandwidth: bytes a second that a replica can send.
    """

    latency: float = 0.01
    bandwidth: float = 125e6


@dataclass(frozen=True, slots=True)
class Item:
    """A frame or an object on its way.

    Attributes:
        captured: when, seconds.
        work: what its balancer sees of it; the key is unique in the simulation.
        objects: bytes of each object that is cut from it.
    """

    captured: float
    work: Waiting
    objects: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Bytes."""
        return self.work.size

    @property
    def camera(self) -> str:
        """Whose."""
        return self.work.camera

    def offloaded(self) -> Item:
        """The same at a peer."""
        return replace(self, work=replace(self.work, hops=self.work.hops + 1))


@dataclass(slots=True)
class Books:
    """What a run has come to.

    Attributes:
        done: (captured, finished) of each item that left the last group.
        produced: items that entered each group.
        dropped: items that a full queue dropped.
        rows: state rows published.
        signals: signals sent.
        offloads: offload actions.
        offloaded: items offloaded.
        offloaded_bytes: their bytes.
        control_bytes: bytes of rows and signals as published.
    """

    done: list[tuple[float, float]] = field(default_factory=list)
    produced: int = 0
    dropped: int = 0
    rows: int = 0
    signals: int = 0
    offloads: int = 0
    offloaded: int = 0
    offloaded_bytes: int = 0
    control_bytes: int = 0
