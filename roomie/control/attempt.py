"""One plan in the making."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from roomie.control.fallback import fall_back
from roomie.control.fleet import Site
from roomie.control.records import PlacedInstance, Placement
from roomie.control.spots import Moved, Outcome, Resident, Spot, Wanted, request_of
from roomie.errors import PlacementError

if TYPE_CHECKING:
    from roomie.control.placing import Planner


class Attempt:
    """Who stays where, and what memory is free right now.

    Args:
        planner: knows profiles and memory, and asks the placer.
        sites: GPUs that there are.
        instances: everything that is placed.
        keeping: models whose instances keep their places, whatever they are.
        duties: share of its time that an instance computes, where it is known.
    """

    def __init__(
        self,
        planner: Planner,
        sites: Sequence[Site],
        instances: Sequence[tuple[Placement, PlacedInstance]],
        keeping: Collection[str],
        duties: Mapping[str, float],
    ) -> None:
        self._planner = planner
        self._all = {site.gpu.id: site for site in sites}
        self._sites = [site for site in sites if site.usable]
        self.outcome = Outcome()
        replaced = {i.replaces for _, i in instances if i.replaces is not None}
        self._residents = [
            Resident.of(p, i, kept=p.spec.model in keeping, duty=duties.get(i.id, 1.0))
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
            request_of(
                w.id, w.spec, w.profile, batch=w.spec.batch, reserved=w.reserved, duty=w.duty
            )
            for w in wanted
        ]
        state = self._planner.state(usable, self._residents)
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
            Resident(
                request=request_of(
                    one.id,
                    one.spec,
                    spot.profile or one.profile,
                    batch=spot.batch,
                    reserved=one.reserved,
                    duty=one.duty,
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

    def _take(self, name: str) -> Resident:
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
