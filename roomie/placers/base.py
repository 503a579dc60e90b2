"""The interface of placers, those that are installed, and what greedy ones share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dataflow.plugins import installed, load_plugin
from roomie.board import Board, Objective, Trial
from roomie.cluster import ClusterState, Instance, Request
from roomie.costs import PairCosts
from roomie.errors import ClusterError
from roomie.local_search import apart
from roomie.plans import Alternative, Decision, Plan, Removal
from roomie.profiles import Variant

GROUP = "videojam.placers"
"""Entry-point group of placers."""


class Placer(Protocol):
    """Decides on instances. Pure: the same state and requests give the same plan."""

    @property
    def name(self) -> str:
        """As in its entry point."""
        ...

    def place(self, state: ClusterState, requests: Sequence[Request]) -> Plan:
        """Decide on requests together.

        Args:
            state: the cluster; it is not changed.
            requests: new instances, in the order in which they were asked for.

        Returns:
            A decision for each of them, in their order, and the state afterwards.

        Raises:
            PlacementError: a model has no profile, or the placer has no answer.
            ClusterError: a request has the id of an instance that is there.
        """
        ...


PlacerFactory = Callable[[PairCosts, int], Placer]
"""What an entry point names: makes a placer from predictions and a seed."""


def available() -> dict[str, EntryPoint]:
    """All installed placers by name, sorted; nothing is imported.

    Raises:
        ConfigError: two installed distributions register different placers under one name.
    """
    return installed(GROUP, "placer")


def build_placer(name: str, costs: PairCosts, *, seed: int = 0) -> Placer:
    """Make a placer.

    Args:
        name: its entry point.
        costs: predictions.
        seed: of whatever it draws.

    Raises:
        ConfigError: no placer has that name, or it cannot be loaded.
        MissingDependencyError: it needs a package that is not installed.
    """
    factory: PlacerFactory = load_plugin(
        GROUP,
        name,
        what="placer",
        interface="a factory that takes PairCosts and a seed and returns a Placer",
        key="placer",
    )
    return factory(costs, seed)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A GPU for a request.

    Attributes:
        row: position of the GPU.
        variant: at which batch size.
        reasons: why.
        alternatives: the best GPUs, the chosen one first.
    """

    row: int
    variant: Variant
    reasons: tuple[str, ...]
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """No GPU for a request.

    Attributes:
        reasons: what each GPU, or each group of them, lacks.
    """

    reasons: tuple[str, ...]


class GreedyPlacer(ABC):
    """Decides on one request after the other.

    Args:
        costs: predictions; the memory that a variant needs comes from them too.
        objective: which drop counts.
    """

    def __init__(self, costs: PairCosts, objective: Objective = "throughput-loss") -> None:
        self.costs = costs
        self.objective: Objective = objective

    @property
    @abstractmethod
    def name(self) -> str:
        """As in the entry point."""

    @abstractmethod
    def choose(self, board: Board, request: Request) -> Choice | Refusal:
        """A GPU for one request, given what the board shows."""

    def place(self, state: ClusterState, requests: Sequence[Request]) -> Plan:
        """See `Placer.place`."""
        board = Board.of(state, self.costs, self.objective)
        check_requests(board, requests)
        decisions = [self._decide(board, request) for request in requests]
        return Plan(placer=self.name, decisions=tuple(decisions), state=board.to_state())

    def _decide(self, board: Board, request: Request) -> Decision:
        choice = self.choose(board, request)
        if isinstance(choice, Refusal):
            return Decision(request=request, gpu=None, variant=None, reasons=choice.reasons)
        board.add(choice.row, Instance(request=request, variant=choice.variant))
        return Decision(
            request=request,
            gpu=board.state.gpus[choice.row].id,
            variant=choice.variant,
            reasons=choice.reasons,
            alternatives=choice.alternatives,
        )


def check_requests(board: Board, requests: Sequence[Request]) -> None:
    """Refuse requests whose ids are taken.

    Raises:
        ClusterError: by an instance, or by one another.
    """
    seen: set[str] = set()
    for request in requests:
        row = board.rows.get(request.id)
        if row is not None or request.id in seen:
            where = "is asked for twice" if row is None else f"is on {board.state.gpus[row].id}"
            raise ClusterError(
                f"an instance of this id {where} already",
                key="id",
                value=request.id,
                remedy="give each instance an id of its own",
            )
        seen.add(request.id)


def fastest_variant(costs: PairCosts, board: Board, request: Request) -> Variant:
    """The batch size asked for, or the one with the highest profiled throughput on any GPU kind.

    Raises:
        PlacementError: there is no profile.
    """
    if request.batch is not None:
        variant = Variant(request.model, request.batch)
        costs.index(variant)
        return variant
    best: tuple[float, Variant] | None = None
    for variant in costs.batches(request.model):
        index = costs.index(variant)
        trial = board.try_everywhere(index)
        if not trial.known.any():
            continue
        rates = [
            float(board.device_costs(int(row)).throughput[index])
            for row in np.flatnonzero(trial.known)
        ]
        if best is None or max(rates) > best[0]:
            best = max(rates), variant
    return costs.batches(request.model)[0] if best is None else best[1]


def allowed_rows(
    board: Board, trial: Trial, request: Request
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """GPUs that can take a request at all, and how many fail for which reason."""
    rows = np.ones(len(board.state.gpus), dtype=bool)
    reasons = []
    for passed, what in (
        (trial.known, "no profile for the GPU's kind"),
        (trial.fits_count, "most instances reached"),
        (trial.fits_memory, "not enough memory below 90 %"),
    ):
        failed = rows & ~passed
        if failed.any():
            reasons.append(f"{_gpus(failed)}: {what}")
        rows &= passed
    rows, spread = _spread_rows(board, rows, request)
    return rows, (*reasons, *spread)


def _spread_rows(
    board: Board, rows: NDArray[np.bool_], request: Request
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Of the GPUs that can take a request, those whose node keeps its group apart."""
    if request.spread == "none" and not board.keeping_apart:
        return rows, ()
    beside = board.nodes_with(lambda instance: apart(request, instance.request))
    if request.spread == "prefer":
        same = board.nodes_with(lambda i: i.request.spread_group == request.spread_group)
        fewest = rows & (same == same[rows].min()) if rows.any() else rows
        lost = int((rows & ~fewest).sum())
        note = (f"{lost} GPU(s) left out: their nodes hold more of {request.spread_group}",)
        return fewest, note if lost else ()
    failed = rows & (beside > 0)
    if not failed.any():
        return rows, ()
    note = (f"{_gpus(failed)}: the node holds an instance of {request.spread_group}",)
    return rows & (beside == 0), note


def _gpus(mask: NDArray[np.bool_]) -> str:
    return f"{int(mask.sum())} GPU(s) left out"


def removal_plan(placer: str, state: ClusterState, ids: Sequence[str], reason: str) -> Plan:
    """Take instances away; what they leave free is not filled (see `RoomiePlacer.rebalance`).

    Raises:
        ClusterError: there is no such instance.
    """
    after = state.without(ids)
    removals = tuple(
        Removal(instance=name, gpu=state.gpus[state.instances[name][0]].id, reason=reason)
        for name in ids
    )
    return Plan(placer=placer, decisions=(), state=after, removals=removals)
