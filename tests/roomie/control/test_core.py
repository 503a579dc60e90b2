"""What the controller's core decides, case by case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from roomie.control.capacity import CapacityReport
from roomie.control.records import PlacedInstance
from roomie.control.scaling_types import ModelLoad, Scale
from tests.roomie.control.world import FAST, World, memory_is_kept


def broken(version: int) -> Callable[[PlacedInstance], str | None]:
    def fault(instance: PlacedInstance) -> str | None:
        return "no such file" if instance.version == version else None

    return fault


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

    @pytest.mark.parametrize("kind", ["update", "scale", "undeploy"])
    def test_what_is_not_deployed_cannot_be_changed(self, kind: str) -> None:
        world = World(1)
        if kind == "update":
            order = world.update("small", version=2)
        elif kind == "scale":
            order = world.order("scale", "small", instances=2)
        else:
            order = world.order("undeploy", "small")
        assert world.outcomes(order) == ["refused"]
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

    def test_scaling_beyond_the_most_of_the_version_on_its_way_in_is_refused(self) -> None:
        world = World(2)
        world.run(1)
        world.deploy(max_instances=4)
        world.settle()
        world.update(version=2, max_instances=2)
        refused = world.order("scale", "small", instances=3)
        assert world.outcomes(refused) == ["refused"]
        assert "more than the 2 that max_instances of version 2 allows" in world.said("refused")[0]
        scaled = world.order("scale", "small", instances=2)
        world.settle()
        assert world.outcomes(scaled) == ["scaled"]
        assert world.shape() == {"small": (2, 2, 0, "still")}

    def test_scaling_beyond_the_most_of_the_version_that_serves_is_refused(self) -> None:
        world = World(2)
        world.run(1)
        world.deploy(max_instances=2)
        world.settle()
        world.update(version=2, max_instances=4)
        refused = world.order("scale", "small", instances=3)
        assert world.outcomes(refused) == ["refused"]
        assert "the 2 that max_instances of version 1 allows" in world.said("refused")[0]

    def test_scaling_up_and_down(self) -> None:
        world = World(2)
        world.run(1)
        world.deploy(instances=1)
        world.settle()
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
        world = World(2)
        world.run(1)
        world.deploy()
        world.settle()
        gone = world.order("undeploy", "small")
        again = world.deploy(version=2)
        world.settle()
        assert world.outcomes(gone) == ["superseded"]
        assert world.outcomes(again) == ["ready"]
        assert [(i.version, i.state) for i in world.instances()] == [(2, "ready")]

    def test_the_same_deploy_under_another_id_changes_nothing_that_runs(self) -> None:
        world = World(2)
        world.run(1)
        world.deploy(instances=2)
        world.settle()
        before = {i.id for i in world.instances()}
        again = world.deploy(instances=2)
        world.settle()
        assert world.outcomes(again) == ["ready"]
        assert {i.id for i in world.instances()} == before

    def test_limits_change_without_loading_anew(self) -> None:
        world = World(2)
        world.run(1)
        world.deploy(instances=1, reserved=True)
        world.settle()
        (before,) = world.instances()
        order = world.update(instances=1, reserved=False, error_limit=0.5)
        world.settle()
        (after,) = world.instances()
        assert (after.id, after.reserved) == (before.id, False)
        assert world.outcomes(order) == ["rolled-out"]

    def test_a_model_is_gone_only_when_its_workers_have_let_go(self) -> None:
        world = World(1)
        world.run(1)
        world.deploy()
        world.settle()
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


class TestRollouts:
    def test_a_version_proves_itself_beside_the_old_one(self) -> None:
        world = World(2)
        world.run(1)
        world.deploy()
        world.settle()
        order = world.update(version=2)
        world.run(2.0)
        new, old = world.ready("small", 2), world.ready("small", 1)
        assert len(new) == len(old) == 1
        assert new[0].weight == FAST.probation_share
        assert world.outcomes(order) == []
        world.settle()
        assert world.outcomes(order) == ["rolled-out"]
        assert [(i.version, i.weight) for i in world.instances()] == [(2, 1.0)]
        assert world.table["small"].spec.version == 2

    def test_one_that_fails_to_load_is_rolled_back_with_the_reason(self) -> None:
        world = World(2, fault=broken(2))
        world.run(1)
        world.deploy()
        world.settle()
        (old,) = world.instances()
        order = world.update(version=2)
        world.settle()
        assert world.outcomes(order) == ["rolled-back"]
        assert "no such file" in world.said("rolled-back")[0]
        assert world.instances() == [old]
        assert world.table["small"].spec.version == 1

    def test_a_first_version_that_fails_is_taken_away_again(self) -> None:
        world = World(2, fault=broken(1))
        world.run(1)
        order = world.deploy()
        world.settle()
        assert world.outcomes(order) == ["rolled-back"]
        assert world.table == {}
        assert not any(w.running for w in world.workers.values())

    def test_one_that_is_never_ready_is_rolled_back_in_time(self) -> None:
        world = World(2)
        world.run(1)
        world.deploy()
        world.settle()
        for worker in world.workers.values():
            worker.load_s = 1e9
        order = world.update(version=2)
        world.settle()
        assert world.outcomes(order) == ["rolled-back"]
        assert "not ready within 6 s" in world.said("rolled-back")[0]
        assert [(i.version, i.state) for i in world.instances()] == [(1, "ready")]

    def _proving(self, **wanted: Any) -> World:
        world = World(2)
        world.run(1)
        world.deploy(**wanted)
        world.settle()
        world.update(**{**wanted, "version": 2})
        world.run(2.0)
        assert world.said("proving")
        return world

    def _end(self, world: World, *, of_new: dict[str, Any], of_old: dict[str, Any]) -> str:
        for _ in range(8):
            for version, done in ((1, of_old), (2, of_new)):
                for instance in world.ready("small", version):
                    world.measure(instance.id, **done)
            world.run(1.0)
        return world.events()[-1]

    def test_one_that_errs_is_rolled_back(self) -> None:
        world = self._proving(error_limit=0.1)
        bad: dict[str, Any] = {"requests": 8, "failures": 2}
        assert self._end(world, of_new=bad, of_old={}) == "rolled-back"
        assert "2 of 10 requests failed (20.0%); at most 10.0% may" in world.said("rolled-back")[0]
        assert [i.version for i in world.ready("small")] == [1]

    def test_errors_within_the_limit_and_few_requests_are_not_held_against_it(self) -> None:
        world = self._proving(error_limit=0.3)
        bad: dict[str, Any] = {"requests": 8, "failures": 2}
        assert self._end(world, of_new=bad, of_old={}) == "rolled-out"
        world = self._proving()
        few: dict[str, Any] = {"requests": 0, "failures": 1}
        assert self._end(world, of_new=few, of_old={}) == "rolled-out"

    def test_one_that_is_slower_than_wanted_is_rolled_back(self) -> None:
        world = self._proving(latency=0.05)
        slow: dict[str, Any] = {"compute_s": 0.06}
        assert self._end(world, of_new=slow, of_old={"compute_s": 0.5}) == "rolled-back"
        assert "at most 0.05 s" in world.said("rolled-back")[0]

    def test_one_that_is_much_slower_than_the_old_one_is_rolled_back(self) -> None:
        slow: dict[str, Any] = {"compute_s": 0.035}
        world = self._proving(slow_limit=3.0)
        assert self._end(world, of_new=slow, of_old={"compute_s": 0.01}) == "rolled-back"
        assert "3.5 times as long" in world.said("rolled-back")[0]
        world = self._proving(slow_limit=4.0)
        assert self._end(world, of_new=slow, of_old={"compute_s": 0.01}) == "rolled-out"

    def test_one_that_goes_away_again_is_rolled_back_in_time(self) -> None:
        world = self._proving()
        for worker in world.workers.values():
            worker.load_s = 1e9
        gone = world.ready("small", 2)[0].worker
        assert gone != world.ready("small", 1)[0].worker
        del world.workers[gone]
        world.write(world.core.worker_gone(gone, world.now))
        world.settle()
        assert "not ready within 6 s" in world.said("rolled-back")[0]
        assert world.table["small"].spec.version == 1

    def test_one_that_answers_nothing_is_rolled_back(self) -> None:
        world = self._proving()
        hangs: dict[str, Any] = {"requests": 0, "pending": 7}
        assert self._end(world, of_new=hangs, of_old={}) == "rolled-back"
        assert "it has answered nothing, and 7 requests wait" in world.said("rolled-back")[0]


class TestTakingOver:
    def test_time_in_which_nobody_decided_is_held_against_no_version(self) -> None:
        world = World(1, load_s=2.0)
        world.run(1)
        first = world.deploy()
        world.now += 3600.0  # controller and workers were away
        world.workers["w0"].restart()
        world.restart()
        world.settle()
        assert world.outcomes(first) == ["ready"]
        second = world.update(version=2)
        world.now += 3600.0
        world.restart()
        world.settle()
        assert world.outcomes(second) == ["rolled-out"]

    def test_what_got_ready_meanwhile_is_known_at_once(self) -> None:
        world = World(1)
        world.run(1)
        order = world.deploy()
        for _ in range(4):
            world.now += 1.0
            world.workers["w0"].follow(world.table.values(), world.now)
        world.restart()
        assert world.outcomes(order) == ["ready"]

    def test_workers_that_left_meanwhile_are_noticed(self) -> None:
        world = World(2)
        world.run(1)
        world.deploy(instances=2)
        world.settle()
        del world.workers["w0"]  # with a tombstone that nobody was there to hear
        world.restart()
        world.settle()
        assert {i.worker for i in world.ready("small")} == {"w1"}

    def test_old_reports_get_no_new_instances_before_they_are_heard_again(self) -> None:
        world = World(1)
        world.run(1)
        world.deploy()
        world.settle()
        old = world.workers["w0"].report(world.now - 600.0)
        world.join("w1")
        world.core = world._fresh()
        world.core.restore_placement(world.table["small"])
        world.core.restore_worker(old, world.now)
        world.core.restore_worker(world.workers["w1"].report(world.now), world.now)
        world.write(world.core.resume(world.now))
        world.order("scale", "small", instances=4)
        assert sorted(i.worker for i in world.instances()) == ["w0", "w1", "w1", "w1"]


class TestNodes:
    def test_the_instances_of_a_lost_node_go_elsewhere(self) -> None:
        world = World(2)
        world.run(1)
        world.deploy(instances=2)
        world.settle()
        gone = world.instances()[0].worker
        (stays,) = [i.id for i in world.instances() if i.worker != gone]
        del world.workers[gone]
        world.settle()
        assert len(world.ready("small")) == 2
        assert stays in {i.id for i in world.ready("small")}
        assert {i.worker for i in world.instances()} == set(world.workers)
        assert "not been heard for 5 s" in world.said("lost")[0]

    def test_a_worker_that_says_goodbye_is_not_waited_for(self) -> None:
        world = World(2)
        world.run(1)
        world.deploy()
        world.settle()
        gone = world.instances()[0].worker
        del world.workers[gone]
        world.write(world.core.worker_gone(gone, world.now))
        assert [i.worker for i in world.instances()] == list(world.workers)

    def test_the_silence_of_a_broker_says_nothing_of_the_workers(self) -> None:
        world = World(2)
        world.run(1)
        world.deploy(instances=2)
        world.settle()
        before, heard = world.instances(), world.now
        for _ in range(60):
            world.now += 0.5
            assert not world.core.tick(world.now, heard)
        world.run(20)
        assert world.instances() == before
        assert not world.said("lost")

    def test_an_outage_is_held_against_no_version(self) -> None:
        world = World(2, load_s=2.0)
        world.run(1)
        world.deploy()
        world.settle()
        order = world.update(version=2)
        world.run(1)
        heard = world.now
        for _ in range(60):
            world.now += 0.5
            world.core.tick(world.now, heard)
        world.write(world.core.tick(world.now))  # it hears again, but no worker has spoken yet
        world.settle()
        assert world.outcomes(order) == ["rolled-out"]

    def test_a_restarted_worker_gets_its_instances_back(self) -> None:
        world = World(1)
        world.run(1)
        world.deploy(instances=2)
        world.settle()
        before = {i.id for i in world.instances()}
        world.workers["w0"].restart()
        world.run(1.0)
        assert not world.ready("small")
        world.settle()
        assert {i.id for i in world.ready("small")} == before

    def test_an_instance_that_fails_later_is_tried_elsewhere_first(self) -> None:
        world = World(2)
        world.run(1)
        world.deploy()
        world.settle()
        (old,) = world.instances()
        world.workers[old.worker].fault = lambda _: "out of memory"
        world.workers[old.worker].restart()
        world.settle()
        (new,) = world.ready("small")
        assert new.worker != old.worker
        assert "out of memory" in world.said("failed")[0]

    def test_a_gpu_where_it_failed_is_tried_again_after_a_pause(self) -> None:
        world = World(1)
        world.run(1)
        world.deploy()
        world.settle()
        worker = world.workers["w0"]
        worker.fault = lambda _: "busy"
        worker.restart()
        world.run(1.5)
        assert "failed on w0/0 lately" in str(world.table["small"].deferred)
        worker.fault = lambda _: None
        world.settle()
        assert len(world.ready("small")) == 1

    def test_nothing_is_placed_where_the_server_does_not_answer(self) -> None:
        world = World(2)
        world.workers["w0"].server_ready = False
        world.run(1)
        world.deploy(instances=2)
        assert {i.worker for i in world.instances()} == {"w1"}

    def test_instances_keep_to_different_nodes_where_they_must(self) -> None:
        world = World(2)
        world.run(1)
        for model, memory in (("small", None), ("mine", 1 << 30)):
            world.deploy(model, instances=3, spread="require", memory_bytes=memory)
            assert sorted(i.worker for i in world.instances(model)) == ["w0", "w1"]
            assert world.table[model].deferred is not None


class TestRoom:
    def test_one_that_keeps_its_place_takes_that_of_one_that_does_not(self) -> None:
        world = World(1)
        world.watchers.append(lambda: memory_is_kept(world))
        world.run(1)
        world.deploy("large", reserved=False)
        world.settle()
        order = world.deploy("middle")
        assert "waits for large" in str(world.table["middle"].deferred)
        world.settle()
        assert world.outcomes(order) == ["ready"]
        assert world.ready("large") == []
        assert "needs its room" in world.said("removed")[0]
        assert world.table["large"].deferred is not None

    def test_one_that_keeps_its_place_is_not_displaced(self) -> None:
        world = World(1)
        world.run(1)
        world.deploy("large")
        world.settle()
        world.deploy("middle")
        world.settle()
        assert len(world.ready("large")) == 1
        assert "not enough memory" in str(world.table["middle"].deferred)

    def test_a_version_that_comes_in_does_not_displace_the_one_that_serves(self) -> None:
        world = World(1)
        world.run(1)
        world.deploy("large", reserved=False)
        world.settle()
        order = world.update("large", version=2, reserved=True)
        world.settle()
        assert world.outcomes(order) == ["rolled-back"]
        assert "not enough memory" in world.said("rolled-back")[0]
        assert [i.version for i in world.ready("large")] == [1]

    def test_a_model_without_profile_goes_by_memory_and_count_and_says_so(self) -> None:
        world = World(2)
        world.run(1)
        world.deploy("mine", instances=2, memory_bytes=12 << 30)
        world.settle()
        assert {i.gpu for i in world.ready("mine")} == {"w0/0", "w1/0"}
        assert all("no kernel profile of mine" in reason for reason in world.said("placed"))
        world.deploy("large")
        world.settle()
        assert world.ready("large") == []  # its memory counts for the others

    def test_a_model_without_profile_displaces_likewise(self) -> None:
        world = World(1)
        world.watchers.append(lambda: memory_is_kept(world))
        world.run(1)
        world.deploy("large", reserved=False)
        world.settle()
        order = world.deploy("mine", memory_bytes=12 << 30)
        world.settle()
        assert world.outcomes(order) == ["ready"]
        assert world.ready("large") == []

    def test_a_running_instance_moves_to_make_room_and_serves_on_meanwhile(self) -> None:
        world = World(2, moves=1)
        world.run(1)
        world.deploy("middle", instances=2)
        world.settle()
        assert {i.gpu for i in world.ready("middle")} == {"w0/0", "w1/0"}
        served: list[int] = []
        world.watchers.append(lambda: served.append(len(world.ready("middle"))))
        world.watchers.append(lambda: memory_is_kept(world))
        # 8 and 8 of 21.6 GiB are taken: 16 find room once both are on one GPU.
        order = world.deploy("large")
        world.settle()
        assert world.outcomes(order) == ["ready"]
        assert min(served) == 2
        assert len({i.gpu for i in world.ready("middle")}) == 1
        assert len(world.said("moved")) == 2

    def test_without_a_budget_nothing_moves(self) -> None:
        world = World(2)
        world.run(1)
        world.deploy("middle", instances=2)
        world.settle()
        order = world.deploy("large")
        world.settle()
        assert world.outcomes(order) == []
        assert {i.gpu for i in world.ready("middle")} == {"w0/0", "w1/0"}


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
