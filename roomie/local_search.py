"""Improve a placement by moving and swapping instances, within limits.

Works on groups: what is on a GPU, as a sorted tuple of variants and latency limits. A group's cost
is looked up once and kept, so that a swap is two look-ups.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from roomie.board import Board, loss_of
from roomie.cluster import Instance, Request

_Member = tuple[int, float, float]
"""Variant, the most that it may be slowed down, and its duty."""

_Group = tuple[_Member, ...]

_LEAST_GAIN = 1e-9


@dataclass(frozen=True, kw_only=True)
class MoveBudget:
    """What may be moved of the instances that run already; new ones move for nothing.

    Attributes:
        moves: most of them.
        bytes: most weights to load; None for no limit.
    """

    moves: int = 0
    bytes: float | None = None


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How long to search.

    Attributes:
        kicks: how often a local optimum is left by random swaps (seeded) to search on from there.
        kick_size: swaps a kick.
        most_rows: GPUs that an instance may be moved to; the best ones where there are more.
        most_movable: instances considered; the ones that lose most where there are more.
        seed: of the kicks.
    """

    kicks: int = 20
    kick_size: int = 2
    most_rows: int = 48
    most_movable: int = 96
    seed: int = 0


class LocalSearch:
    """One search over a board.

    Args:
        board: what to improve; `run` changes it.
        new: ids of instances that are not loaded yet.
        limit: most mean drop of a GPU (Algorithm 3's lambda); more counts as infinitely bad.
        budget: for the others.
        settings: how long to search.
    """

    def __init__(
        self,
        board: Board,
        *,
        new: Collection[str],
        limit: float,
        budget: MoveBudget | None = None,
        settings: SearchSettings | None = None,
    ) -> None:
        self._board = board
        self._limit = limit
        self._budget = budget or MoveBudget()
        self._settings = settings or SearchSettings()
        self._costs: dict[tuple[int, _Group], float] = {}
        self._items: list[Instance] = []
        self._variants: list[int] = []
        self._origin: list[int | None] = []
        self._at: list[int] = []
        self._on: list[list[int]] = []
        for row, on in enumerate(board.residents):
            self._on.append([])
            for slot, instance in enumerate(on):
                self._on[row].append(len(self._items))
                self._items.append(instance)
                self._variants.append(int(board.types[row, slot]))
                self._origin.append(None if instance.id in new else row)
                self._at.append(row)
        self._start = tuple(self._at)
        self._memory = board.memory.copy()
        self._group = [self._group_of(row, on) for row, on in enumerate(self._on)]
        self._cost = [self._cost_of(row, group) for row, group in enumerate(self._group)]
        self._movable = self._choose_movable()
        self._rows = self._choose_rows()
        self._spreading = any(i.request.spread == "require" for i in self._items)

    def run(self) -> None:
        """Search, and leave the best placement on the board."""
        if not self._movable:
            return
        rng = np.random.default_rng(self._settings.seed)
        self._descend()
        best, best_cost = list(self._at), sum(self._cost)
        for _ in range(self._settings.kicks if len(self._movable) > 2 else 0):
            self._kick(rng)
            self._descend()
            cost = sum(self._cost)
            if cost < best_cost - _LEAST_GAIN:
                best, best_cost = list(self._at), cost
            else:
                self._restore(best)
        self._restore(best)
        self._write_back()

    def _choose_movable(self) -> list[int]:
        movable = [
            item
            for item, origin in enumerate(self._origin)
            if origin is None or self._budget.moves > 0
        ]
        most = self._settings.most_movable
        if len(movable) > most:
            movable.sort(key=lambda item: (self._origin[item] is not None, -self._drop(item), item))
            movable = sorted(movable[:most])
        return movable

    def _drop(self, item: int) -> float:
        row = self._at[item]
        slot = self._board.slot_of(row, self._items[item].id)
        return float(self._board.felt[row, slot])

    def _choose_rows(self) -> list[int]:
        rows = len(self._on)
        if rows <= self._settings.most_rows:
            return list(range(rows))
        # Those that are movable's own, then those that lose least.
        own = {self._at[item] for item in self._movable}
        calm = sorted(range(rows), key=lambda row: (row not in own, self._cost[row], row))
        return sorted(calm[: max(self._settings.most_rows, len(own))])

    def _member(self, row: int, item: int) -> _Member:
        request = self._items[item].request
        variant = self._variants[item]
        if request.latency_s is None:
            return variant, float("inf"), request.duty
        return variant, request.latency_s / self._board.alone_s(row, variant) - 1, request.duty

    def _group_of(self, row: int, on: Sequence[int]) -> _Group:
        return tuple(sorted(self._member(row, item) for item in on))

    def _cost_of(self, row: int, group: _Group) -> float:
        """Sum of the drops of a group; infinite where it may not be."""
        if not group:
            return 0.0
        key = (int(self._board.kind[row]), group)
        known = self._costs.get(key)
        if known is None:
            known = self._costs[key] = self._work_out(row, group)
        return known

    def _work_out(self, row: int, group: _Group) -> float:
        variants = [variant for variant, _, _ in group]
        duty = np.array([share for _, _, share in group])
        pairs = self._board.device_costs(row).slowdown[np.ix_(variants, variants)]
        unknown = bool(np.isnan(pairs).any())
        np.fill_diagonal(pairs, 0.0)
        slowdown = pairs.sum(axis=1)
        if unknown or any(own > most for own, (_, most, _) in zip(slowdown, group, strict=True)):
            return float("inf")
        total = float(loss_of(pairs @ duty, self._board.objective) @ duty)
        within = total / duty.sum() < self._limit or len(group) == 1
        return total if within else float("inf")

    def _descend(self) -> None:
        improved = True
        while improved:
            improved = False
            for item in self._movable:
                improved |= self._best_move(item)
            for position, item in enumerate(self._movable):
                for other in self._movable[position + 1 :]:
                    improved |= self._try_swap(item, other)

    def _best_move(self, item: int) -> bool:
        source = self._at[item]
        rest = self._group_of(source, [other for other in self._on[source] if other != item])
        left = self._cost_of(source, rest)
        best_gain, best_row = _LEAST_GAIN, None
        for row in self._rows:
            if row == source or not self._may_go(item, row, leaving=None):
                continue
            joined = self._group_of(row, [*self._on[row], item])
            # inf - inf is nan, which is no gain.
            gain = self._cost[source] + self._cost[row] - left - self._cost_of(row, joined)
            if gain > best_gain:
                best_gain, best_row = gain, row
        if best_row is None or not self._affordable([(item, best_row)]):
            return False
        self._relocate([(item, best_row)])
        return True

    def _try_swap(self, item: int, other: int) -> bool:
        source, target = self._at[item], self._at[other]
        if source == target or self._variants[item] == self._variants[other]:
            return False
        first = self._group_of(source, [*(i for i in self._on[source] if i != item), other])
        second = self._group_of(target, [*(i for i in self._on[target] if i != other), item])
        after = self._cost_of(source, first) + self._cost_of(target, second)
        if not after < self._cost[source] + self._cost[target] - _LEAST_GAIN:
            return False
        changes = [(item, target), (other, source)]
        if not (
            self._may_go(item, target, leaving=other)
            and self._may_go(other, source, leaving=item)
            and self._affordable(changes)
        ):
            return False
        self._relocate(changes)
        return True

    def _may_go(self, item: int, row: int, *, leaving: int | None) -> bool:
        needs = self._board.device_costs(row).memory_bytes
        used = self._memory[row] + needs[self._variants[item]]
        count = len(self._on[row]) + 1
        if leaving is not None:
            used -= needs[self._variants[leaving]]
            count -= 1
        if used > self._board.capacity[row] or count > self._board.most[row]:
            return False
        return not self._spreading or self._keeps_apart(item, row, leaving)

    def _keeps_apart(self, item: int, row: int, leaving: int | None) -> bool:
        node = self._board.node[row]
        request = self._items[item].request
        return not any(
            apart(request, self._items[other].request)
            for near in np.flatnonzero(self._board.node == node)
            for other in self._on[near]
            if other not in (item, leaving)
        )

    def _affordable(self, changes: Sequence[tuple[int, int]]) -> bool:
        where = dict(changes)
        moved = [
            item
            for item in self._movable
            if self._origin[item] is not None
            and where.get(item, self._at[item]) != self._origin[item]
        ]
        if len(moved) > self._budget.moves:
            return False
        if self._budget.bytes is None or not moved:
            return True
        loaded = sum(
            float(
                self._board.device_costs(where.get(item, self._at[item])).weight_bytes[
                    self._variants[item]
                ]
            )
            for item in moved
        )
        return loaded <= self._budget.bytes

    def _relocate(self, changes: Sequence[tuple[int, int]]) -> None:
        touched = set()
        for item, row in changes:
            source = self._at[item]
            self._on[source].remove(item)
            self._on[row].append(item)
            self._at[item] = row
            variant = self._variants[item]
            self._memory[source] -= self._board.device_costs(source).memory_bytes[variant]
            self._memory[row] += self._board.device_costs(row).memory_bytes[variant]
            touched |= {source, row}
        for row in touched:
            self._group[row] = self._group_of(row, self._on[row])
            self._cost[row] = self._cost_of(row, self._group[row])

    def _kick(self, rng: np.random.Generator) -> None:
        """Swap random instances, or move one, whatever it costs, as long as it is allowed."""
        for _ in range(self._settings.kick_size):
            for _ in range(8):
                item, other = (int(i) for i in rng.choice(self._movable, size=2, replace=False))
                changes = self._random_change(item, other)
                if changes and self._allowed(changes):
                    self._relocate(changes)
                    break

    def _random_change(self, item: int, other: int) -> list[tuple[int, int]]:
        source, target = self._at[item], self._at[other]
        if source == target:
            return []
        if self._may_go(item, target, leaving=other) and self._may_go(other, source, leaving=item):
            return [(item, target), (other, source)]
        return []

    def _allowed(self, changes: Sequence[tuple[int, int]]) -> bool:
        if not self._affordable(changes):
            return False
        (item, target), (other, source) = changes
        first = self._group_of(source, [*(i for i in self._on[source] if i != item), other])
        second = self._group_of(target, [*(i for i in self._on[target] if i != other), item])
        return math.isfinite(self._cost_of(source, first) + self._cost_of(target, second))

    def _restore(self, at: Sequence[int]) -> None:
        changes = [(item, row) for item, row in enumerate(at) if self._at[item] != row]
        if changes:
            self._relocate(changes)

    def _write_back(self) -> None:
        for item, (source, row) in enumerate(zip(self._start, self._at, strict=True)):
            if source != row:
                slot = self._board.slot_of(source, self._items[item].id)
                self._board.add(row, self._board.take(source, slot))


def apart(first: Request, second: Request) -> bool:
    """Whether two requests must not share a node."""
    return first.spread_group == second.spread_group and "require" in (
        first.spread,
        second.spread,
    )
