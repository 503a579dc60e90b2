"""A place for a model that has no kernel profile: by memory, and by number of instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from roomie.cluster import Request
from roomie.control.fleet import Site
from roomie.control.spots import Spot, Wanted

Resident = tuple[str, str, Request, int]
"""GPU, node, what was asked for, and bytes."""


def fall_back(
    wanted: Wanted,
    *,
    batch: int,
    need: int,
    sites: Sequence[Site],
    limits: Mapping[str, float | None],
    residents: Sequence[Resident],
) -> tuple[Spot, tuple[str, ...]] | str:
    """The GPU with the fewest instances, then the most free memory.

    Args:
        wanted: what is to be placed.
        batch: its batch size.
        need: bytes that it needs; 0 where that is not known.
        sites: GPUs to choose from.
        limits: bytes that instances may fill of each; None where that is not known.
        residents: what will be there.

    Returns:
        The place and which removable instances have to go for it; or why there is none.
    """
    allowed = _apart(wanted, sites, residents)
    if not allowed:
        return f"each node holds an instance of {wanted.model} already, and they keep apart"
    best: tuple[tuple[float, ...], Site, tuple[str, ...]] | None = None
    for position, site in enumerate(allowed):
        there = [r for r in residents if r[0] == site.gpu.id]
        found = _room(wanted, need, limits[site.gpu.id], there)
        if found is None:
            continue
        gone, free = found
        same = sum(request.group == wanted.model for _, _, request, _ in there)
        key = (len(gone), len(there) - len(gone), same, -free, position)
        if best is None or key < best[0]:
            best = key, site, gone
    if best is None:
        return f"{len(allowed)} GPU(s) left out: not enough memory below 90 % for {need} bytes"
    _, site, gone = best
    there = [r for r in residents if r[0] == site.gpu.id and r[2].id not in gone]
    what = "memory and number of instances" if need else "number of instances"
    spot = Spot(
        gpu=site.gpu.id,
        worker=site.worker,
        batch=batch,
        profile=None,
        memory_bytes=need,
        speed=0.0,
        alone_s=0.0,
        slowdown=0.0,
        reason=f"no kernel profile of {wanted.profile} for the GPUs here, so by {what}: "
        f"{len(there)} on {site.gpu.id}",
    )
    return spot, gone


def _apart(wanted: Wanted, sites: Sequence[Site], residents: Sequence[Resident]) -> Sequence[Site]:
    """GPUs whose nodes keep the model's instances apart."""
    if wanted.spec.spread == "none":
        return sites
    nodes = [node for _, node, request, _ in residents if request.group == wanted.model]
    if wanted.spec.spread == "require":
        return [site for site in sites if site.node not in nodes]
    fewest = min((nodes.count(site.node) for site in sites), default=0)
    return [site for site in sites if nodes.count(site.node) == fewest]


def _room(
    wanted: Wanted, need: int, limit: float | None, there: Sequence[Resident]
) -> tuple[tuple[str, ...], float] | None:
    """Which removable instances have to go, and what is free then; None where it never fits."""
    used = sum(size for *_, size in there)
    if limit is None:
        return (), -float(used)
    gone: list[str] = []
    removable = [r for r in there if r[2].removable] if wanted.reserved else []
    # The largest first: fewest have to go.
    for _, _, request, size in sorted(removable, key=lambda r: (-r[3], r[2].id)):
        if used + need <= limit:
            break
        used -= size
        gone.append(request.id)
    return (tuple(gone), limit - used - need) if used + need <= limit else None
