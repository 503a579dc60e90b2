"""The exact optimum of small cases: what the others are measured against (thesis Fig 4.6).

Every set of instances that may share a GPU is a column with its drop; the cheapest choice of one
column a GPU that covers all requests is a set-partitioning problem, solved by HiGHS. Any drop
may be minimised this way, sums of pairs or not. Needs the extra ``optimum``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataflow.errors import MissingDependencyError
from roomie.board import Board, Objective, loss_of
from roomie.cluster import ClusterState, Instance, Request
from roomie.costs import PairCosts
from roomie.errors import PlacementError
from roomie.placers.base import check_requests, fastest_variant
from roomie.placers.roomie import RoomiePlacer, RoomieSettings
from roomie.plans import Decision, Plan
from roomie.profiles import Variant
from roomie.tables import Floats

_Types = dict[tuple[int, float | None], list[Request]]
"""Requests that are alike: variant, and latency objective."""

MOST_COLUMNS = 400_000
"""More would take minutes and gigabytes."""


@dataclass(frozen=True, kw_only=True)
class OptimumSettings:
    """How to search.

    Attributes:
        objective: which drop is minimised, summed over all instances.
        most_together: most new instances on one GPU; a smaller number is faster, and the result is
            the optimum under that limit.
        time_limit_s: of the solver.
        gap: relative distance from the bound at which it may stop; 0 proves optimality.
    """

    objective: Objective = "throughput-loss"
    most_together: int = 5
    time_limit_s: float = 60.0
    gap: float = 0.0


@dataclass(frozen=True, kw_only=True)
class _Column:
    """A set of new instances for one GPU of a class: how many of each type, and its cost."""

    gpu_class: int
    counts: tuple[int, ...]
    cost: float


class OptimumPlacer:
    """See the module. All requests are placed, or none: it defers nothing.

    Spreading and removable instances are not taken into account; latency objectives are.

    Args:
        costs: predictions.
        settings: how to search.
    """

    def __init__(self, costs: PairCosts, settings: OptimumSettings | None = None) -> None:
        self.costs = costs
        self.settings = settings or OptimumSettings()

    @property
    def name(self) -> str:
        """As in the entry point."""
        return "optimum"

    def place(self, state: ClusterState, requests: Sequence[Request]) -> Plan:
        """See `Placer.place`.

        Raises:
            PlacementError: there is no placement, none was found in time, or the case is too large.
            MissingDependencyError: HiGHS is not installed.
        """
        if not requests:
            return Plan(placer=self.name, decisions=(), state=state)
        board = Board.of(state, self.costs, self.settings.objective)
        check_requests(board, requests)
        types: _Types = {}
        variants = self._variants(board, state, requests)
        for request in requests:
            index = self.costs.index(variants[request.id])
            board.try_everywhere(index)  # fills in its pairs
            types.setdefault((index, request.latency_s), []).append(request)
        classes = self._classes(board)
        columns = list(self._columns(board, types, classes))
        start = self._start(state, types, classes)
        chosen, note = self._solve(columns, types, classes, start)
        decisions = self._carry_out(board, types, classes, chosen)
        return Plan(
            placer=self.name,
            decisions=tuple(decisions[request.id] for request in requests),
            state=board.to_state(),
            notes=(note,),
        )

    def _variants(
        self, board: Board, state: ClusterState, requests: Sequence[Request]
    ) -> dict[str, Variant]:
        """Batch sizes as asked for, or as ROOMIE chooses them: they are not optimised."""
        settings = RoomieSettings(
            limit=math.inf, search=None, evict=False, objective=self.settings.objective
        )
        free = [request for request in requests if request.batch is None]
        chosen = RoomiePlacer(self.costs, settings).place(state, free) if free else None
        variants = {r.id: fastest_variant(self.costs, board, r) for r in requests}
        for decision in chosen.decisions if chosen is not None else ():
            if decision.variant is not None:
                variants[decision.request.id] = decision.variant
        return variants

    def _classes(self, board: Board) -> list[list[int]]:
        """GPUs that are alike: of one kind, with the same content."""
        alike: dict[Any, list[int]] = {}
        for row in range(len(board.counts)):
            content = tuple(
                sorted(
                    zip(
                        (int(t) for t in board.types[row]),
                        (float(m) for m in board.most_slowdown[row]),
                        strict=True,
                    )
                )
            )
            key = (int(board.kind[row]), float(board.most[row]), content)
            alike.setdefault(key, []).append(row)
        return list(alike.values())

    def _start(
        self,
        state: ClusterState,
        types: _Types,
        classes: list[list[int]],
    ) -> Counter[tuple[int, tuple[int, ...]]]:
        """ROOMIE's placement as columns, for the solver to begin with."""
        most_instances = [
            math.inf if gpu.max_instances is None else gpu.max_instances for gpu in state.gpus
        ]
        kind_of = {r.id: kind for kind, queue in enumerate(types.values()) for r in queue}
        pinned = [
            replace(request, batch=self.costs.variants[index].batch)
            for (index, _), queue in types.items()
            for request in queue
        ]
        settings = RoomieSettings(limit=math.inf, objective=self.settings.objective, evict=False)
        # Within the limit that the columns keep: another placement could not be expressed.
        gpus = [
            replace(gpu, max_instances=int(min(most, len(on) + self.settings.most_together)))
            for gpu, on, most in zip(state.gpus, state.residents, most_instances, strict=True)
        ]
        limited = ClusterState(gpus, state.residents, checked=True)
        plan = RoomiePlacer(self.costs, settings).place(limited, pinned)
        used: Counter[tuple[int, tuple[int, ...]]] = Counter()
        for position, rows in enumerate(classes):
            for row in rows:
                counts = [0] * len(types)
                for instance in plan.state.residents[row]:
                    if instance.id in kind_of:
                        counts[kind_of[instance.id]] += 1
                used[position, tuple(counts)] += 1
        return used

    def _columns(
        self,
        board: Board,
        types: _Types,
        classes: list[list[int]],
    ) -> Iterator[_Column]:
        available = [len(requests) for requests in types.values()]
        kinds = list(types)
        most = min(self.settings.most_together, sum(available))
        self._refuse_large(len(kinds), most, len(classes))
        limits = np.array(available)
        for position, rows in enumerate(classes):
            for size in range(most + 1):
                groups = list(combinations_with_replacement(range(len(kinds)), size))
                picked = np.array(groups, dtype=np.intp).reshape(len(groups), size)
                counts = np.stack([(picked == k).sum(axis=1) for k in range(len(kinds))], axis=1)
                possible = (counts <= limits).all(axis=1)
                picked, counts = picked[possible], counts[possible]
                costs = self._group_costs(board, rows[0], kinds, picked)
                for group, cost in zip(counts.tolist(), costs.tolist(), strict=True):
                    if math.isfinite(cost):
                        yield _Column(gpu_class=position, counts=tuple(group), cost=cost)

    def _refuse_large(self, kinds: int, most: int, classes: int) -> None:
        columns = classes * sum(math.comb(kinds + size - 1, size) for size in range(most + 1))
        if columns > MOST_COLUMNS:
            raise PlacementError(
                f"too large to solve exactly: {columns} sets of instances that may share a GPU "
                f"(at most {MOST_COLUMNS})\n"
                "  remedy: lower most_together, or place with roomie"
            )

    def _group_costs(
        self,
        board: Board,
        row: int,
        kinds: Sequence[tuple[int, float | None]],
        picked: NDArray[np.intp],
    ) -> Floats:
        """Sums of the drops on a GPU with groups of new instances; infinite where not allowed.

        Args:
            board: the cluster.
            row: the GPU.
            kinds: variants and latency objectives of new instances.
            picked: indexes into ``kinds``, shape (groups, new instances).
        """
        costs = board.device_costs(row)
        count = int(board.counts[row])
        indexes = np.array([index for index, _ in kinds], dtype=np.intp)
        most = np.array(
            [
                math.inf if latency is None else latency / costs.alone_s[index] - 1
                for index, latency in kinds
            ]
        )
        groups = len(picked)
        variants = np.concatenate(
            [np.tile(board.types[row, :count], (groups, 1)), indexes[picked]], axis=1
        )
        limits = np.concatenate(
            [np.tile(board.most_slowdown[row, :count], (groups, 1)), most[picked]], axis=1
        )
        size = variants.shape[1]
        slowdown = np.zeros(variants.shape)
        for one in range(size):
            for other in range(size):
                if one != other:
                    slowdown[:, one] += costs.slowdown[variants[:, one], variants[:, other]]
        known = np.isfinite(costs.alone_s[variants]).all(axis=1)
        memory = board.memory[row] + costs.memory_bytes[indexes[picked]].sum(axis=1)
        allowed = (
            known
            & (slowdown <= limits).all(axis=1)
            & (memory <= board.capacity[row])
            & (size <= board.most[row])
        )
        summed = loss_of(slowdown, self.settings.objective).sum(axis=1)
        return np.where(allowed, summed, np.inf)

    def _solve(
        self,
        columns: Sequence[_Column],
        types: _Types,
        classes: list[list[int]],
        start: Counter[tuple[int, tuple[int, ...]]],
    ) -> tuple[list[tuple[_Column, int]], str]:
        highs = _highs()
        solver = highs.Highs()
        solver.setOptionValue("output_flag", False)
        solver.setOptionValue("time_limit", self.settings.time_limit_s)
        solver.setOptionValue("mip_rel_gap", self.settings.gap)
        solver.setOptionValue("mip_abs_gap", 0.0)
        solver.setOptionValue("threads", 1)
        solver.setOptionValue("random_seed", 0)
        covers = [len(requests) for requests in types.values()]
        lower = [*map(float, covers), *(float(len(rows)) for rows in classes)]
        starts, indexes, values = [0], [], []
        for column in columns:
            for kind, count in enumerate(column.counts):
                if count:
                    indexes.append(kind)
                    values.append(float(count))
            indexes.append(len(covers) + column.gpu_class)
            values.append(1.0)
            starts.append(len(indexes))
        model = highs.HighsLp()
        model.num_col_ = len(columns)
        model.num_row_ = len(lower)
        model.col_cost_ = np.array([column.cost for column in columns])
        model.col_lower_ = np.zeros(len(columns))
        model.col_upper_ = np.array([float(len(classes[c.gpu_class])) for c in columns])
        model.row_lower_ = np.array(lower)
        model.row_upper_ = np.array(lower)
        model.a_matrix_.format_ = highs.MatrixFormat.kColwise
        model.a_matrix_.start_ = np.array(starts, dtype=np.int32)
        model.a_matrix_.index_ = np.array(indexes, dtype=np.int32)
        model.a_matrix_.value_ = np.array(values)
        model.integrality_ = [highs.HighsVarType.kInteger] * len(columns)
        solver.passModel(model)
        begin = highs.HighsSolution()
        begin.col_value = [float(start[column.gpu_class, column.counts]) for column in columns]
        solver.setSolution(begin)  # one that does not fit is not used
        solver.run()
        status = solver.getModelStatus()
        info = solver.getInfo()
        if status == highs.HighsModelStatus.kInfeasible:
            raise PlacementError(
                "no placement of all requests keeps memory, counts and latency objectives\n"
                "  remedy: ask for less, or let most_together be larger "
                f"(it is {self.settings.most_together})"
            )
        if info.primal_solution_status != highs.SolutionStatus.kSolutionStatusFeasible:
            raise PlacementError(
                f"HiGHS found no placement within {self.settings.time_limit_s:g} s\n"
                "  remedy: raise the time limit, or place with roomie"
            )
        taken = np.rint(np.array(solver.getSolution().col_value)).astype(int)
        proven = status == highs.HighsModelStatus.kOptimal
        note = (
            f"{'optimal' if proven else 'time limit reached'}: drops' sum "
            f"{info.objective_function_value:.6f}, relative gap {max(info.mip_gap, 0.0):.2g}, "
            f"{len(columns)} sets, at most {self.settings.most_together} new instances a GPU"
        )
        return [(c, int(times)) for c, times in zip(columns, taken, strict=True) if times], note

    def _carry_out(
        self,
        board: Board,
        types: _Types,
        classes: list[list[int]],
        chosen: Sequence[tuple[_Column, int]],
    ) -> dict[str, Decision]:
        waiting = {key: list(queue) for key, queue in types.items()}
        free = [list(rows) for rows in classes]
        decisions: dict[str, Decision] = {}
        for column, times in chosen:
            for _ in range(times):
                row = free[column.gpu_class].pop(0)
                for (index, latency), count in zip(waiting, column.counts, strict=True):
                    variant = self.costs.variants[index]
                    for _ in range(count):
                        request = waiting[index, latency].pop(0)
                        board.add(row, Instance(request=request, variant=variant))
                        decisions[request.id] = Decision(
                            request=request,
                            gpu=board.state.gpus[row].id,
                            variant=variant,
                            reasons=("part of the cheapest placement of all requests",),
                        )
        return decisions


def _highs() -> Any:
    try:
        import highspy  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingDependencyError(
            f"the placer `optimum` needs HiGHS: {error}\n  remedy: pip install 'videojam[optimum]'"
        ) from error
    return highspy


def build(costs: PairCosts, _seed: int) -> OptimumPlacer:
    """The placer of the entry point."""
    return OptimumPlacer(costs)
