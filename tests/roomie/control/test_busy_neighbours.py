"""The controller tells the placer how busy instances are."""

from __future__ import annotations

import pytest

from roomie.control.fleet import Site
from roomie.control.placing import Planner
from roomie.control.records import GpuReport, ModelSpec, PlacedInstance, Placement
from roomie.control.spots import Wanted
from roomie.placers.roomie import RoomiePlacer
from tests.roomie.kit import A100, matrix_costs

COSTS = matrix_costs({("a", "a"): 1.0})
SITE = Site(gpu=GpuReport(id="w/0", device=A100.name), worker="w", node="n", usable=True)


def planner() -> Planner:
    return Planner(RoomiePlacer(COSTS), COSTS, COSTS.store.devices)


def there(name: str) -> tuple[Placement, PlacedInstance]:
    instance = PlacedInstance(
        id=name, version=1, worker="w", gpu="w/0", batch=1, state="ready", profile="a"
    )
    return Placement(spec=ModelSpec(model="a"), instances=(instance,)), instance


@pytest.mark.parametrize(("duty", "placed"), [(1.0, 0), (0.1, 2)])
def test_instances_that_do_little_share_a_gpu_with_more(duty: float, placed: int) -> None:
    busy = {"one": duty, "two": duty}
    wanted = [
        Wanted(id=f"new-{n}", spec=ModelSpec(model="a"), reserved=True, duty=duty) for n in range(2)
    ]
    outcome = planner().plan([SITE], [there("one"), there("two")], wanted, {}, busy)
    assert len(outcome.placed) == placed


def test_predictions_are_of_instances_as_busy_as_they_are() -> None:
    both = [there("one"), there("two")]
    always = planner().predictions([SITE], both)
    seldom = planner().predictions([SITE], both, {"one": 0.1, "two": 0.5})
    assert {name: slowdown for name, (slowdown, _) in always.items()} == {"one": 1.0, "two": 1.0}
    assert seldom["one"][0] == pytest.approx(0.5)
    assert seldom["two"][0] == pytest.approx(0.1)
