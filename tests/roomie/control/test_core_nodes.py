"""The controller's core. Workers that go and come, and room that is short."""

from __future__ import annotations

import pytest

from tests.roomie.control.world import World, memory_is_kept


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

    @pytest.mark.parametrize("outage", [2.0, 60.0])
    def test_orders_of_a_time_without_servers_are_carried_out_when_they_are_back(
        self, outage: float
    ) -> None:
        world = World(2)
        world.run(1)
        for model in ("small", "middle"):
            world.deploy(model)
        world.settle()
        for worker in world.workers.values():
            worker.server_ready = False
        world.run(1)
        scaled = world.order("scale", "small", instances=2)
        removed = world.order("undeploy", "middle")
        world.run(outage)
        assert world.outcomes(scaled) == []
        for worker in world.workers.values():
            worker.server_ready = True
        world.settle()
        assert world.shape() == {"small": (1, 2, 0, "still")}
        assert world.outcomes(scaled) == ["scaled"]
        assert world.outcomes(removed) == ["removed"]
        placed = {i.id for i in world.instances()}
        assert {name for w in world.workers.values() for name in w.running} == placed

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
