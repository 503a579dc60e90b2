"""A simulated server and an agent's core that acts on it: time and faults are the test's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from roomie.control.agent_core import AgentCore
from roomie.control.agent_values import (
    Action,
    AgentSettings,
    Load,
    Remove,
    Seen,
    Unload,
    Verify,
    Wanted,
)
from roomie.control.records import InstanceState
from roomie.triton.model_config import Tuning
from roomie.triton.server import ModelState

SETTINGS = AgentSettings(
    load_seconds=10, attempts=3, backoff=1, drain_seconds=2, longest_drain=20, parallel_loads=2
)
TICK = 0.25


def want(
    *names: str, generation: int = 1, batch: int = 1, failed: bool = False
) -> dict[str, Wanted]:
    return {
        name: Wanted(
            id=name,
            model="m",
            tuning=Tuning(version=1, batch=batch),
            generation=generation,
            known_failed=failed,
        )
        for name in names
    }


@dataclass
class Model:
    state: ModelState
    tuning: str
    activity: int = 0
    pending: int | None = 0
    ours: bool = True


@dataclass
class World:
    """A server, and an agent that acts on it."""

    wanted: Mapping[str, Wanted] | None = None
    models: dict[str, Model] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    up: bool = True
    now: float = 0.0
    load_fault: Callable[[str], str | None] = lambda _name: None
    verify_fault: Callable[[str], str | None] = lambda _name: None
    remove_fault: Callable[[str], str | None] = lambda _name: None
    hang: bool = False
    done: list[Action] = field(default_factory=list)
    core: AgentCore = field(default_factory=lambda: AgentCore(SETTINGS))

    def seen(self) -> dict[str, Seen] | None:
        if not self.up:
            return None
        loaded = {
            name: Seen(
                state=m.state,
                tuning=m.tuning if m.state == "ready" else None,
                activity=m.activity,
                pending=m.pending,
                ours=m.ours,
            )
            for name, m in self.models.items()
        }
        return {name: Seen(state="unavailable") for name in self.folders} | loaded

    def act(self, action: Action) -> None:
        self.done.append(action)
        if self.hang:
            return
        fault: str | None = None
        match action:
            case Load():
                self.folders.add(action.id)
                fault = self.load_fault(action.id) if self.up else "no answer"
                if fault is None:
                    self.models[action.id] = Model("ready", str(action.wanted.tuning))
            case Verify():
                fault = self.verify_fault(action.id) if self.up else "no answer"
            case Unload():
                self.models.pop(action.id, None)
            case Remove():
                fault = self.remove_fault(action.id)
                if fault is None:
                    self.folders.discard(action.id)
        self.core.finished(action, fault, self.now)

    def tick(self, seconds: float = TICK) -> list[Action]:
        self.now += seconds
        actions = self.core.decide(self.wanted, self.seen(), self.now)
        for action in actions:
            self.act(action)
        return actions

    def run(self, seconds: float = 30.0) -> None:
        for _ in range(round(seconds / TICK)):
            self.tick()

    def states(self) -> dict[str, InstanceState]:
        return {report.id: report.state for report in self.core.reports(self.now)}

    def reason(self, name: str) -> str | None:
        return next(r.reason for r in self.core.reports(self.now) if r.id == name)

    def kinds(self, name: str) -> list[str]:
        return [type(action).__name__ for action in self.done if action.id == name]
