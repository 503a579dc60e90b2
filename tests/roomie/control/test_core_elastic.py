"""The controller's core. Growing, shrinking, and following what is measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from roomie.control.capacity import CapacityReport
from roomie.control.scaling_types import ModelLoad, Scale
from tests.roomie.control.world import World


class Scripted:
    """Answers as it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Sequence[ModelLoad]] = []
        self.answers: list[Sequence[Scale]] = []

    def decide(self, loads: Sequence[ModelLoad], now: float) -> Sequence[Scale]:
        del now
        self.asked.append(loads)
        return self.answers.pop(0) if self.answers else ()


def up(model: str = "small") -> list[Scale]:
    return [Scale(model=model, change=1, instance=None, reason="busy")]


class TestElastic:
    def _world(self, **wanted: Any) -> tuple[World, Scripted]:
        scripted = Scripted()
        world = World(2, autoscaler=lambda: scripted)
        world.run(1)
        world.deploy("small", **{"max_instances": 3, **wanted})
        world.settle()
        return world, scripted

    def test_it_grows_and_shrinks_within_its_limits(self) -> None:
        world, scripted = self._world()
        scripted.answers = [up(), up(), up(), up()]
        world.settle()
        assert len(world.ready("small")) == 3
        extras = [i for i in world.ready("small") if i.extra]
        assert len(extras) == 2
        assert not any(i.reserved for i in extras)
        base = next(i.id for i in world.ready("small") if not i.extra)
        scripted.answers = [
            [Scale(model="small", change=-1, instance=base, reason="idle")],
            [Scale(model="small", change=-1, instance=extras[0].id, reason="idle")],
            [Scale(model="small", change=-1, instance=None, reason="idle")],
            [Scale(model="small", change=-1, instance=None, reason="idle")],
        ]
        world.settle()
        assert [i.id for i in world.ready("small")] == [base]
        assert world.said("scaled")[0] == "1 to 2 instances: busy"
        assert world.said("scaled")[-1] == "2 to 1 instances: idle"

    def test_what_it_is_told(self) -> None:
        world, scripted = self._world()
        (instance,) = world.instances()
        world.core.capacity(
            CapacityReport(function="small", needed=30.0, available=20.0), world.now
        )
        for _ in range(4):
            world.now += 1.0
            world.measure(instance.id, requests=10, items=40, pending=3)
        scripted.asked.clear()
        world.run(2.5)
        (load,) = scripted.asked[0]
        assert (load.model, load.minimum, load.maximum, load.coming) == ("small", 1, 3, 0)
        assert load.shortage == 10.0
        (told,) = load.instances
        assert told.pending == 12.0  # 3 requests of 4 items
        assert told.arrivals_per_s == pytest.approx((160 + 12) / 4)

    def test_models_without_a_most_and_those_that_change_versions_are_left_alone(self) -> None:
        world, scripted = self._world(max_instances=None)
        assert not any(scripted.asked)
        world.update("small", max_instances=4)
        world.run(3)
        assert scripted.asked
        scripted.asked.clear()
        world.update("small", max_instances=4, version=2)
        world.run(3)
        assert not scripted.asked

    def test_a_version_that_may_not_grow_has_no_extra_instances(self) -> None:
        world, scripted = self._world()
        scripted.answers = [up(), up()]
        world.settle()
        assert len(world.ready("small")) == 3
        most = 0

        def count() -> None:
            nonlocal most
            most = max(most, sum(i.version == 2 for i in world.instances("small")))

        world.watchers.append(count)
        order = world.update("small", version=2, max_instances=2)
        world.settle()
        assert most == 2
        assert world.outcomes(order) == ["rolled-out"]
        assert len(world.ready("small")) == 2
        order = world.update("small", version=3)
        world.settle()
        assert world.outcomes(order) == ["rolled-out"]
        assert [(i.version, i.extra) for i in world.ready("small")] == [(3, False)]

    def test_growth_that_finds_no_room_is_given_up_and_not_asked_for_at_once(self) -> None:
        world, scripted = self._world()
        world.deploy("large", instances=2)
        world.settle()
        scripted.answers = [up(), up()]
        world.run(5)
        assert len(world.ready("small")) == 2  # 4 + 16 of 21.6 GiB, on each
        assert world.table["small"].extra == 1
        scripted.answers = [up(), up(), up()]
        world.run(7)
        assert len(world.said("deferred")) == 1
        assert "no room to grow" in world.said("deferred")[0]
        assert world.table["small"].extra == 1

    def test_growth_waits_for_room_that_is_being_made(self) -> None:
        world, scripted = self._world()
        world.deploy("large", instances=2)
        world.settle()
        scripted.answers = [up()]
        world.run(3)
        assert len(world.ready("small")) == 2  # 4 + 16 of 21.6 GiB, on each
        for worker in world.workers.values():
            worker.drain_s = 4.0
        world.order("scale", "large", instances=1)
        world.run(0.5)
        scripted.answers = [up()]
        world.run(3)
        assert world.table["small"].extra == 2
        assert len(world.ready("small")) == 2
        assert not world.said("deferred")
        world.settle()
        assert len(world.ready("small")) == 3

    def test_an_extra_instance_takes_the_place_of_a_lost_one(self) -> None:
        world, scripted = self._world()
        scripted.answers = [up()]
        world.settle()
        base = next(i for i in world.ready("small") if not i.extra)
        extra = next(i for i in world.ready("small") if i.extra)
        if base.worker == extra.worker:
            pytest.skip("both are on one worker: nothing is left to take over")
        del world.workers[base.worker]
        world.settle()
        (left,) = world.ready("small")
        assert (left.id, left.extra, left.reserved) == (extra.id, False, True)
        assert world.table["small"].extra == 0

    def test_batching_windows_and_speeds_follow_what_is_measured(self) -> None:
        asked: list[tuple[object, ...]] = []

        def rule(
            arrivals_per_s: float, batch: int, latency_s: float | None, compute_s: float
        ) -> float:
            asked.append((arrivals_per_s, batch, latency_s, compute_s))
            return 0.02

        world = World(1, batching=rule)
        world.run(1)
        world.deploy(batch=4, latency=0.5)
        world.settle()
        (instance,) = world.instances()
        for _ in range(12):
            world.measure(instance.id, requests=10, items=40, compute_s=0.1)
            world.run(1.0)
        (after,) = world.instances()
        assert after.window == 0.02
        assert after.speed == pytest.approx(40.0)
        assert asked[-1] == (pytest.approx(40.0), 4, 0.5, pytest.approx(0.1))
        assert len(world.said("retuned")) == 1

    def test_a_forecaster_hears_what_came_second_by_second(self) -> None:
        heard: list[Sequence[float]] = []

        def forecast(model: str, arrivals: Sequence[float]) -> float | None:
            assert model == "small"
            heard.append(arrivals)
            return 77.0

        scripted = Scripted()
        world = World(1, autoscaler=lambda: scripted, forecast=forecast)
        world.run(1)
        world.deploy("small", max_instances=2)
        world.settle()
        (instance,) = world.instances()
        for requests in (10, 20, 30):
            world.run(1.0)
            world.measure(instance.id, requests=requests)
        scripted.asked.clear()
        while not scripted.asked:
            before = len(heard)
            world.run(0.5)
        assert len(heard) == before + 1, "once for each look"
        assert scripted.asked[0][0].forecast == 77.0
        assert len(heard[-1]) == 50
        assert sum(heard[-1]) == pytest.approx(60.0)
