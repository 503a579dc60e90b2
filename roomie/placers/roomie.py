"""ROOMIE's placer: thesis Algorithm 3, and what serving needs beyond it.

A request goes where the mean predicted drop of all models on that GPU stays below lambda and is
least (Algorithm 3), memory first. Beyond the thesis: batch sizes chosen with the GPU, latency
objectives, spreading over nodes, making room by removing or moving others, and a local search over
the greedy result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from roomie.board import Board, Objective, Trial
from roomie.cluster import ClusterState, Instance, Request
from roomie.costs import PairCosts
from roomie.local_search import LocalSearch, MoveBudget, SearchSettings
from roomie.placers.base import (
    Choice,
    GreedyPlacer,
    Refusal,
    allowed_rows,
    check_requests,
)
from roomie.plans import Alternative, Decision, Move, Plan, Removal
from roomie.profiles import Variant
from roomie.tables import Floats

Criterion = Literal["gpu-mean", "increase"]


@dataclass(frozen=True, kw_only=True)
class RoomieSettings:
    """How ROOMIE decides.

    Attributes:
        limit: lambda, most drop that a placement may bring (0.5: half the throughput).
        limit_on: whether lambda bounds the ``mean`` over the GPU's models, or the ``max``: no
            model may lose more, as the comment in Algorithm 3 has it.
        criterion: what is least: the GPU's mean drop (``gpu-mean``, as printed), or the
            ``increase`` of the drops' sum, which is what the cluster's mean depends on.
        objective: which drop.
        search: of the local search over new instances; None for the greedy result.
        budget: what may be moved of the instances that run already.
        evict: whether removable instances go when one that is not finds no room.
        alternatives: GPUs that a decision remembers.
    """

    limit: float = 0.5
    limit_on: Literal["mean", "max"] = "mean"
    criterion: Criterion = "increase"
    objective: Objective = "throughput-loss"
    search: SearchSettings | None = field(default_factory=SearchSettings)
    budget: MoveBudget = field(default_factory=MoveBudget)
    evict: bool = True
    alternatives: int = 3


PRINTED = RoomieSettings(criterion="gpu-mean", search=None, evict=False)
"""Algorithm 3 as it is printed."""


class RoomiePlacer(GreedyPlacer):
    """See the module.

    Args:
        costs: predictions.
        settings: how to decide.
    """

    def __init__(self, costs: PairCosts, settings: RoomieSettings | None = None) -> None:
        self.settings = settings or RoomieSettings()
        super().__init__(costs, self.settings.objective)

    @property
    def name(self) -> str:
        """As in the entry point."""
        return "roomie"

    def place(self, state: ClusterState, requests: Sequence[Request]) -> Plan:
        """See `Placer.place`."""
        board = Board.of(state, self.costs, self.objective)
        check_requests(board, requests)
        removals: list[Removal] = []
        moves: list[Move] = []
        decisions: dict[str, Decision] = {}
        # Those that may not be removed first: the others take what is left.
        for request in sorted(requests, key=lambda r: r.removable):
            decision = self._decide(board, request)
            if decision.gpu is None and not request.removable and self.settings.evict:
                decision = self._evict_for(board, request, decision, removals)
            if decision.gpu is None and self._moves_left(moves):
                decision = self._move_for(board, request, decision, moves)
            decisions[request.id] = decision
        placed = [name for name, decision in decisions.items() if decision.gpu is not None]
        if self.settings.search is not None and len(placed) > 1:
            self._search(board, placed, decisions)
        return Plan(
            placer=self.name,
            decisions=tuple(decisions[request.id] for request in requests),
            state=board.to_state(),
            moves=tuple(moves),
            removals=tuple(removals),
        )

    def choose(self, board: Board, request: Request) -> Choice | Refusal:
        """Algorithm 3 for one request, over all batch sizes where it names none."""
        if request.batch is not None:
            variants: tuple[Variant, ...] = (Variant(request.model, request.batch),)
        else:
            variants = self.costs.batches(request.model)
        best: tuple[float, Choice] | None = None
        refused: list[str] = []
        for variant in variants:
            found = self._choose_gpu(board, request, variant)
            if isinstance(found, Refusal):
                refused += [f"{variant}: {reason}" for reason in found.reasons]
                continue
            benefit, choice = found
            # Ties go to the smaller batch: it answers sooner.
            if best is None or benefit > best[0] + 1e-9:
                best = benefit, choice
        if best is None:
            return Refusal(reasons=tuple(refused))
        if len(variants) == 1:
            return best[1]
        why = f"batch size {best[1].variant.batch} of {[v.batch for v in variants]}: most is gained"
        return replace(best[1], reasons=(why, *best[1].reasons))

    def _choose_gpu(
        self, board: Board, request: Request, variant: Variant
    ) -> tuple[float, Choice] | Refusal:
        """Algorithm 3: the best GPU at one batch size, and what is gained by it."""
        index = self.costs.index(variant)
        trial = board.try_everywhere(index, request.latency_s, request.duty)
        rows, reasons = allowed_rows(board, trial, request)
        rows, more = self._within_limits(board, trial, rows, index, request.duty)
        rows, slow = _fast_enough(trial, rows, request)
        more = (*more, *slow)
        score = trial.mean if self.settings.criterion == "gpu-mean" else trial.increase
        free = board.capacity - board.memory
        row = board.pick(rows, (score, board.counts.astype(np.float64), -free))
        if row is None:
            return Refusal(reasons=(*reasons, *more))
        alternatives = self._alternatives(board, rows, score, variant, row)
        return (
            0.0 if request.batch is not None else self._benefit(board, trial, request, row),
            Choice(
                row=row,
                variant=variant,
                reasons=(self._why(board, trial, row), *reasons, *more),
                alternatives=alternatives,
            ),
        )

    def _within_limits(
        self, board: Board, trial: Trial, rows: NDArray[np.bool_], index: int, duty: float
    ) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
        reasons = []
        late = rows & ~trial.in_time
        if late.any():
            reasons.append(
                f"{int(late.sum())} GPU(s) left out: a latency objective would be missed"
            )
        rows = rows & trial.in_time
        drop = trial.mean
        if self.settings.limit_on == "max":
            drop = board.worst_with(index, duty)
        # A model alone on its GPU drops nothing, whatever lambda is.
        over = rows & ~(drop < self.settings.limit) & (board.counts > 0)
        if over.any():
            reasons.append(
                f"{int(over.sum())} GPU(s) left out: the {self.settings.limit_on} drop would reach "
                f"lambda = {self.settings.limit:g}"
            )
        return rows & ~over, tuple(reasons)

    def _why(self, board: Board, trial: Trial, row: int) -> str:
        gpu = board.state.gpus[row]
        if not board.counts[row]:
            return f"{gpu.id} is empty: nothing interferes"
        what = "mean drop" if self.settings.criterion == "gpu-mean" else "increase of drops"
        value = trial.mean[row] if self.settings.criterion == "gpu-mean" else trial.increase[row]
        beside = ", ".join(str(instance.variant) for instance in board.residents[row])
        return (
            f"least {what} ({value:.4f}) beside {beside}; the new one is slowed by "
            f"{100 * trial.slowdown[row]:.1f} %, the mean drop on {gpu.id} becomes "
            f"{100 * trial.mean[row]:.1f} %"
        )

    def _alternatives(
        self, board: Board, rows: NDArray[np.bool_], score: Floats, variant: Variant, first: int
    ) -> tuple[Alternative, ...]:
        allowed = np.flatnonzero(rows)
        count = min(self.settings.alternatives, len(allowed))
        best = allowed[np.argpartition(score[allowed], count - 1)[:count]] if count else allowed
        order = [first, *(int(r) for r in sorted(best, key=lambda r: score[r]) if r != first)]
        return tuple(
            Alternative(gpu=board.state.gpus[r].id, variant=variant, score=float(score[r]))
            for r in order[: self.settings.alternatives]
        )

    def _benefit(self, board: Board, trial: Trial, request: Request, row: int) -> float:
        """What a batch size gains, in models at their best: its own share less others' losses.

        Serving more than was asked for is no gain.
        """
        wanted = request.rate if request.rate is not None else np.inf
        own = [self.costs.index(v) for v in self.costs.batches(request.model)]
        best = min(board.best_throughput(own), wanted)
        share = min(float(trial.throughput[row]), wanted) / best
        new_loss = float(trial.slowdown[row])
        if self.objective == "throughput-loss":
            new_loss = new_loss / (1 + new_loss)
        return share - (float(trial.increase[row]) - new_loss * request.duty)

    def _evict_for(
        self, board: Board, request: Request, refused: Decision, removals: list[Removal]
    ) -> Decision:
        """Room by removing removable instances: as few as possible, on the GPU left best off."""
        best: tuple[int, float, int, list[str], Choice] | None = None
        for row, on in enumerate(board.residents):
            names = [instance.id for instance in on if instance.request.removable]
            if not names:
                continue
            trial_board = board.copy()
            gone: list[str] = []
            # The one that loses most goes first: it gains least from staying.
            while names:
                slots = {n: trial_board.slot_of(row, n) for n in names}
                worst = max(names, key=lambda n: (trial_board.felt[row, slots[n]], n))
                trial_board.take(row, slots[worst])
                names.remove(worst)
                gone.append(worst)
                choice = self.choose(trial_board, request)
                if isinstance(choice, Choice):
                    score = trial_board.total()
                    if best is None or (len(gone), score, row) < best[:3]:
                        best = len(gone), score, row, gone, choice
                    break
        if best is None:
            return refused
        _, _, row, gone, choice = best
        gpu = board.state.gpus[row].id
        for name in gone:
            board.take(row, board.slot_of(row, name))
            removals.append(
                Removal(
                    instance=name, gpu=gpu, reason=f"removable, and {request.id} needs its room"
                )
            )
        return self._carry_out(board, request, choice, f"after removing {', '.join(gone)}")

    def _move_for(
        self, board: Board, request: Request, refused: Decision, moves: list[Move]
    ) -> Decision:
        """Room by moving one instance elsewhere: the defragmentation that costs least to load."""
        best: tuple[float, int, str, Choice, Choice] | None = None
        for row, on in enumerate(board.residents):
            for instance in on:
                if instance.id not in board.state.instances:
                    continue  # placed a moment ago: the local search moves it for nothing
                load = self._weight(board, row, instance)
                if best is not None and load >= best[0]:
                    continue
                if not self._load_allowed(moves, load):
                    continue
                found = self._try_move(board, request, row, instance)
                if found is not None:
                    best = load, row, instance.id, *found
        if best is None:
            return refused
        load, row, name, there, choice = best
        instance = board.take(row, board.slot_of(row, name))
        board.add(there.row, instance)
        moves.append(
            Move(
                instance=name,
                source=board.state.gpus[row].id,
                target=board.state.gpus[there.row].id,
                weight_bytes=int(load),
                reason=f"{request.id} needs its room",
            )
        )
        return self._carry_out(board, request, choice, f"after moving {name}")

    def _try_move(
        self, board: Board, request: Request, row: int, instance: Instance
    ) -> tuple[Choice, Choice] | None:
        trial_board = board.copy()
        trial_board.take(row, trial_board.slot_of(row, instance.id))
        choice = self.choose(trial_board, request)
        if isinstance(choice, Refusal):
            return None
        trial_board.add(choice.row, Instance(request=request, variant=choice.variant))
        pinned = replace(instance.request, batch=instance.variant.batch)
        there = self.choose(trial_board, pinned)
        if isinstance(there, Refusal) or there.row == row:
            return None
        return there, choice

    def _carry_out(self, board: Board, request: Request, choice: Choice, how: str) -> Decision:
        board.add(choice.row, Instance(request=request, variant=choice.variant))
        return Decision(
            request=request,
            gpu=board.state.gpus[choice.row].id,
            variant=choice.variant,
            reasons=(how, *choice.reasons),
            alternatives=choice.alternatives,
        )

    def _moves_left(self, moves: Sequence[Move]) -> bool:
        return len(moves) < self.settings.budget.moves

    def _load_allowed(self, moves: Sequence[Move], load: float) -> bool:
        most = self.settings.budget.bytes
        return most is None or sum(move.weight_bytes for move in moves) + load <= most

    def _weight(self, board: Board, row: int, instance: Instance) -> float:
        index = self.costs.index(instance.variant)
        return float(board.device_costs(row).weight_bytes[index])

    def _search(self, board: Board, placed: Sequence[str], decisions: dict[str, Decision]) -> None:
        """Improve where the new instances went."""
        before = board.total()
        LocalSearch(
            board, new=set(placed), limit=self.settings.limit, settings=self.settings.search
        ).run()
        where = {instance.id: row for row, on in enumerate(board.residents) for instance in on}
        gained = before - board.total()
        for name in placed:
            gpu = board.state.gpus[where[name]].id
            why = (
                f"the local search took it from {decisions[name].gpu} to {gpu}; in all, the "
                f"drops' sum fell by {gained:.4f}"
            )
            if gpu != decisions[name].gpu:
                decisions[name] = replace(
                    decisions[name],
                    gpu=gpu,
                    reasons=(why, *decisions[name].reasons),
                )

    def rebalance(self, state: ClusterState, *, reason: str = "less interference") -> Plan:
        """Move running instances where they disturb less, within the budget.

        For after removals, and every now and then.
        """
        board = Board.of(state, self.costs, self.objective)
        LocalSearch(
            board,
            new=(),
            limit=self.settings.limit,
            budget=self.settings.budget,
            settings=self.settings.search or SearchSettings(),
        ).run()
        moves = []
        for row, on in enumerate(board.residents):
            for instance in on:
                source, _ = state.instances[instance.id]
                if source != row:
                    moves.append(
                        Move(
                            instance=instance.id,
                            source=state.gpus[source].id,
                            target=state.gpus[row].id,
                            weight_bytes=int(self._weight(board, row, instance)),
                            reason=reason,
                        )
                    )
        return Plan(placer=self.name, decisions=(), state=board.to_state(), moves=tuple(moves))


def _fast_enough(
    trial: Trial, rows: NDArray[np.bool_], request: Request
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """GPUs on which a request reaches its rate, where there are any."""
    if request.rate is None:
        return rows, ()
    enough = rows & (trial.throughput >= request.rate)
    if not enough.any():
        return rows, (f"no GPU reaches {request.rate:g} items/s at this batch size",)
    lost = int((rows & ~enough).sum())
    note = (f"{lost} GPU(s) left out: fewer than {request.rate:g} items/s there",)
    return enough, note if lost else ()


def build(costs: PairCosts, seed: int) -> RoomiePlacer:
    """The placer of the entry point."""
    return RoomiePlacer(costs, RoomieSettings(search=SearchSettings(seed=seed)))
