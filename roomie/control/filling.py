"""Instances that are missing, and their places."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from roomie.control.book import Book
from roomie.control.duties import duties, duty_of_next
from roomie.control.fleet import Fleet
from roomie.control.lifecycle import Lifecycle, serving
from roomie.control.placing import Planner
from roomie.control.records import ModelSpec, PlacedInstance, Placement
from roomie.control.scaling_types import ModelLoad
from roomie.control.spots import Outcome, Spot, Wanted

_NO_ROOM_SECONDS = 10.0
"""How long autoscaling does not ask again for a model that found no room."""
_WORTH_TELLING = 1e-3
"""Change of a predicted slowdown that is written down."""


def life_of(order: str) -> str:
    """A short name for the life of a model, made of the order that began it."""
    return hashlib.sha256(order.encode()).hexdigest()[:6]


@dataclass(frozen=True, kw_only=True)
class _Missing:
    """An instance that is missing: what it will be, beside what placing needs to know."""

    wanted: Wanted
    incoming: bool
    extra: bool


class Filler:
    """Places what is missing.

    Args:
        book: placements.
        fleet: workers.
        planner: finds places.
        lifecycle: knows where models failed.
    """

    def __init__(self, book: Book, fleet: Fleet, planner: Planner, lifecycle: Lifecycle) -> None:
        self._book = book
        self._fleet = fleet
        self._planner = planner
        self._lifecycle = lifecycle
        self._no_room: dict[str, float] = {}
        self._asked: tuple[object, Outcome] = (None, Outcome())
        """The last question for places that was in vain, with its answer."""
        self.loads: dict[str, ModelLoad] = {}
        """What each model does, as autoscaling saw it last: the placer is told how busy all are."""
        self.measured: set[str] = set()
        """Instances whose speed has been measured: predictions do not replace it."""

    def no_room(self, model: str, now: float) -> bool:
        """Whether an extra instance of a model found no room a moment ago."""
        return now < self._no_room.get(model, now)

    def fill(self, now: float) -> None:
        """Find places for all that is missing."""
        missing = [m for model in self._book.models() for m in self._missing(model)]
        if not missing:
            for model in self._book.models():
                self._defer(model, None, (), now)
            return
        outcome = self._plan([m.wanted for m in missing], self._lifecycle.shunned.gpus(now))
        changed = self._make_room(outcome, now)
        for model in self._book.models():
            own = [m for m in missing if m.wanted.model == model]
            changed |= self._settle(model, own, outcome, now)
        if changed:
            self._predict()

    def _plan(self, wanted: Sequence[Wanted], shunned: dict[str, set[str]]) -> Outcome:
        """Ask for places; not twice in vain while nothing that matters has changed."""
        sites = self._fleet.sites()
        busy = duties(tuple(self.loads.values()))
        question = (
            sites,
            tuple(
                (i.id, i.gpu, i.replaces, i.state == "draining", i.state == "failed")
                for _, i in self._book.instances()
            ),
            tuple(wanted),
            tuple(sorted((model, *sorted(gpus)) for model, gpus in shunned.items())),
            tuple((name, round(duty, 1)) for name, duty in sorted(busy.items())),
        )
        if question == self._asked[0]:
            return self._asked[1]
        outcome = self._planner.plan(sites, list(self._book.instances()), wanted, shunned, busy)
        in_vain = not (outcome.placed or outcome.displaced or outcome.moved)
        self._asked = (question if in_vain else None, outcome)
        return outcome

    # -- what is missing --------------------------------------------------------------------------

    def _missing(self, model: str) -> list[_Missing]:
        placement = self._book[model]
        if placement.leaving:
            return []
        found: list[_Missing] = []
        first = placement.rollout is not None and placement.rollout.first
        if not first:
            found += self._short(placement, placement.spec, incoming=False, made=placement.made)
        if placement.rollout is not None:
            made = placement.made + len(found)
            found += self._short(placement, placement.rollout.spec, incoming=True, made=made)
        return found

    def _short(
        self, placement: Placement, spec: ModelSpec, *, incoming: bool, made: int
    ) -> list[_Missing]:
        there = serving(placement, incoming=incoming)
        base = spec.instances - sum(not i.extra for i in there)
        extra = placement.extra_under(spec) - sum(i.extra for i in there)
        kinds = [False] * max(0, base) + [True] * max(0, extra)
        load = None if incoming else self.loads.get(spec.model)
        duty = 1.0
        if load is not None and kinds:
            # Those on their way are among what is counted and not among what is missing.
            duty = duty_of_next(load, len(there) + len(kinds) - len(load.instances) - load.coming)
        return [
            _Missing(
                wanted=Wanted(
                    id=f"{spec.model}.v{spec.version}-{placement.life}-{made + n}",
                    spec=spec,
                    reserved=spec.reserved and not is_extra,
                    duty=round(duty, 2),
                ),
                incoming=incoming,
                extra=is_extra,
            )
            for n, is_extra in enumerate(kinds)
        ]

    # -- what comes of the plan -------------------------------------------------------------------

    def _make_room(self, outcome: Outcome, now: float) -> bool:
        """Let go what has to, and move what may."""
        owners = {i.id: (p.spec.model, i) for p, i in self._book.instances()}
        for name, reason in outcome.displaced:
            if name not in owners:
                continue  # wanted a moment ago itself, and outdone by one that keeps its place
            model, instance = owners[name]
            self._book.drain(model, [name], now)
            if instance.extra and not instance.incoming:
                self._book.give_up_extras(model)
            self._book.say(model, "removed", f"{name}: {reason}", now, instances=[name])
        for move in outcome.moved:
            if move.instance not in owners:
                continue
            model, instance = owners[move.instance]
            placement = self._book[model]
            name = f"{model}.v{instance.version}-{placement.life}-{placement.made}m"
            successor = _instance(name, instance.version, move.spot, now).model_copy(
                update={
                    "reserved": instance.reserved,
                    "extra": instance.extra,
                    "incoming": instance.incoming,
                    "weight": instance.weight,
                    "window": instance.window,
                    "replaces": instance.id,
                }
            )
            self._book.edit(
                model, instances=(*placement.instances, successor), made=placement.made + 1
            )
            self._book.say(
                model,
                "moved",
                f"{instance.id} leaves {instance.gpu} for {move.spot.gpu}: {move.spot.reason}",
                now,
                instances=[instance.id, name],
            )
        return bool(outcome.moved or outcome.displaced)

    def _settle(
        self, model: str, missing: Sequence[_Missing], outcome: Outcome, now: float
    ) -> bool:
        """Write down where instances go, or why they do not."""
        placed: list[str] = []
        for m in missing:
            spot = outcome.placed.get(m.wanted.id)
            if spot is None:
                continue
            placement = self._book[model]
            probing = m.incoming and placement.rollout is not None and not placement.rollout.first
            instance = _instance(m.wanted.id, m.wanted.spec.version, spot, now).model_copy(
                update={
                    "reserved": m.wanted.reserved,
                    "extra": m.extra,
                    "incoming": m.incoming,
                    "weight": self._lifecycle.settings.probation_share if probing else 1.0,
                }
            )
            self._book.edit(model, instances=(*placement.instances, instance))
            placed.append(instance.id)
            self._book.say(
                model,
                "placed",
                f"{instance.id} on {spot.gpu} at batch size {spot.batch}: {spot.reason}",
                now,
                order=_order_of(placement, incoming=m.incoming),
                instances=[instance.id],
            )
        if placed:
            # The numbers of those that found no place are skipped: any of them may be the last.
            self._book.edit(model, made=self._book[model].made + len(missing))
        left = [m for m in missing if m.wanted.id not in placed]
        self._give_up_extras(model, [m for m in left if m.extra], outcome, now)
        base = [m for m in left if not m.extra]
        reason = outcome.deferred.get(base[0].wanted.id) if base else None
        self._defer(model, reason, base, now)
        return bool(placed)

    def _give_up_extras(
        self, model: str, left: Sequence[_Missing], outcome: Outcome, now: float
    ) -> None:
        """What autoscaling wanted and finds no room is not waited for: it may ask again."""
        if not left:
            return
        reason = outcome.deferred.get(left[0].wanted.id, "no GPU takes it")
        if reason.startswith("waits for "):
            return  # its room is being made
        self._book.give_up_extras(model, len(left))
        self._no_room[model] = now + _NO_ROOM_SECONDS
        self._book.say(model, "deferred", f"no room to grow: {reason}", now)

    def _defer(
        self, model: str, reason: str | None, missing: Sequence[_Missing], now: float
    ) -> None:
        placement = self._book[model]
        if placement.deferred == reason:
            return
        self._book.edit(model, deferred=reason)
        if reason is not None:
            incoming = bool(missing) and missing[0].incoming
            self._book.say(
                model,
                "deferred",
                f"{len(missing)} instance(s) find no place yet: {reason}",
                now,
                order=_order_of(placement, incoming=incoming),
            )

    def _predict(self) -> None:
        """Write down what new neighbours do to each other."""
        predictions = self._planner.predictions(
            self._fleet.sites(),
            list(self._book.instances()),
            duties(tuple(self.loads.values())),
        )
        for placement, instance in list(self._book.instances()):
            if instance.id not in predictions or instance.state == "draining":
                continue
            slowdown, speed = predictions[instance.id]
            if abs(slowdown - instance.slowdown) <= _WORTH_TELLING:
                continue
            changes: dict[str, float] = {"slowdown": slowdown}
            if instance.id not in self.measured:
                changes["speed"] = speed
            self._book.edit_instances(placement.spec.model, [instance.id], **changes)


def _instance(name: str, version: int, spot: Spot, now: float) -> PlacedInstance:
    return PlacedInstance(
        id=name,
        version=version,
        worker=spot.worker,
        gpu=spot.gpu,
        batch=spot.batch,
        speed=spot.speed,
        slowdown=spot.slowdown,
        alone=spot.alone_s,
        profile=spot.profile,
        memory_bytes=spot.memory_bytes,
        since=now,
    )


def _order_of(placement: Placement, *, incoming: bool) -> str | None:
    """The order that instances are placed for, if it is still open."""
    if incoming and placement.rollout is not None:
        wanted = placement.rollout.order
        return next((o.id for o in placement.open if o.id == wanted), None)
    return placement.open[-1].id if placement.open else None
