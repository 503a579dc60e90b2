"""The worker's decisions in a simulated world: time, server and deaths are the test's."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from roomie.control.agent_values import (
    Load,
    Remove,
    Unload,
    wanted_on,
)
from roomie.control.records import InstanceState, ModelSpec, PlacedInstance, Placement
from roomie.triton.model_config import Tuning
from tests.roomie.control.agent_world import SETTINGS, TICK, Model, World, want


def test_what_is_wanted_is_loaded_verified_and_then_ready() -> None:
    world = World(want("a", "b"))
    world.tick()
    assert world.kinds("a") == ["Load"]
    assert world.states()["a"] != "ready", "an answer is wanted first"
    world.run(1)
    assert world.kinds("a") == ["Load", "Verify"]
    assert world.states() == {"a": "ready", "b": "ready"}
    assert all(report.ready_seconds is not None for report in world.core.reports(world.now))


def test_once_all_is_as_it_should_be_nothing_is_done() -> None:
    world = World(want("a", "b"))
    world.run(2)
    count = len(world.done)
    world.run(100)
    assert len(world.done) == count


def test_no_more_loads_than_allowed_run_at_a_time() -> None:
    world = World(want("a", "b", "c", "d"), hang=True)
    world.run(5)
    assert [type(action) for action in world.done] == [Load, Load]


def test_a_load_that_fails_is_tried_again_with_growing_pauses_then_stays_failed() -> None:
    world = World(want("a"), load_fault=lambda _: "the weights are damaged")
    acted = ((world.tick(), world.now) for _ in range(400))
    times = [now for actions, now in acted if any(isinstance(a, Load) for a in actions)]
    assert len(times) == SETTINGS.attempts
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert pauses == [pytest.approx(1, abs=TICK), pytest.approx(2, abs=TICK)]
    assert world.states() == {"a": "failed"}
    assert world.reason("a") == "the weights are damaged"


def test_a_failed_one_is_tried_again_only_in_a_new_generation() -> None:
    world = World(want("a"), load_fault=lambda _: "no memory")
    world.run()
    world.load_fault = lambda _: None
    world.run()
    assert world.states() == {"a": "failed"}, "the same generation"
    world.wanted = want("a", generation=2, failed=True)
    world.run()
    assert world.states() == {"a": "failed"}, "the controller has only written down that it failed"
    world.wanted = want("a", generation=3)
    world.run()
    assert world.states() == {"a": "ready"}
    assert world.reason("a") is None


def test_one_that_loads_and_errs_is_failed_with_its_error() -> None:
    world = World(want("a"), verify_fault=lambda _: "it does not add up")
    world.run()
    assert world.states() == {"a": "failed"}
    assert world.reason("a") == "it does not add up"


def test_a_load_that_hangs_is_given_up_and_a_late_answer_changes_nothing() -> None:
    world = World(want("a"), hang=True)
    world.run(200)
    assert world.states() == {"a": "failed"}
    assert "did not load within" in (world.reason("a") or "")
    assert len(world.done) == SETTINGS.attempts
    for action in world.done:
        world.core.finished(action, None, world.now)
    assert world.states() == {"a": "failed"}


def test_one_that_fails_does_not_keep_others_from_being_loaded() -> None:
    world = World(want("bad", "good"), load_fault=lambda name: "broken" if name == "bad" else None)
    world.run()
    assert world.states() == {"bad": "failed", "good": "ready"}


def test_what_nobody_wants_drains_before_it_goes() -> None:
    world = World(want("a"))
    world.run(2)
    world.wanted = {}
    began = world.now
    world.models["a"].pending = 1
    world.run(5)
    assert world.states() == {"a": "draining"}
    world.models["a"].pending = 0
    world.run(1)
    assert world.models == {}
    assert world.folders == set()
    assert world.states() == {}
    assert world.now - began >= SETTINGS.drain_seconds


def test_one_without_requests_drains_for_as_long_as_clients_take_to_hear() -> None:
    world = World(want("a"))
    world.run(2)
    world.wanted = {}
    world.run(SETTINGS.drain_seconds - TICK)
    assert world.models
    world.run(1)
    assert not world.models


def test_where_the_server_does_not_tell_who_waits_quiet_is_enough() -> None:
    world = World(want("a"))
    world.run(2)
    world.models["a"].pending = None
    world.wanted = {}
    for _ in range(40):
        world.models["a"].activity += 1
        world.tick()
    assert world.models, "requests still end"
    world.run(1)
    assert not world.models


def test_requests_that_never_cease_do_not_keep_it_for_ever() -> None:
    world = World(want("a"))
    world.run(2)
    world.models["a"].pending = 7
    world.wanted = {}
    world.run(SETTINGS.longest_drain + 1)
    assert not world.models


def test_one_that_is_wanted_again_while_it_drains_simply_stays() -> None:
    world = World(want("a"))
    world.run(2)
    loads = world.kinds("a").count("Load")
    world.models["a"].pending = 1
    world.wanted = {}
    world.run(3)
    world.wanted = want("a", generation=2)
    world.run(3)
    assert world.states() == {"a": "ready"}
    assert world.kinds("a").count("Load") == loads


def test_orphans_go_but_not_before_the_placements_are_known_and_never_those_of_others() -> None:
    world = World(None)
    world.models["orphan"] = Model("ready", "version=1")
    world.models["operators-own"] = Model("ready", "", ours=False)
    world.folders |= {"orphan", "left-behind"}
    world.run()
    assert set(world.models) == {"orphan", "operators-own"}
    assert world.done == []
    world.wanted = {}
    world.run()
    assert set(world.models) == {"operators-own"}
    assert world.folders == set()


def test_a_new_window_is_loaded_while_the_instance_stays_ready() -> None:
    world = World(want("a"))
    world.run(2)
    world.wanted = want("a", batch=4, generation=2)
    while world.kinds("a").count("Load") < 2:
        world.tick()
        assert world.states() == {"a": "ready"}
    world.run(2)
    assert world.models["a"].tuning == str(Tuning(version=1, batch=4))
    assert world.states() == {"a": "ready"}
    assert world.kinds("a") == ["Load", "Verify", "Load", "Verify"]


def test_a_new_window_that_cannot_be_had_leaves_the_old_one_serving() -> None:
    world = World(want("a"))
    world.run(2)
    world.load_fault = lambda _: "too large"
    world.wanted = want("a", batch=4, generation=2)
    world.run(60)
    assert world.kinds("a").count("Load") == 1 + SETTINGS.attempts
    assert world.states() == {"a": "ready"}
    assert world.reason("a") == "too large"


def test_one_whose_window_could_not_be_changed_is_loaded_again_when_the_server_has_died() -> None:
    world = World(want("a"))
    world.run(2)
    world.load_fault = lambda _: "too large"
    world.wanted = want("a", batch=4, generation=2)
    world.run(60)
    world.load_fault = lambda _: None
    world.models.clear()
    world.core.server_died(world.now)
    world.run(5)
    assert world.states() == {"a": "ready"}
    assert world.models["a"].tuning == str(Tuning(version=1, batch=4)), "as it is wanted"
    assert world.reason("a") is None


@pytest.mark.parametrize("failed_before", range(SETTINGS.attempts))
def test_a_server_that_dies_while_a_window_changes_gets_the_instance_as_it_is_wanted(
    failed_before: int,
) -> None:
    world = World(want("a"))
    world.run(2)
    world.wanted = want("a", batch=4, generation=2)
    world.load_fault = lambda _: "no memory right now"
    while world.kinds("a").count("Load") < 1 + failed_before:
        world.tick()
    world.hang = True
    while world.kinds("a").count("Load") < 2 + failed_before:
        world.tick()
    interrupted = world.done[-1]
    world.hang, world.load_fault = False, lambda _: None
    world.models.clear()
    world.core.server_died(world.now)
    assert world.states() != {"a": "failed"}, "it served until its server died"
    world.core.finished(interrupted, None, world.now)  # an answer that comes too late
    world.run(5)
    assert world.states() == {"a": "ready"}
    assert world.models["a"].tuning == str(Tuning(version=1, batch=4))


def test_a_server_that_dies_and_returns_empty_gets_everything_again() -> None:
    world = World(want("a", "b"))
    world.run(2)
    world.up = False
    world.models.clear()
    world.core.server_died(world.now)
    world.tick()
    assert world.states() == {"a": "pending", "b": "pending"}
    world.run(5)
    world.up = True
    world.run(2)
    assert world.states() == {"a": "ready", "b": "ready"}


def test_a_server_that_restarts_unnoticed_gets_everything_again() -> None:
    world = World(want("a", "b"))
    world.run(2)
    world.models.clear()
    world.run(2)
    assert world.states() == {"a": "ready", "b": "ready"}


def test_a_server_that_answers_late_once_is_not_down() -> None:
    world = World(want("a"))
    world.run(2)
    world.up = False
    world.run(1)
    assert world.states() == {"a": "ready"}
    world.run(5)
    assert not world.core.server_up(world.now)
    assert world.states() == {"a": "pending"}


def test_a_model_that_kills_the_server_when_it_is_loaded_is_failed_in_the_end() -> None:
    world = World(want("killer", "good"))

    def die(name: str) -> str | None:
        if name != "killer":
            return None
        world.models.clear()
        return "no answer"

    world.load_fault = die
    for _ in range(400):
        world.tick()
    assert world.states() == {"killer": "failed", "good": "ready"}


def test_a_model_that_kills_the_server_when_it_runs_is_loaded_ever_more_rarely() -> None:
    world = World(want("a"))
    for _ in range(4 * 60):
        world.tick()
        if world.states() == {"a": "ready"}:
            world.models.clear()
            world.core.server_died(world.now)
    assert world.kinds("a").count("Load") < 12


def test_an_unload_that_fails_is_tried_again() -> None:
    world = World(want("a"))
    world.run(2)
    world.wanted = {}
    world.hang = True
    while not any(isinstance(action, Unload) for action in world.done):
        world.tick()
    world.core.finished(world.done[-1], "no answer", world.now)
    world.hang = False
    world.run(5)
    assert not world.models


def test_a_folder_that_cannot_be_deleted_is_tried_ever_more_rarely_until_it_can() -> None:
    world = World(want("a"), remove_fault=lambda _: "it is read-only")
    world.run(2)
    world.wanted = {}
    acted = ((world.tick(), world.now) for _ in range(4 * 20))
    times = [now for actions, now in acted if any(isinstance(a, Remove) for a in actions)]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert pauses[:3] == [pytest.approx(seconds, abs=TICK) for seconds in (1, 2, 4)]
    assert world.states() == {}, "it is not there any more, whatever lies on the disk"
    world.remove_fault = lambda _: None
    world.run(SETTINGS.longest_backoff + 1)
    assert world.folders == set()


def test_one_whose_folder_could_not_be_deleted_is_loaded_at_once_when_it_is_wanted_again() -> None:
    world = World(want("a"), remove_fault=lambda _: "it is read-only")
    world.run(2)
    world.wanted = {}
    world.run(10)
    world.wanted = want("a", generation=2)
    world.run(1)
    assert world.states() == {"a": "ready"}


def test_an_instance_that_its_worker_cannot_run_fails_at_once_with_the_reason() -> None:
    world = World({"a": replace(want("a")["a"], problem="worker w has no GPU w/7")})
    world.run(1)
    assert world.done == []
    assert world.states() == {"a": "failed"}
    assert world.reason("a") == "worker w has no GPU w/7"


def test_only_instances_of_this_worker_that_are_not_leaving_are_wanted() -> None:
    def placed(name: str, worker: str, gpu: str, state: InstanceState) -> PlacedInstance:
        return PlacedInstance(
            id=name, version=2, worker=worker, gpu=gpu, batch=4, window=0.002, state=state
        )

    placement = Placement(
        spec=ModelSpec(model="m", version=2),
        generation=7,
        instances=(
            placed("here", "w", "w/1", "pending"),
            placed("failed", "w", "w/0", "failed"),
            placed("leaving", "w", "w/0", "draining"),
            placed("elsewhere", "v", "v/0", "ready"),
            placed("nowhere", "w", "w/9", "pending"),
        ),
    )
    found = wanted_on("w", {"w/0": None, "w/1": 3}, [placement])
    assert set(found) == {"here", "failed", "nowhere"}
    assert found["here"].tuning == Tuning(version=2, batch=4, window=0.002, gpu=3)
    assert found["here"].generation == 7
    assert found["failed"].known_failed
    assert "no GPU w/9" in (found["nowhere"].problem or "")
