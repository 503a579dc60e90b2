"""What counts as converged, and what as an orphan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evaluation.control_plane.convergence import Index, Look, misplaced, orphans, unanswered
from evaluation.control_plane.orders import Wish
from roomie.control.records import (
    InstanceState,
    ModelSpec,
    OpenOrder,
    PlacedInstance,
    Placement,
    Rollout,
)

WISHES = {"m": Wish(version=1, instances=2)}


def instance(
    name: str, worker: str, state: InstanceState = "ready", *, url: str | None = None
) -> PlacedInstance:
    return PlacedInstance(
        id=name,
        version=1,
        worker=worker,
        gpu=f"{worker}/0",
        batch=4,
        state=state,
        url=url or f"{worker}:8001",
    )


def placement(*instances: PlacedInstance) -> Placement:
    return Placement(spec=ModelSpec(model="m", instances=2), instances=instances)


def look(*instances: PlacedInstance, **indexes: Index) -> Look:
    """Two workers that have what is placed on them, unless told otherwise."""
    placed = instances or (instance("m.1", "a"), instance("m.2", "b"))
    everything: dict[str, Index] = {"a": {"m.1": "ready"}, "b": {"m.2": "ready"}, **indexes}
    return Look(
        placements={"m": placement(*placed)},
        urls={worker: f"{worker}:8001" for worker in everything},
        indexes=everything,
        answers={"m.1": 1, "m.2": 1},
    )


def test_what_is_placed_loaded_and_answers_has_converged() -> None:
    assert misplaced(look(), WISHES) == []
    assert unanswered(look()) == []


@pytest.mark.parametrize(
    ("seen", "lacking"),
    [
        (look(b={}), "m: m.2 on b is ready by its placement and unavailable on its server"),
        (
            look(b={"m.2": "loading"}),
            "m: m.2 on b is ready by its placement and loading on its server",
        ),
        (
            replace(look(), indexes={"a": {"m.1": "ready"}}),
            "m: m.2 on b is ready by its placement, and its server does not answer",
        ),
        (
            replace(look(), urls={"a": "a:8001", "b": "b:9999"}),
            "m: m.2 on b is placed at b:8001, where its server is no more",
        ),
        (
            look(instance("m.1", "a"), instance("m.2", "b", "loading")),
            "m: m.2 on b is placed as loading",
        ),
        (look(instance("m.1", "a"), b={}), "m: 1 instance(s) instead of 2"),
        (replace(look(), silent=("b",)), "b has not reported since it was started"),
    ],
)
def test_what_is_not_as_it_should_be_is_said(seen: Look, lacking: str) -> None:
    assert misplaced(seen, WISHES) == [lacking]


def test_an_instance_that_answers_as_another_version_does_not_answer() -> None:
    for answers in ({"m.1": 1}, {"m.1": 1, "m.2": 2}):
        seen = replace(look(), answers=answers)
        assert misplaced(seen, WISHES) == [], "inferences apart, all is as it should be"
        assert unanswered(seen) == ["m.2 on b does not answer as version 1"]


def test_a_lost_deploy_and_a_lost_undeploy_are_differences() -> None:
    assert "n was asked for and is not placed" in misplaced(
        look(), {**WISHES, "n": Wish(version=1, instances=1)}
    )
    assert misplaced(look(), {}) == ["m was undeployed and is placed"]


def test_what_is_under_way_has_not_converged() -> None:
    placed = look().placements["m"]
    rollout = Rollout(version=2, spec=ModelSpec(model="m", version=2), since=0.0, order="o")
    order = OpenOrder(id="o", type="scale", at=0.0)
    for changed, lacking in (
        ({"rollout": rollout}, "m: version 2 is on its way in"),
        ({"open": (order,)}, "m: 1 order(s) without an outcome"),
        ({"leaving": True}, "m: is on its way out"),
        (
            {"spec": ModelSpec(model="m", version=2, instances=2)},
            "m: version 2 serves instead of 1",
        ),
    ):
        seen = replace(look(), placements={"m": placed.model_copy(update=changed)})
        assert misplaced(seen, WISHES) == [lacking]


def test_what_runs_where_no_placement_names_it_is_an_orphan() -> None:
    seen = look(
        a={"m.1": "ready", "m.0": "ready", "gone.1": "unavailable"},
        b={"m.2": "ready", "m.1": "unloading"},
    )
    assert orphans(seen) == ("m.0 on a", "m.1 on b")
    assert misplaced(seen, WISHES) == [
        "m.0 on a runs, and no placement names it",
        "m.1 on b runs, and no placement names it",
    ]
