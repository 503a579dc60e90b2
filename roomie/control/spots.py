"""What is to be placed, and a place for it: immutable values."""

from __future__ import annotations

from dataclasses import dataclass

from roomie.control.records import ModelSpec


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """An instance that is to be placed.

    Attributes:
        id: what it will be called.
        spec: of its version.
        reserved: whether it will keep its place.
    """

    id: str
    spec: ModelSpec
    reserved: bool

    @property
    def model(self) -> str:
        """Which one."""
        return self.spec.model

    @property
    def profile(self) -> str:
        """Whose kernel profile would predict it."""
        return self.spec.profile or self.spec.model


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A place for an instance.

    Attributes:
        gpu: id of the GPU.
        worker: whose.
        batch: largest batch.
        profile: whose profile predicted it; None for none.
        memory_bytes: what it needs there; 0 where that is not known.
        speed: items a second that are predicted; 0 where nothing is.
        alone_s: seconds of a full batch without neighbours; 0 where nothing is known.
        slowdown: predicted (T~ - T) / T.
        reason: why there.
    """

    gpu: str
    worker: str
    batch: int
    profile: str | None
    memory_bytes: int
    speed: float
    alone_s: float
    slowdown: float
    reason: str
