"""Placers that know nothing of kernels: `infaas`, `least-loaded`, `random`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from roomie.board import Board
from roomie.cluster import ClusterState, Request
from roomie.costs import PairCosts
from roomie.placers.base import Choice, GreedyPlacer, Refusal, allowed_rows, fastest_variant
from roomie.plans import Plan
from roomie.tables import Floats


class InfaasPlacer(GreedyPlacer):
    """INFaaS as the thesis' baseline (baselines.md sec. 4).

    A GPU that hosts the model already, if memory allows, else any; the batch size with the highest
    profiled throughput, ties to the most free memory.
    """

    @property
    def name(self) -> str:
        """As in the entry point."""
        return "infaas"

    def choose(self, board: Board, request: Request) -> Choice | Refusal:
        """See the class."""
        variant = fastest_variant(self.costs, board, request)
        index = self.costs.index(variant)
        trial = board.try_everywhere(index)
        rows, reasons = allowed_rows(board, trial, request)
        hosts = np.array(
            [any(i.variant.model == request.model for i in on) for on in board.residents]
        )
        throughput = np.array(
            [board.device_costs(row).throughput[index] for row in range(len(board.counts))]
        )
        keys = (-throughput, -(board.capacity - board.memory))
        row = board.pick(rows & hosts, keys)
        if row is not None:
            return Choice(row=row, variant=variant, reasons=("hosts the model already", *reasons))
        row = board.pick(rows, keys)
        if row is None:
            return Refusal(reasons=reasons)
        return Choice(row=row, variant=variant, reasons=("no host of it has room", *reasons))


class LeastLoadedPlacer(GreedyPlacer):
    """The GPU with the fewest instances, then the most free memory."""

    @property
    def name(self) -> str:
        """As in the entry point."""
        return "least-loaded"

    def choose(self, board: Board, request: Request) -> Choice | Refusal:
        """See the class."""
        variant = fastest_variant(self.costs, board, request)
        trial = board.try_everywhere(self.costs.index(variant))
        rows, reasons = allowed_rows(board, trial, request)
        counts: Floats = board.counts.astype(np.float64)
        row = board.pick(rows, (counts, -(board.capacity - board.memory)))
        if row is None:
            return Refusal(reasons=reasons)
        why = f"fewest instances ({board.counts[row]})"
        return Choice(row=row, variant=variant, reasons=(why, *reasons))


class RandomPlacer(GreedyPlacer):
    """Any GPU with room, drawn from a seeded generator anew for each plan.

    Args:
        costs: memory needs come from them.
        seed: of the draws.
    """

    def __init__(self, costs: PairCosts, seed: int = 0) -> None:
        super().__init__(costs)
        self._seed = seed
        self._rng = np.random.default_rng(seed)

    @property
    def name(self) -> str:
        """As in the entry point."""
        return "random"

    def place(self, state: ClusterState, requests: Sequence[Request]) -> Plan:
        """See `Placer.place`."""
        # The instances that are there, so that plans that follow one another differ.
        self._rng = np.random.default_rng((self._seed, state.count))
        return super().place(state, requests)

    def choose(self, board: Board, request: Request) -> Choice | Refusal:
        """See the class."""
        variant = fastest_variant(self.costs, board, request)
        trial = board.try_everywhere(self.costs.index(variant))
        rows, reasons = allowed_rows(board, trial, request)
        if not rows.any():
            return Refusal(reasons=reasons)
        row = int(self._rng.choice(np.flatnonzero(rows)))
        return Choice(row=row, variant=variant, reasons=("drawn at random", *reasons))


def build_infaas(costs: PairCosts, _seed: int) -> InfaasPlacer:
    """The placer of the entry point ``infaas``."""
    return InfaasPlacer(costs)


def build_least_loaded(costs: PairCosts, _seed: int) -> LeastLoadedPlacer:
    """The placer of the entry point ``least-loaded``."""
    return LeastLoadedPlacer(costs)


def build_random(costs: PairCosts, seed: int) -> RandomPlacer:
    """The placer of the entry point ``random``."""
    return RandomPlacer(costs, seed)
