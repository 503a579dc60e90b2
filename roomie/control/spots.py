"""What is to be placed, places for it, and what is there."""

from __future__ import annotations

from dataclasses import dataclass, field

from roomie.cluster import Request
from roomie.control.records import ModelSpec, PlacedInstance, Placement


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """An instance that is to be placed.

    Attributes:
        id: what it will be called.
        spec: of its version.
        reserved: whether it will keep its place.
        duty: share of its time that it is expected to compute.
    """

    id: str
    spec: ModelSpec
    reserved: bool
    duty: float = 1.0

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


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A running instance that makes room by going elsewhere.

    Attributes:
        instance: its id.
        spot: where its successor goes.
    """

    instance: str
    spot: Spot


@dataclass(kw_only=True)
class Outcome:
    """What became of wanted instances.

    Attributes:
        placed: where each goes, by its id.
        deferred: why each that is not placed is not, by its id.
        displaced: running instances that have to go, with the reason.
        moved: running instances that change their place.
    """

    placed: dict[str, Spot] = field(default_factory=dict)
    deferred: dict[str, str] = field(default_factory=dict)
    displaced: list[tuple[str, str]] = field(default_factory=list)
    moved: list[Moved] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Resident:
    """An instance on a GPU, as placing sees it."""

    request: Request
    gpu: str
    batch: int
    profiled: bool
    memory_bytes: int

    @classmethod
    def of(
        cls,
        placement: Placement,
        instance: PlacedInstance,
        *,
        kept: bool = False,
        duty: float = 1.0,
    ) -> Resident:
        """What is placed; ``kept`` lets it keep its place whatever it is."""
        rollout = placement.rollout
        spec = rollout.spec if instance.incoming and rollout is not None else placement.spec
        return cls(
            request=request_of(
                instance.id,
                spec,
                instance.profile or spec.model,
                batch=instance.batch,
                reserved=instance.reserved or kept,
                duty=duty,
            ),
            gpu=instance.gpu,
            batch=instance.batch,
            profiled=instance.profile is not None,
            memory_bytes=instance.memory_bytes,
        )


def request_of(
    name: str,
    spec: ModelSpec,
    profile: str,
    *,
    batch: int | None,
    reserved: bool,
    duty: float = 1.0,
) -> Request:
    """An instance as placers are asked for it."""
    return Request(
        id=name,
        model=profile,
        batch=batch,
        rate=spec.rate,
        latency_s=spec.latency,
        removable=not reserved,
        spread=spec.spread,
        group=spec.model,
        duty=duty,
    )
