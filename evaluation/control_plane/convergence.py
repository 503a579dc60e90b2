"""Whether a cluster is what was asked for: by what its servers have loaded, not by what is said.

Converged is: each model that was asked for is placed as it was asked for; every placed instance is
loaded and ready on the server that its placement names, and answers a real inference; no server
runs an instance that no placement names; and every worker has reported since it was started. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from evaluation.control_plane.orders import Wish
from roomie.control.records import PlacedInstance, Placement
from roomie.triton.server import ModelState

Index = Mapping[str, ModelState]
"""States of the models of one server's repository, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A cluster at one moment.

    Attributes:
        placements: as the compacted topic has them, by model.
        urls: where the servers are, by worker; without those that do not run.
        indexes: what they have, by worker; without those that do not answer.
        answers: the version that answered, by instance; without those that did not answer or
            were not asked.
        silent: workers that have not reported since they were started.
    """

    placements: Mapping[str, Placement]
    urls: Mapping[str, str]
    indexes: Mapping[str, Index]
    answers: Mapping[str, int] = field(default_factory=dict)
    silent: tuple[str, ...] = ()


def orphans(look: Look) -> tuple[str, ...]:
    """Instances that run or are loading, and that no placement has on that worker."""
    placed = {
        (instance.worker, instance.id)
        for placement in look.placements.values()
        for instance in placement.instances
    }
    return tuple(
        f"{name} on {worker}"
        for worker, index in sorted(look.indexes.items())
        for name, state in sorted(index.items())
        if state != "unavailable" and (worker, name) not in placed
    )


def misplaced(look: Look, wishes: Mapping[str, Wish]) -> list[str]:
    """What keeps a cluster from being what was asked for, inferences apart; a sentence each."""
    found = [f"{worker} has not reported since it was started" for worker in look.silent]
    for model in sorted({*wishes, *look.placements}):
        wish, placement = wishes.get(model), look.placements.get(model)
        if placement is None:
            found.append(f"{model} was asked for and is not placed")
        elif wish is None:
            found.append(f"{model} was undeployed and is placed")
        else:
            found += (f"{model}: {what}" for what in _of_model(look, placement, wish))
    found += (f"{orphan} runs, and no placement names it" for orphan in orphans(look))
    return found


def unanswered(look: Look) -> list[str]:
    """Placed instances that do not answer as their version does."""
    return [
        f"{instance.id} on {instance.worker} does not answer as version {instance.version}"
        for placement in look.placements.values()
        for instance in placement.instances
        if look.answers.get(instance.id) != instance.version
    ]


def _of_model(look: Look, placement: Placement, wish: Wish) -> Iterator[str]:
    if placement.leaving:
        yield "is on its way out"
    if placement.rollout is not None:
        yield f"version {placement.rollout.version} is on its way in"
    if placement.open:
        yield f"{len(placement.open)} order(s) without an outcome"
    if placement.spec.version != wish.version:
        yield f"version {placement.spec.version} serves instead of {wish.version}"
    if len(placement.instances) != wish.instances:
        yield f"{len(placement.instances)} instance(s) instead of {wish.instances}"
    for instance in placement.instances:
        fault = _of_instance(look, instance)
        if fault is not None:
            yield f"{instance.id} on {instance.worker} {fault}"


def _of_instance(look: Look, instance: PlacedInstance) -> str | None:
    if instance.state != "ready":
        return f"is placed as {instance.state}"
    url = look.urls.get(instance.worker)
    if url is None or instance.worker not in look.indexes:
        return "is ready by its placement, and its server does not answer"
    if url != instance.url:
        return f"is placed at {instance.url}, where its server is no more"
    state = look.indexes[instance.worker].get(instance.id, "unavailable")
    return None if state == "ready" else f"is ready by its placement and {state} on its server"
