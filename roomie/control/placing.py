"""Where wanted instances go: the placers of `roomie.placers` on what the controller knows.

Placers see the cluster as it will be once everything that drains has gone. An instance is placed at
once only if it also fits beside what is still there; else it waits, so that no GPU is ever given
more than its memory holds. A model without a kernel profile falls back to memory and counting.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from roomie.board import MEMORY_SHARE
from roomie.cluster import ClusterState, Gpu, Instance, Request
from roomie.control.fallback import fall_back
from roomie.control.fleet import Site
from roomie.control.records import ModelSpec, PlacedInstance, Placement
from roomie.control.spots import Spot, Wanted
from roomie.costs import PairCosts
from roomie.devices import Device, DeviceTable
from roomie.errors import PlacementError
from roomie.placers import Placer
from roomie.plans import Plan, predict
from roomie.profiles import Variant


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
    ) -> Outcome:
        """Places for instances.

        Args:
            sites: GPUs that there are.
            instances: everything that is placed, what drains included.
            wanted: what is to be placed.
            shunned: GPUs that are left out, by model.
        """
        # A version that comes in does not displace the one that serves until it has come in.
        keeping = {one.model for one in wanted}
        attempt = _Attempt(self, sites, instances, keeping)
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
        self, sites: Sequence[Site], instances: Sequence[tuple[Placement, PlacedInstance]]
    ) -> dict[str, tuple[float, float]]:
        """Slowdown and items a second of each instance with a profile that is to stay."""
        residents = [_Resident.of(p, i) for p, i in instances if i.state != "draining"]
        state = self.state(sites, residents, frozenset())
        return {p.instance.id: (p.slowdown, p.throughput) for p in predict(state, self._costs)}

    # -- for _Attempt -----------------------------------------------------------------------------

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

    def state(
        self, sites: Sequence[Site], residents: Sequence[_Resident], without: frozenset[str]
    ) -> ClusterState:
        """What the placer sees: GPUs of known kinds, and on them instances with a profile.

        Others take their memory away from the GPU.
        """
        gpus: list[Gpu] = []
        rows: list[list[Instance]] = []
        for site in sites:
            device = self.device(site)
            if device is None or site.gpu.id in without:
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


@dataclass(frozen=True, kw_only=True)
class _Resident:
    """An instance on a GPU, as placing sees it."""

    request: Request
    gpu: str
    batch: int
    profiled: bool
    memory_bytes: int

    @classmethod
    def of(cls, placement: Placement, instance: PlacedInstance, *, kept: bool = False) -> _Resident:
        rollout = placement.rollout
        spec = rollout.spec if instance.incoming and rollout is not None else placement.spec
        return cls(
            request=_request(
                instance.id,
                spec,
                instance.profile or spec.model,
                batch=instance.batch,
                reserved=instance.reserved or kept,
            ),
            gpu=instance.gpu,
            batch=instance.batch,
            profiled=instance.profile is not None,
            memory_bytes=instance.memory_bytes,
        )


def _request(
    name: str, spec: ModelSpec, profile: str, *, batch: int | None, reserved: bool
) -> Request:
    return Request(
        id=name,
        model=profile,
        batch=batch,
        rate=spec.rate,
        latency_s=spec.latency,
        removable=not reserved,
        spread=spec.spread,
        group=spec.model,
    )


class _Attempt:
    """One plan in the making: who stays where, and what memory is free right now."""

    def __init__(
        self,
        planner: Planner,
        sites: Sequence[Site],
        instances: Sequence[tuple[Placement, PlacedInstance]],
        keeping: Collection[str],
    ) -> None:
        self._planner = planner
        self._all = {site.gpu.id: site for site in sites}
        self._sites = [site for site in sites if site.usable]
        self.outcome = Outcome()
        replaced = {i.replaces for _, i in instances if i.replaces is not None}
        self._residents = [
            _Resident.of(p, i, kept=p.spec.model in keeping)
            for p, i in instances
            if i.state not in ("draining", "failed") and i.id not in replaced
        ]
        self._used: dict[str, int] = {}
        self._leaving: dict[str, list[str]] = {}
        for _, i in instances:
            if i.state != "failed":
                self._used[i.gpu] = self._used.get(i.gpu, 0) + i.memory_bytes
                if i.state == "draining" or i.id in replaced:
                    self._leaving.setdefault(i.gpu, []).append(i.id)

    def place(self, wanted: Sequence[Wanted], without: frozenset[str]) -> None:
        """Place some instances; GPUs in ``without`` are left out."""
        usable = [site for site in self._sites if site.gpu.id not in without]
        if not usable:
            reason = "no worker with a ready server is known"
            if self._sites:
                reason = f"it failed on {', '.join(sorted(without))} lately, and there is no other"
            self.outcome.deferred.update(dict.fromkeys((w.id for w in wanted), reason))
            return
        by_profile: list[Wanted] = []
        for one in wanted:
            if any(self._planner.has_profile(one.profile, one.spec.batch, s) for s in usable):
                by_profile.append(one)
            else:
                self._without_profile(one, usable)
        if by_profile:
            self._ask(by_profile, usable)

    def _ask(self, wanted: Sequence[Wanted], usable: Sequence[Site]) -> None:
        requests = [
            _request(w.id, w.spec, w.profile, batch=w.spec.batch, reserved=w.reserved)
            for w in wanted
        ]
        state = self._planner.state(usable, self._residents, frozenset())
        try:
            plan = self._planner.decide(state, requests)
            predictions = self._planner.predict(plan)
        except PlacementError as error:
            reason = str(error).replace("\n  remedy:", ";")
            self.outcome.deferred.update(dict.fromkeys((w.id for w in wanted), reason))
            return
        for removal in plan.removals:
            self._take(removal.instance)
            self.outcome.displaced.append((removal.instance, removal.reason))
        for move in plan.moves:
            self._move(move.instance, move.target, move.reason, predictions)
        for one, decision in zip(wanted, plan.decisions, strict=True):
            if decision.gpu is None or decision.variant is None:
                self.outcome.deferred[one.id] = "; ".join(decision.reasons) or "no GPU takes it"
                continue
            slowdown, speed = predictions[one.id]
            site = self._all[decision.gpu]
            batch = decision.variant.batch
            self._settle(
                one,
                Spot(
                    gpu=decision.gpu,
                    worker=site.worker,
                    batch=batch,
                    profile=one.profile,
                    memory_bytes=self._planner.memory_need(one.profile, batch, site) or 0,
                    speed=speed,
                    alone_s=self._planner.alone_s(one.profile, batch, site),
                    slowdown=slowdown,
                    reason="; ".join(decision.reasons),
                ),
            )

    def _without_profile(self, one: Wanted, usable: Sequence[Site]) -> None:
        batch = one.spec.batch or 1
        need = one.spec.memory_bytes or self._planner.memory_need(one.profile, batch, None) or 0
        found = fall_back(
            one,
            batch=batch,
            need=need,
            sites=usable,
            limits={site.gpu.id: self._planner.memory_of(site) for site in usable},
            residents=[
                (
                    r.gpu,
                    self._all[r.gpu].node if r.gpu in self._all else "",
                    r.request,
                    r.memory_bytes,
                )
                for r in self._residents
            ],
        )
        if isinstance(found, str):
            self.outcome.deferred[one.id] = found
            return
        spot, displaced = found
        for name in displaced:
            self._take(name)
            self.outcome.displaced.append((name, f"removable, and {one.id} needs its room"))
        self._settle(one, spot)

    def _settle(self, one: Wanted, spot: Spot) -> None:
        """Give an instance its place: now, or when there is room for it."""
        self._residents.append(
            _Resident(
                request=_request(
                    one.id,
                    one.spec,
                    spot.profile or one.profile,
                    batch=spot.batch,
                    reserved=one.reserved,
                ),
                gpu=spot.gpu,
                batch=spot.batch,
                profiled=spot.profile is not None,
                memory_bytes=spot.memory_bytes,
            )
        )
        if self._fits(spot):
            self.outcome.placed[one.id] = spot
        else:
            going = ", ".join(self._leaving.get(spot.gpu, ())) or "others"
            self.outcome.deferred[one.id] = f"waits for {going} to leave {spot.gpu}"

    def _fits(self, spot: Spot) -> bool:
        """Whether a place has room beside what is still there; takes it if so."""
        limit = self._planner.memory_of(self._all[spot.gpu])
        used = self._used.get(spot.gpu, 0) + spot.memory_bytes
        if limit is not None and used > limit:
            return False
        self._used[spot.gpu] = used
        return True

    def _take(self, name: str) -> _Resident:
        """An instance will go; its memory is still in use."""
        resident = next(r for r in self._residents if r.request.id == name)
        self._residents.remove(resident)
        self._leaving.setdefault(resident.gpu, []).append(name)
        return resident

    def _move(
        self, name: str, target: str, reason: str, predictions: Mapping[str, tuple[float, float]]
    ) -> None:
        resident = self._take(name)
        slowdown, speed = predictions[name]
        site = self._all[target]
        profile = resident.request.model
        spot = Spot(
            gpu=target,
            worker=site.worker,
            batch=resident.batch,
            profile=profile,
            memory_bytes=self._planner.memory_need(profile, resident.batch, site) or 0,
            speed=speed,
            alone_s=self._planner.alone_s(profile, resident.batch, site),
            slowdown=slowdown,
            reason=reason,
        )
        self._residents.append(replace(resident, gpu=target, memory_bytes=spot.memory_bytes))
        if self._fits(spot):
            self.outcome.moved.append(Moved(instance=name, spot=spot))
