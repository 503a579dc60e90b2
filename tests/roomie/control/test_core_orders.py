"""The controller's core. Orders: what is accepted, refused, superseded, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from roomie.control.records import Order
from tests.roomie.control.world import World


def running(*, workers: int = 2, **order: Any) -> World:
    """A world in which ``small`` has been deployed so, and serves."""
    world = World(workers)
    world.run(1)
    world.deploy(**order)
    world.settle()
    return world


class TestOrders:
    def test_a_deploy_is_accepted_placed_and_ready(self) -> None:
        world = World(2)
        world.run(1)
        order = world.deploy(instances=2)
        world.settle()
        assert world.events(order) == ["accepted", "placed", "placed", "ready"]
        assert len(world.ready("small")) == 2
        assert all(i.url is not None and i.speed > 0 and i.alone > 0 for i in world.ready("small"))

    def test_a_deploy_waits_for_workers_and_says_so(self) -> None:
        world = World(0)
        order = world.deploy()
        world.settle()
        assert "no worker with a ready server" in str(world.table["small"].deferred)
        assert world.outcomes(order) == []
        world.join("w0")
        world.settle()
        assert world.outcomes(order) == ["ready"]
        assert world.table["small"].deferred is None

    @pytest.mark.parametrize(
        "change",
        [
            lambda world: world.update("small", version=2),
            lambda world: world.order("scale", "small", instances=2),
            lambda world: world.order("undeploy", "small"),
        ],
        ids=["update", "scale", "undeploy"],
    )
    def test_what_is_not_deployed_cannot_be_changed(self, change: Callable[[World], Order]) -> None:
        world = World(1)
        assert world.outcomes(change(world)) == ["refused"]
        assert world.steps[-1].refusal is not None
        assert "not deployed" in world.said("refused")[0]

    def test_a_batch_size_without_profile_is_refused_with_those_that_have_one(self) -> None:
        world = World(1)
        assert world.outcomes(world.deploy(batch=3)) == ["refused"]
        assert "profiled batch sizes: 1, 4" in world.said("refused")[0]
        assert world.outcomes(world.deploy("mine", profile="nobody")) == ["refused"]
        assert "no profile is called 'nobody'" in world.said("refused")[1]

    def test_scaling_beyond_the_most_is_refused(self) -> None:
        world = World(1)
        world.deploy(max_instances=2)
        assert world.outcomes(world.order("scale", "small", instances=3)) == ["refused"]

    @pytest.mark.parametrize(("serving", "coming", "least"), [(4, 2, 2), (2, 4, 1)])
    def test_during_a_rollout_the_most_of_both_versions_counts(
        self, serving: int, coming: int, least: int
    ) -> None:
        world = running(max_instances=serving)
        world.update(version=2, max_instances=coming)
        refused = world.order("scale", "small", instances=3)
        assert world.outcomes(refused) == ["refused"]
        said = f"more than the 2 that max_instances of version {least} allows"
        assert said in world.said("refused")[0]
        scaled = world.order("scale", "small", instances=2)
        world.settle()
        assert world.outcomes(scaled) == ["scaled"]
        assert world.shape() == {"small": (2, 2, 0, "still")}

    def test_scaling_up_and_down(self) -> None:
        world = running(instances=1)
        up = world.order("scale", "small", instances=3)
        world.settle()
        down = world.order("scale", "small", instances=1)
        world.settle()
        assert world.outcomes(up) == world.outcomes(down) == ["scaled"]
        assert [i.state for i in world.instances("small")] == ["ready"]

    def test_a_later_order_supersedes_one_that_has_no_outcome(self) -> None:
        world = World(0)
        first = world.deploy("small")
        second = world.deploy("small", version=2)
        third = world.order("undeploy", "small")
        world.run(1)
        assert world.outcomes(first) == world.outcomes(second) == ["superseded"]
        assert world.outcomes(third) == ["removed"]
        assert world.table == {}

    def test_a_deploy_during_an_undeploy_begins_anew(self) -> None:
        world = running()
        gone = world.order("undeploy", "small")
        again = world.deploy(version=2)
        world.settle()
        assert world.outcomes(gone) == ["superseded"]
        assert world.outcomes(again) == ["ready"]
        assert [(i.version, i.state) for i in world.instances()] == [(2, "ready")]

    def test_the_same_deploy_under_another_id_changes_nothing_that_runs(self) -> None:
        world = running(instances=2)
        before = {i.id for i in world.instances()}
        again = world.deploy(instances=2)
        world.settle()
        assert world.outcomes(again) == ["ready"]
        assert {i.id for i in world.instances()} == before

    def test_limits_change_without_loading_anew(self) -> None:
        world = running(instances=1, reserved=True)
        (before,) = world.instances()
        order = world.update(instances=1, reserved=False, error_limit=0.5)
        world.settle()
        (after,) = world.instances()
        assert (after.id, after.reserved) == (before.id, False)
        assert world.outcomes(order) == ["rolled-out"]

    def test_a_model_is_gone_only_when_its_workers_have_let_go(self) -> None:
        world = running(workers=1)
        world.workers["w0"].drain_s = 5.0
        order = world.order("undeploy", "small")
        world.run(4)
        assert world.outcomes(order) == []
        assert [i.state for i in world.instances()] == ["draining"]
        world.settle()
        assert world.outcomes(order) == ["removed"]
        assert world.workers["w0"].running == {}

    def test_what_a_worker_has_not_heard_of_yet_is_not_taken_for_gone(self) -> None:
        world = World(1)
        world.run(1)
        world.deploy()
        report = world.workers["w0"].report(world.now)  # before it reads the placement
        world.order("undeploy", "small")
        world.write(world.core.worker(report, world.now))
        assert [i.state for i in world.instances()] == ["draining"]
        world.settle()
        assert world.table == {}

    def test_ids_of_instances_are_never_used_again(self) -> None:
        world = World(2)
        world.run(1)
        seen: list[str] = []
        for version in (1, 2, 1):
            world.deploy(version=version)
            world.settle()
            seen += [i.id for i in world.instances()]
        world.order("undeploy", "small")
        world.settle()
        world.deploy()
        world.settle()
        seen += [i.id for i in world.instances()]
        assert len(set(seen)) == 4
