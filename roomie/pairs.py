"""Two models on one GPU, by every predictor: what `videojam roomie interference` shows."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass

from roomie.coexecution import POLICIES, CoExecution, Policy, Span, reference_drop
from roomie.devices import Device
from roomie.errors import PlacementError
from roomie.interference import (
    MODES,
    Interference,
    InterferenceSettings,
    crowding,
    performance_drop,
)
from roomie.profiles import Profile, ProfileStore, Variant
from roomie.tables import OVER, KernelTable, kernel_table

_BATCH = re.compile(r"^(.+)@([1-9]\d*)$")


def parse_variant(text: str, batch: int) -> Variant:
    """A variant from ``MODEL`` or ``MODEL@BATCH``."""
    match = _BATCH.match(text)
    return Variant(text, batch) if match is None else Variant(match.group(1), int(match.group(2)))


@dataclass(frozen=True, kw_only=True)
class Collision:
    """Kernels of two models that interfere, by name.

    Attributes:
        names: of the two.
        share: of the time in which both models run, that these two meet.
        excess: what they ask for of the scarcest resource beyond an SM, weighted by time.
    """

    names: tuple[str, str]
    share: float
    excess: float


@dataclass(frozen=True, kw_only=True)
class PairReport:
    """Two models on one GPU.

    Attributes:
        profiles: of the two.
        tables: their kernels as arrays.
        predicted: slowdowns of both by each reading of the predictor.
        referenced: slowdowns of both by each policy of the co-execution.
        colliding_share: of the time in which both run, that their kernels interfere.
        collisions: kernels that meet and interfere, the longest together first.
    """

    profiles: tuple[Profile, Profile]
    tables: tuple[KernelTable, KernelTable]
    predicted: dict[InterferenceSettings, tuple[Interference, Interference]]
    referenced: dict[Policy, tuple[Interference, Interference]]
    colliding_share: float
    collisions: tuple[Collision, ...]

    def spans(self, policy: Policy) -> list[Span]:
        """Both from their first kernel, until each has finished once."""
        found: list[Span] = []
        CoExecution(self.tables, policy).run([0, 0], spans=found)
        return found


def examine_pair(
    store: ProfileStore, device: Device, first: Variant, second: Variant, *, shown: int = 8
) -> PairReport:
    """Everything about two models on one GPU.

    Raises:
        PlacementError: one of them has no profile for the device.
    """
    profiles = _profile(store, device, first), _profile(store, device, second)
    tables = kernel_table(profiles[0]), kernel_table(profiles[1])
    readings = [
        *(
            InterferenceSettings(mode=mode, alignment="lockstep", gamma=gamma)
            for mode in MODES
            for gamma in ("count", "time")
        ),
        *(InterferenceSettings(mode=mode) for mode in MODES),
    ]
    predicted = {settings: _two(performance_drop(tables, settings)) for settings in readings}
    referenced = {policy: _two(reference_drop(tables, policy=policy)) for policy in POLICIES}
    share, collisions = _collisions(profiles, tables)
    return PairReport(
        profiles=profiles,
        tables=tables,
        predicted=predicted,
        referenced=referenced,
        colliding_share=share,
        collisions=tuple(collisions[:shown]),
    )


def _profile(store: ProfileStore, device: Device, variant: Variant) -> Profile:
    found = store.find(variant, device)
    if found is None:
        known = store.batches(variant.model, device)
        remedy = (
            f"batch sizes profiled for it: {', '.join(map(str, known))}"
            if known
            else f"{store.meant(variant.model)}models profiled: {', '.join(store.models)}; "
            "for other GPUs, record profiles"
        )
        raise PlacementError(f"no profile of {variant} for {device.name}\n  remedy: {remedy}")
    return found


def _two(drops: list[Interference]) -> tuple[Interference, Interference]:
    first, second = drops
    return first, second


def _collisions(
    profiles: tuple[Profile, Profile], tables: tuple[KernelTable, KernelTable]
) -> tuple[float, list[Collision]]:
    """Kernels in proportion to the time that they take, as models under load meet."""
    crowd = crowding(*tables)
    first, second = (_times_by_name(p, t) for p, t in zip(profiles, tables, strict=True))
    found: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    total = 0.0
    for (name, signature), share in first.items():
        for (other, theirs), their_share in second.items():
            excess = float(crowd[signature, theirs]) - 1
            if excess > OVER:
                met = share * their_share
                total += met
                entry = found[name, other]
                entry[0] += met
                entry[1] += met * excess
    collisions = [
        Collision(names=names, share=met, excess=weighted / met)
        for names, (met, weighted) in found.items()
    ]
    return total, sorted(collisions, key=lambda c: (-c.share, c.names))


def _times_by_name(profile: Profile, table: KernelTable) -> dict[tuple[str, int], float]:
    times: dict[tuple[str, int], float] = defaultdict(float)
    for kernel, signature, duration in zip(
        profile.kernels, table.signature, table.durations_s, strict=True
    ):
        times[kernel.name, int(signature)] += float(duration) / table.inference_time_s
    return times
