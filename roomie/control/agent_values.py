"""What a worker's decisions are about: what is wanted, what is seen, and what is to be done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from dataflow.backoff import doubled
from roomie.control.records import Placement
from roomie.triton.model_config import Tuning
from roomie.triton.server import ModelState


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """An instance that should run here.

    Attributes:
        id: its name to the server.
        model: whose it is.
        tuning: how it should run.
        generation: of its model's placement.
        known_failed: whether the controller knows that it failed.
        problem: why it cannot run here at all; None if it can.
    """

    id: str
    model: str
    tuning: Tuning
    generation: int = 0
    known_failed: bool = False
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A model as the server has it.

    Attributes:
        state: of it.
        ours: whether an agent put it there; what others did is left alone.
        tuning: how it runs, as `Tuning` writes it; None while not known.
        activity: requests that it has ended so far, well or not.
        pending: requests that wait; None where the server does not tell.
    """

    state: ModelState
    ours: bool = True
    tuning: str | None = None
    activity: int = 0
    pending: int | None = None


@dataclass(frozen=True, kw_only=True)
class AgentSettings:
    """How patient an agent is.

    Attributes:
        load_seconds: how long a load may take.
        verify_seconds: how long the first answer may take.
        attempts: loads until an instance counts as failed.
        backoff: seconds until the second attempt, and twice as long before each one after it.
        longest_backoff: limit of it.
        drain_seconds: time for clients to hear that an instance goes: it runs at least so long.
        longest_drain: after so long it goes even if requests still come.
        parallel_loads: most loads at a time.
        silence: seconds without an answer after which the server counts as down.
        hung: seconds without an answer after which it is ended, if it is ours.
    """

    load_seconds: float = 120.0
    verify_seconds: float = 30.0
    attempts: int = 3
    backoff: float = 1.0
    longest_backoff: float = 30.0
    drain_seconds: float = 1.0
    longest_drain: float = 10.0
    parallel_loads: int = 2
    silence: float = 3.0
    hung: float = 20.0

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        return doubled(self.backoff, self.longest_backoff, failures - 1)


@dataclass(frozen=True, kw_only=True)
class Load:
    """Load an instance, or change how it runs."""

    id: str
    wanted: Wanted
    ticket: int


@dataclass(frozen=True, kw_only=True)
class Verify:
    """See that an instance answers."""

    id: str
    tuning: str
    ticket: int


@dataclass(frozen=True, kw_only=True)
class Unload:
    """Take an instance from the server."""

    id: str
    ticket: int


@dataclass(frozen=True, kw_only=True)
class Remove:
    """Delete the folder of an instance that is not loaded and not wanted."""

    id: str


Action: TypeAlias = Load | Verify | Unload | Remove


def wanted_on(
    worker: str,
    gpus: Mapping[str, int | None],
    placements: Iterable[Placement],
    *,
    executions: bool = False,
) -> dict[str, Wanted]:
    """What should run on a worker.

    Args:
        worker: its name.
        gpus: its GPUs by id, with the index that its server gives them; None for the processor.
        placements: of all models.
        executions: whether executions at a time are limited there.
    """
    found: dict[str, Wanted] = {}
    for placement in placements:
        for placed in placement.instances:
            if placed.worker != worker or placed.state == "draining":
                continue
            problem = None
            if placed.gpu not in gpus:
                have = ", ".join(gpus)
                problem = f"worker {worker} has no GPU {placed.gpu}; it has {have}"
            found[placed.id] = Wanted(
                id=placed.id,
                model=placement.spec.model,
                tuning=Tuning(
                    version=placed.version,
                    batch=placed.batch,
                    window=placed.window,
                    gpu=gpus.get(placed.gpu),
                    executions=executions,
                ),
                generation=placement.generation,
                known_failed=placed.state == "failed",
                problem=problem,
            )
    return found
