"""The controller's core. Versions that follow one another, and controllers that do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.roomie.control.world import FAST, World, broken


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
        (new,), (old,) = world.ready("small", 2), world.ready("small", 1)
        world.measure(new.id, requests=3, failures=1)  # a single error is no rate
        world.measure(old.id)
        world.run(FAST.probation)
        assert world.events()[-1] == "rolled-out"

    def test_one_that_always_errs_is_rolled_back_however_few_requests_it_gets(self) -> None:
        world = self._proving()
        (new,), (old,) = world.ready("small", 2), world.ready("small", 1)
        few = FAST.probation_requests - 2
        world.measure(new.id, requests=0, failures=few)  # clients leave it alone after that
        world.measure(old.id)
        world.run(1.0)
        assert world.events()[-1] == "proving", "it is too early to tell"
        world.run(FAST.probation)
        assert f"{few} of {few} requests failed (100.0%)" in world.said("rolled-back")[0]

    @pytest.mark.parametrize(
        ("did", "answers", "reason"),
        [
            ({"requests": 0, "failures": 1}, 1, "none of the 1 requests that it answered"),
            ({"requests": 0}, FAST.probation_requests, "it has answered nothing, and the old"),
        ],
    )
    def test_one_that_has_answered_nothing_well_stays_on_probation_and_is_rolled_back(
        self, did: dict[str, Any], answers: int, reason: str
    ) -> None:
        world = self._proving()
        (new,), (old,) = world.ready("small", 2), world.ready("small", 1)
        world.measure(new.id, **did)
        world.measure(old.id, requests=answers)
        world.run(2 * FAST.probation)
        assert world.events()[-1] == "proving"
        world.run(FAST.probation)
        assert world.events()[-1] == "rolled-back"
        assert reason in world.said("rolled-back")[0]
        assert [i.version for i in world.ready("small")] == [1]

    def test_what_the_old_one_answered_counts_however_long_the_probation_is(self) -> None:
        world = World(2, settings=replace(FAST, probation=60.0))
        world.run(1)
        world.deploy()
        world.settle()
        world.update(version=2)
        world.run(2.0)
        (new,), (old,) = world.ready("small", 2), world.ready("small", 1)
        world.measure(old.id, requests=FAST.probation_requests)
        world.run(170.0)
        for name in (new.id, old.id):
            world.measure(name, requests=0)
        world.run(10.0)
        assert "it has answered nothing, and the old" in world.said("rolled-back")[0]

    def test_one_that_answers_well_while_its_probation_is_prolonged_is_promoted(self) -> None:
        world = self._proving()
        (new,), (old,) = world.ready("small", 2), world.ready("small", 1)
        world.measure(old.id)
        world.run(1.5 * FAST.probation)
        assert world.events()[-1] == "proving"
        world.measure(new.id, requests=1)
        world.run(1.0)
        assert world.events()[-1] == "rolled-out"

    def test_a_model_that_is_seldom_asked_gets_new_versions_too(self) -> None:
        world = self._proving()
        (old,) = world.ready("small", 1)
        world.measure(old.id, requests=FAST.probation_requests - 1)
        world.run(2 * FAST.probation)
        assert world.events()[-1] == "proving"
        world.run(FAST.probation)
        assert world.events()[-1] == "rolled-out"

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

    def test_one_that_is_so_slow_that_clients_leave_it_alone_is_rolled_back(self) -> None:
        world = self._proving()
        (new,), (old,) = world.ready("small", 2), world.ready("small", 1)
        for _ in range(3):
            world.measure(new.id, requests=1, compute_s=0.2)
            world.measure(old.id, compute_s=0.01)
            world.run(1.0)
        assert world.events()[-1] == "rolled-back"
        assert "20.0 times as long" in world.said("rolled-back")[0]

    @pytest.mark.parametrize("wanted", [{}, {"latency": 0.015}])
    def test_stalls_among_the_first_requests_are_not_held_against_it(
        self, wanted: dict[str, Any]
    ) -> None:
        world = self._proving(**wanted)
        (new,), (old,) = world.ready("small", 2), world.ready("small", 1)
        stalled = 0.15  # on average, a cold start or a busy machine
        for compute_s in (stalled, 0.01, 0.01):
            world.measure(new.id, compute_s=compute_s)
            world.measure(old.id, compute_s=0.01)
            world.run(1.0)
        assert world.events()[-1] == "rolled-out"

    def test_its_time_is_judged_when_the_probation_is_over_and_errors_at_once(self) -> None:
        world = self._proving()
        (new,), (old,) = world.ready("small", 2), world.ready("small", 1)
        world.measure(new.id, compute_s=1.0)
        world.measure(old.id, compute_s=0.01)
        world.run(0.5)
        assert world.events()[-1] == "proving"
        world.measure(new.id, failures=10)
        world.run(0.5)
        assert world.events()[-1] == "rolled-back"
        assert "requests failed" in world.said("rolled-back")[0]

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
