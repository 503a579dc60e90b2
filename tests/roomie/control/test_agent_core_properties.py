"""Whatever happens, and whenever an agent is killed, it comes to what is wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomie.control.agent_core import AgentCore
from roomie.control.agent_values import (
    Action,
    Wanted,
)
from roomie.triton.model_config import Tuning
from tests.roomie.control.agent_world import SETTINGS, Model, World, want


def steps_of(plan: Callable[[World], None]) -> int:
    world = World()
    plan(world)
    return len(world.done)


def converge(world: World) -> None:
    world.models["orphan"] = Model("ready", "version=9")
    world.models["old"] = Model("ready", str(Tuning(version=1, batch=8)))
    world.folders |= {"orphan", "old", "left-behind"}
    world.wanted = want("a", "b", "old", "bad")
    world.load_fault = lambda name: "broken" if name == "bad" else None
    world.run(40)


class DyingWorld(World):
    """Its agent is killed before or after its n-th action has had its effect."""

    fatal: int = -1
    acted: bool = True

    def act(self, action: Action) -> None:
        if len(self.done) == self.fatal:
            if self.acted:
                super().act(action)
            else:
                self.done.append(action)
            self.core = AgentCore(SETTINGS)
            return
        super().act(action)


@pytest.mark.parametrize("acted", [True, False])
@pytest.mark.parametrize("fatal", range(steps_of(converge)))
def test_an_agent_killed_at_any_step_is_followed_by_one_that_comes_to_the_same(
    fatal: int, acted: bool
) -> None:
    world = DyingWorld()
    world.fatal, world.acted = fatal, acted
    converge(world)
    undisturbed = World()
    converge(undisturbed)
    assert world.states() == undisturbed.states()
    assert world.states() == {"a": "ready", "b": "ready", "old": "ready", "bad": "failed"}
    assert world.models == undisturbed.models
    assert world.folders == undisturbed.folders


Event = st.sampled_from(["want", "drop", "retune", "server-dies", "agent-dies", "faults", "wait"])


@given(st.lists(st.tuples(Event, st.sampled_from("abcd")), max_size=30))
def test_whatever_happens_it_comes_to_what_is_wanted(events: list[tuple[str, str]]) -> None:
    world = World({})
    wanted: dict[str, Wanted] = {}
    for number, (event, name) in enumerate(events):
        if event == "want":
            wanted |= want(name, generation=number)
        elif event == "drop":
            wanted.pop(name, None)
        elif event == "retune" and name in wanted:
            wanted |= want(name, generation=number, batch=number + 1)
        elif event == "server-dies":
            world.models.clear()
            world.core.server_died(world.now)
        elif event == "agent-dies":
            world.core = AgentCore(SETTINGS)
        world.load_fault = (lambda _: "transient") if event == "faults" else (lambda _: None)
        world.wanted = dict(wanted)
        world.run(1)
    world.load_fault = lambda _: None
    # a new generation, as after a failure the controller's next decision is
    world.wanted = {n: replace(w, generation=1000) for n, w in wanted.items()}
    world.run(120)
    assert world.states() == dict.fromkeys(wanted, "ready")
    assert {n: m.tuning for n, m in world.models.items()} == {
        n: str(w.tuning) for n, w in wanted.items()
    }
    assert world.folders == set(wanted)
