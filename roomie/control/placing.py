"""Where wanted instances go: the placers of `roomie.placers` on what the controller knows.

Placers see the cluster as it will be once everything that drains has gone. An instance is placed at
once only if it also fits beside what is still there; else it waits, so that no GPU is ever given
more than its memory holds. A model without a kernel profile falls back to memory and counting.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from roomie.board import MEMORY_SHARE
from roomie.cluster import ClusterState, Gpu, Instance, Request
from roomie.control.attempt import Attempt
from roomie.control.fleet import Site
from roomie.control.records import ModelSpec, PlacedInstance, Placement
from roomie.control.spots import Outcome, Resident, Wanted
from roomie.costs import PairCosts
from roomie.devices import Device, DeviceTable
from roomie.placers import Placer
from roomie.plans import Plan, predict
from roomie.profiles import Variant


class Planner:
    """Turns placements and reports into a cluster's state, and a plan into places.

    Args:
        placer: who decides.
        costs: the same predictions that the placer uses.
        devices: kinds of GPUs that are known.
    """

    def __init__(self, placer: Placer, costs: PairCosts, devices: DeviceTable) -> None:
        self._placer = placer
        self._costs = costs
        self._devices = devices

    def fault(self, spec: ModelSpec) -> str | None:
        """Why a spec can never be placed as it is; None where nothing speaks against it."""
        name = spec.profile or spec.model
        batches = [v.batch for v in self._costs.variants if v.model == name]
        if spec.profile is not None and not batches:
            known = ", ".join(self._costs.store.models)
            return f"no profile is called {spec.profile!r}; there are: {known}"
        if spec.batch is not None and batches and spec.batch not in batches:
            return (
                f"no profile of {name} at batch size {spec.batch}; profiled batch sizes: "
                f"{', '.join(map(str, batches))}"
            )
        return None

    def plan(
        self,
        sites: Sequence[Site],
        instances: Sequence[tuple[Placement, PlacedInstance]],
        wanted: Sequence[Wanted],
        shunned: Mapping[str, Collection[str]],
        duties: Mapping[str, float] | None = None,
    ) -> Outcome:
        """Places for instances.

        Args:
            sites: GPUs that there are.
            instances: everything that is placed, what drains included.
            wanted: what is to be placed.
            shunned: GPUs that are left out, by model.
            duties: share of its time that an instance computes, where it is known.
        """
        # A version that comes in does not displace the one that serves until it has come in.
        keeping = {one.model for one in wanted}
        attempt = Attempt(self, sites, instances, keeping, duties or {})
        # Those that keep their place first: the others take what is left.
        for reserved in (True, False):
            groups: dict[frozenset[str], list[Wanted]] = {}
            for one in wanted:
                if one.reserved is reserved:
                    without = frozenset(shunned.get(one.model, ()))
                    groups.setdefault(without, []).append(one)
            for without in sorted(groups, key=sorted):
                attempt.place(groups[without], without)
        return attempt.outcome

    def predictions(
        self,
        sites: Sequence[Site],
        instances: Sequence[tuple[Placement, PlacedInstance]],
        duties: Mapping[str, float] | None = None,
    ) -> dict[str, tuple[float, float]]:
        """Slowdown and items a second of each instance with a profile that is to stay."""
        known = duties or {}
        residents = [
            Resident.of(p, i, duty=known.get(i.id, 1.0))
            for p, i in instances
            if i.state != "draining"
        ]
        state = self.state(sites, residents)
        return {p.instance.id: (p.slowdown, p.throughput) for p in predict(state, self._costs)}

    # -- for Attempt -----------------------------------------------------------------------------

    def device(self, site: Site) -> Device | None:
        """A GPU's kind, with the memory that it declares; None where it is not known."""
        known = self._devices.devices.get(site.gpu.device)
        if known is None or site.gpu.memory_bytes is None:
            return known
        return replace(known, memory_bytes=site.gpu.memory_bytes)

    def memory_of(self, site: Site) -> float | None:
        """What instances may fill of a GPU's memory; None where its size is not known."""
        device = self.device(site)
        size = site.gpu.memory_bytes if device is None else device.memory_bytes
        return None if size is None else MEMORY_SHARE * size

    def has_profile(self, name: str, batch: int | None, site: Site) -> bool:
        """Whether a profile tells what a model does on a GPU."""
        device = self.device(site)
        return device is not None and any(
            self._costs.store.find(variant, device) is not None
            for variant in self._costs.variants
            if variant.model == name and batch in (None, variant.batch)
        )

    def alone_s(self, name: str, batch: int, site: Site) -> float:
        """Seconds of a full batch on a GPU without neighbours, by its profile; 0 without one."""
        device = self.device(site)
        found = None if device is None else self._costs.store.find(Variant(name, batch), device)
        return 0.0 if found is None else found.inference_time_s

    def memory_need(self, name: str, batch: int, site: Site | None) -> int | None:
        """Bytes that a profile asks for, on that GPU or, without one, on any."""
        variant = Variant(name, batch)
        if site is not None and (device := self.device(site)) is not None:
            found = self._costs.store.find(variant, device)
            if found is not None:
                return found.memory_bytes
        sizes = [p.memory_bytes for p in self._costs.store if p.variant == variant]
        return max(sizes, default=None)

    def state(self, sites: Sequence[Site], residents: Sequence[Resident]) -> ClusterState:
        """What the placer sees: GPUs of known kinds, and on them instances with a profile.

        Others take their memory away from the GPU.
        """
        gpus: list[Gpu] = []
        rows: list[list[Instance]] = []
        for site in sites:
            device = self.device(site)
            if device is None:
                continue
            seen: list[Instance] = []
            hidden = 0
            for resident in residents:
                if resident.gpu != site.gpu.id:
                    continue
                profile = resident.request.model
                if resident.profiled and self.has_profile(profile, resident.batch, site):
                    variant = Variant(profile, resident.batch)
                    seen.append(Instance(request=resident.request, variant=variant))
                else:
                    hidden += resident.memory_bytes
            left = max(1, int(device.memory_bytes - hidden / MEMORY_SHARE))
            gpus.append(
                Gpu(id=site.gpu.id, node=site.node, device=replace(device, memory_bytes=left))
            )
            rows.append(seen)
        return ClusterState(gpus, rows)

    def decide(self, state: ClusterState, requests: Sequence[Request]) -> Plan:
        """Ask the placer."""
        return self._placer.place(state, requests)

    def predict(self, plan: Plan) -> dict[str, tuple[float, float]]:
        """Slowdown and items a second of each instance of a plan."""
        found = predict(plan.state, self._costs)
        return {p.instance.id: (p.slowdown, p.throughput) for p in found}
