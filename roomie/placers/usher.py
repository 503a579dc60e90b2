"""Usher as the thesis' baseline (baselines.md sec. 3): compute-heavy beside memory-heavy models.

A model's C is its mean occupancy and its M the share of the GPU's memory that it needs, both in
percent. Models are put into as many groups as there are GPUs so that each group's C and M balance;
in a group, compute-heavy ones are paired with memory-heavy ones, and pairs share a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from roomie.board import Board
from roomie.cluster import ClusterState, Instance, Request
from roomie.costs import PairCosts
from roomie.placers.base import (
    Choice,
    GreedyPlacer,
    Refusal,
    allowed_rows,
    check_requests,
    fastest_variant,
)
from roomie.plans import Decision, Plan
from roomie.profiles import Variant

HEAVY = 1.2
"""Ratio of C to M, or of M to C, from which a model is heavy in one of them."""
MOST_IN_GROUP = 4
"""Models of a group, which then does not take in another."""


@dataclass(frozen=True, kw_only=True)
class _Member:
    """A model instance that is placed, or to be placed.

    Attributes:
        name: its id.
        compute: C, percent.
        memory: M, percent.
        row: its GPU; None while it is to be placed.
    """

    name: str
    compute: float
    memory: float
    row: int | None

    @property
    def weight(self) -> float:
        """C + M."""
        return self.compute + self.memory

    @property
    def compute_heavy(self) -> bool:
        """Whether C outweighs M."""
        return self.compute >= HEAVY * self.memory

    @property
    def memory_heavy(self) -> bool:
        """Whether M outweighs C."""
        return self.memory >= HEAVY * self.compute


@dataclass
class _Group:
    members: list[_Member] = field(default_factory=list)

    @property
    def compute(self) -> float:
        return sum(member.compute for member in self.members)

    @property
    def memory(self) -> float:
        return sum(member.memory for member in self.members)


class UsherPlacer(GreedyPlacer):
    """See the module. Requests of one plan are grouped together."""

    @property
    def name(self) -> str:
        """As in the entry point."""
        return "usher"

    def place(self, state: ClusterState, requests: Sequence[Request]) -> Plan:
        """See `Placer.place`."""
        board = Board.of(state, self.costs, self.objective)
        check_requests(board, requests)
        variants = {r.id: fastest_variant(self.costs, board, r) for r in requests}
        wanted = {r.id: r for r in requests}
        groups = [
            _Group([self._member(board, i.id, i.variant, row) for i in on])
            for row, on in enumerate(board.residents)
            if on
        ]
        groups += [_Group([self._member(board, r.id, variants[r.id], None)]) for r in requests]
        decisions: dict[str, Decision] = {}
        for group in merge_groups(groups, len(state.gpus)):
            partners = pair_up(group.members)
            # In the order of their pairs: a partner that is placed pulls the other to its GPU.
            for member in sorted(group.members, key=lambda m: (-m.weight, m.name)):
                for name in (member.name, partners.get(member.name)):
                    if name is None or name not in wanted or name in decisions:
                        continue
                    request = wanted[name]
                    chooser = self._choose_in_group(group, partners.get(name), variants[name])
                    decisions[name] = self._put(board, request, chooser)
        return Plan(
            placer=self.name,
            decisions=tuple(decisions[r.id] for r in requests),
            state=board.to_state(),
        )

    def choose(self, board: Board, request: Request) -> Choice | Refusal:
        """One request by itself: see `place`."""
        variant = fastest_variant(self.costs, board, request)
        return self._choose_in_group(_Group(), None, variant)(board, request)

    def _put(
        self,
        board: Board,
        request: Request,
        chooser: Callable[[Board, Request], Choice | Refusal],
    ) -> Decision:
        choice = chooser(board, request)
        if isinstance(choice, Refusal):
            return Decision(request=request, gpu=None, variant=None, reasons=choice.reasons)
        board.add(choice.row, Instance(request=request, variant=choice.variant))
        return Decision(
            request=request,
            gpu=board.state.gpus[choice.row].id,
            variant=choice.variant,
            reasons=choice.reasons,
        )

    def _choose_in_group(
        self, group: _Group, partner: str | None, variant: Variant
    ) -> Callable[[Board, Request], Choice | Refusal]:
        names = {member.name for member in group.members}

        def choose(board: Board, request: Request) -> Choice | Refusal:
            trial = board.try_everywhere(self.costs.index(variant))
            rows, reasons = allowed_rows(board, trial, request)
            loads = np.array(
                [
                    sum(self._member(board, i.id, i.variant, row).weight for i in on)
                    for row, on in enumerate(board.residents)
                ]
            )

            def hosting(wanted: set[str]) -> np.typing.NDArray[np.bool_]:
                return np.array([any(i.id in wanted for i in on) for on in board.residents])

            free = board.capacity - board.memory
            for why, allowed, key in (
                ("beside its partner", hosting({partner or ""}), -loads),
                ("an empty GPU", board.counts == 0, -free),
                ("beside its group", hosting(names), -loads),
                ("the most free memory", np.ones(len(rows), dtype=bool), -free),
            ):
                row = board.pick(rows & allowed, (key,))
                if row is not None:
                    return Choice(row=row, variant=variant, reasons=(why, *reasons))
            return Refusal(reasons=reasons)

        return choose

    def _member(self, board: Board, name: str, variant: Variant, row: int | None) -> _Member:
        index = self.costs.index(variant)
        # C and M depend on the kind of GPU; of one not placed, the first kind with a profile.
        rows = range(len(board.counts)) if row is None else (row,)
        for where in rows:
            costs = board.device_costs(where)
            self.costs.on(costs.device, (index,))
            if np.isfinite(costs.alone_s[index]):
                total = board.state.gpus[where].device.memory_bytes
                return _Member(
                    name=name,
                    compute=100 * float(costs.occupancy[index]),
                    memory=100 * float(costs.memory_bytes[index]) / total,
                    row=row,
                )
        return _Member(name=name, compute=0.0, memory=0.0, row=row)


def merge_groups(groups: Sequence[_Group], count: int) -> list[_Group]:
    """Merge disjoint pairs of groups, those whose C and M balance best first.

    Args:
        groups: to begin with.
        count: stop at as many groups, or when the first is full.
    """
    merged = list(groups)
    while len(merged) > count and len(merged[0].members) < MOST_IN_GROUP:
        pairs = sorted(
            combinations(range(len(merged)), 2),
            key=lambda pair: (
                abs(
                    merged[pair[0]].compute
                    + merged[pair[1]].compute
                    - merged[pair[0]].memory
                    - merged[pair[1]].memory
                ),
                pair,
            ),
        )
        used: set[int] = set()
        joined: list[_Group] = []
        left = len(merged)
        for first, second in pairs:
            if left == count:
                break
            if first in used or second in used:
                continue
            used |= {first, second}
            joined.append(_Group([*merged[first].members, *merged[second].members]))
            left -= 1
        merged = [*joined, *(g for position, g in enumerate(merged) if position not in used)]
    return merged


def pair_up(members: Sequence[_Member]) -> dict[str, str]:
    """Partners in a group: heaviest compute-heavy with heaviest memory-heavy, then the rest."""
    by_weight = sorted(members, key=lambda m: (-m.weight, m.name))
    compute = [m for m in by_weight if m.compute_heavy]
    memory = [m for m in by_weight if m.memory_heavy and not m.compute_heavy]
    pairs = list(zip(compute, memory, strict=False))
    paired = {member.name for pair in pairs for member in pair}
    rest = [m for m in by_weight if m.name not in paired]
    pairs += list(zip(rest[::2], rest[1::2], strict=False))
    partners = {}
    for first, second in pairs:
        partners[first.name] = second.name
        partners[second.name] = first.name
    return partners


def build(costs: PairCosts, _seed: int) -> UsherPlacer:
    """The placer of the entry point."""
    return UsherPlacer(costs)
