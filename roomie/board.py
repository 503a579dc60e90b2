"""A cluster's instances as arrays, on which a placer tries things out.

Rows are GPUs, columns slots. Adding a variant to every GPU at once is a few sums over them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from roomie.cluster import ClusterState, Instance
from roomie.costs import DeviceCosts, PairCosts
from roomie.errors import PlacementError
from roomie.tables import Floats

Objective = Literal["throughput-loss", "slowdown"]

MEMORY_SHARE = 0.9
"""Of a GPU's memory that instances may fill (baselines.md sec. 5)."""

_EMPTY = -1


def loss_of(slowdown: Floats, objective: Objective) -> Floats:
    """The drop that counts, of slowdowns: Algorithm 2 line 23, or Eq 4.6."""
    return slowdown if objective == "slowdown" else slowdown / (1 + slowdown)


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """What adding one variant to each GPU would do; arrays over GPUs.

    Attributes:
        fits_memory: whether its memory does.
        fits_count: whether the GPU takes one more instance.
        in_time: whether it and all residents keep their latency objectives.
        known: whether there is a profile for the GPU's device.
        loss_sum: sum of the drops of all instances on the GPU, the new one included, each by its
            duty.
        increase: by how much that is more than now.
        mean: ``loss_sum`` over the sum of the duties.
        slowdown: of the new one, by neighbours for the share of the time that they compute.
        latency_s: of the new one while all of its neighbours compute.
        throughput: items a second of the new one.
    """

    fits_memory: NDArray[np.bool_]
    fits_count: NDArray[np.bool_]
    in_time: NDArray[np.bool_]
    known: NDArray[np.bool_]
    loss_sum: Floats
    increase: Floats
    mean: Floats
    slowdown: Floats
    latency_s: Floats
    throughput: Floats


class Board:
    """A working copy of a cluster's state.

    Args:
        state: what to begin with; it is not changed.
        costs: predictions.
        objective: which drop is summed.

    Attributes:
        rows: GPU of each instance, by its id.
        keeping_apart: how many instances require spreading.
        slowdown: of each instance while all of its neighbours compute.
        felt: of each instance, by neighbours for the share of the time that they compute.
        duty: of each instance; 0 in empty slots.
    """

    def __init__(
        self, state: ClusterState, costs: PairCosts, objective: Objective = "throughput-loss"
    ) -> None:
        self.state = state
        self.costs = costs
        self.objective: Objective = objective
        self._set_up_devices(state)
        rows = len(state.gpus)
        self.counts = np.array([len(on) for on in state.residents], dtype=np.intp)
        slots = max(4, int(self.counts.max(initial=0)) + 1)
        self.types = np.full((rows, slots), _EMPTY, dtype=np.intp)
        self.most_slowdown: Floats = np.full((rows, slots), np.inf)
        self.duty: Floats = np.zeros((rows, slots))
        self.residents: list[list[Instance]] = [list(on) for on in state.residents]
        self.rows = {i.id: row for row, on in enumerate(state.residents) for i in on}
        self.keeping_apart = sum(
            i.request.spread == "require" for on in state.residents for i in on
        )
        self._changed: set[int] = set()
        self._ensured: list[set[int]] = [set() for _ in self._kinds]
        self._ensure({costs.index(i.variant) for on in self.residents for i in on})
        for row, on in enumerate(self.residents):
            for slot, instance in enumerate(on):
                self._fill_slot(row, slot, instance)
                if not np.isfinite(self.alone_s(row, int(self.types[row, slot]))):
                    gpu = state.gpus[row]
                    raise PlacementError(
                        f"the instance {instance.id} runs {instance.variant} on the GPU {gpu.id}, "
                        f"and no profile says what that does on {gpu.device.name}\n"
                        "  remedy: record one, or take the instance out of the state"
                    )
        self.memory = np.where(
            self.types == _EMPTY, 0.0, self._by_row("memory_bytes", self.types)
        ).sum(axis=1)
        self.slowdown, self.felt = self._all_slowdowns()

    def copy(self) -> Board:
        """A board of one's own with the same content."""
        twin = object.__new__(Board)
        twin.__dict__.update(self.__dict__)
        for name in ("counts", "types", "most_slowdown", "memory", "slowdown", "felt", "duty"):
            setattr(twin, name, getattr(self, name).copy())
        # Rows are replaced, never changed in place.
        twin.residents = list(self.residents)
        twin.rows = dict(self.rows)
        twin._changed = set(self._changed)
        twin._ensured = [set(known) for known in self._ensured]
        return twin

    @classmethod
    def of(cls, state: ClusterState, costs: PairCosts, objective: Objective) -> Board:
        """A board of a state; made once for a state, then copied."""
        key = (Board, id(costs), objective)
        kept = state.derived(key)
        if not isinstance(kept, Board):
            kept = cls(state, costs, objective)
            state.keep(key, kept)
        return kept.copy()

    def to_state(self) -> ClusterState:
        """The state that the board shows."""
        changed = {row: self.residents[row] for row in self._changed}
        state = self.state.with_residents(changed)
        kept = self.copy()
        kept.rebase(state)
        state.keep((Board, id(self.costs), self.objective), kept)
        return state

    def rebase(self, state: ClusterState) -> None:
        """Take a state that shows what the board shows as what changes are counted from."""
        self.state = state
        self._changed = set()

    def _set_up_devices(self, state: ClusterState) -> None:
        names: dict[str, int] = {}
        self.kind = np.array(
            [names.setdefault(gpu.device.name, len(names)) for gpu in state.gpus], dtype=np.intp
        )
        devices = {gpu.device.name: gpu.device for gpu in state.gpus}
        self._kinds: list[DeviceCosts] = [self.costs.on(devices[name], ()) for name in names]
        self.capacity = MEMORY_SHARE * np.array(
            [gpu.device.memory_bytes for gpu in state.gpus], dtype=np.float64
        )
        self.most = np.array(
            [np.inf if g.max_instances is None else g.max_instances for g in state.gpus]
        )
        node_names: dict[str, int] = {}
        self.node = np.array(
            [node_names.setdefault(gpu.node, len(node_names)) for gpu in state.gpus], dtype=np.intp
        )

    def _ensure(self, variants: set[int]) -> None:
        """Fill in pairs, and stack what is known by device."""
        for position, kind in enumerate(self._kinds):
            if not variants <= self._ensured[position]:
                self.costs.on(kind.device, variants)
                self._ensured[position] |= variants

    def _by_row(self, name: str, index: NDArray[np.intp] | int) -> Floats:
        """An array of each row's device, at a variant or at a variant a slot."""
        if len(self._kinds) == 1:
            values: Floats = getattr(self._kinds[0], name)[index]
            return values if np.ndim(index) else np.full(len(self.kind), values)
        stacked = np.stack([getattr(kind, name) for kind in self._kinds])
        kind = self.kind[:, None] if np.ndim(index) else self.kind
        picked: Floats = stacked[kind, index]
        return picked

    def _pairs(self, of: NDArray[np.intp] | int, by: NDArray[np.intp] | int) -> Floats:
        """Slowdowns of variants by variants, each an index or one a slot."""
        if len(self._kinds) == 1:
            picked: Floats = self._kinds[0].slowdown[of, by]
            return picked
        stacked = np.stack([kind.slowdown for kind in self._kinds])
        by_device: Floats = stacked[self.kind[:, None], of, by]
        return by_device

    def _all_slowdowns(self) -> tuple[Floats, Floats]:
        taken = self.types != _EMPTY
        summed = np.zeros(self.types.shape)
        felt = np.zeros(self.types.shape)
        for slot in range(self.types.shape[1]):
            by = self.types[:, slot][:, None]
            both = taken & taken[:, slot][:, None]
            both[:, slot] = False
            pairs = np.where(both, self._pairs(self.types, by), 0.0)
            summed += pairs
            felt += pairs * self.duty[:, slot][:, None]
        return summed, felt

    def _fill_slot(self, row: int, slot: int, instance: Instance) -> None:
        variant = self.costs.index(instance.variant)
        self.types[row, slot] = variant
        self.duty[row, slot] = instance.request.duty
        latency = instance.request.latency_s
        self.most_slowdown[row, slot] = np.inf
        if latency is not None:
            alone = self._kinds[self.kind[row]].alone_s[variant]
            self.most_slowdown[row, slot] = latency / alone - 1

    def try_everywhere(
        self, variant: int, latency_s: float | None = None, duty: float = 1.0
    ) -> Trial:
        """What adding an instance of a variant to each GPU would do."""
        self._ensure({variant})
        taken = self.types != _EMPTY
        by_new = np.where(taken, self._pairs(self.types, variant), 0.0)
        on_new = np.where(taken, self._pairs(variant, self.types), 0.0)
        felt_by_new = (on_new * self.duty).sum(axis=1)
        residents = self.slowdown + by_new
        after = (loss_of(self.felt + by_new * duty, self.objective) * self.duty).sum(axis=1)
        after += loss_of(felt_by_new, self.objective) * duty
        alone = self._by_row("alone_s", variant)
        latency = alone * (1 + on_new.sum(axis=1))
        # A resident that misses its objective already does not forbid what leaves it as it is.
        late = taken & (residents > self.most_slowdown) & (by_new > 0)
        in_time = ~late.any(axis=1)
        if latency_s is not None:
            in_time &= latency <= latency_s
        memory = self._by_row("memory_bytes", variant)
        return Trial(
            fits_memory=self.memory + memory <= self.capacity,
            fits_count=self.counts < self.most,
            in_time=in_time,
            known=np.isfinite(alone),
            loss_sum=after,
            increase=after - self.losses(),
            mean=after / (self.duty.sum(axis=1) + duty),
            slowdown=felt_by_new,
            latency_s=latency,
            throughput=self._by_row("throughput", variant) / (1 + felt_by_new),
        )

    def worst_with(self, variant: int, duty: float = 1.0) -> Floats:
        """The largest drop of any instance on each GPU if a variant were added to it."""
        taken = self.types != _EMPTY
        by_new = np.where(taken, self._pairs(self.types, variant), 0.0) * duty
        on_new = np.where(taken, self._pairs(variant, self.types), 0.0) * self.duty
        on_new = on_new.sum(axis=1)
        residents = np.where(taken, self.felt + by_new, 0.0)
        worst: Floats = loss_of(np.maximum(residents.max(axis=1), on_new), self.objective)
        return worst

    def add(self, row: int, instance: Instance) -> None:
        """Put an instance on a GPU."""
        variant = self.costs.index(instance.variant)
        self._ensure({variant})
        slot = int(self.counts[row])
        if slot == self.types.shape[1]:
            self._widen()
        on = slice(0, slot)
        matrix = self._kinds[self.kind[row]].slowdown
        others = self.types[row, on]
        self.slowdown[row, on] += matrix[others, variant]
        self.slowdown[row, slot] = matrix[variant, others].sum()
        self.felt[row, on] += matrix[others, variant] * instance.request.duty
        self.felt[row, slot] = matrix[variant, others] @ self.duty[row, on]
        self._fill_slot(row, slot, instance)
        self.memory[row] += self._kinds[self.kind[row]].memory_bytes[variant]
        self.counts[row] += 1
        self.residents[row] = [*self.residents[row], instance]
        self.rows[instance.id] = row
        self.keeping_apart += instance.request.spread == "require"
        self._changed.add(row)

    def take(self, row: int, slot: int) -> Instance:
        """Take an instance off a GPU; those behind it move up one slot."""
        instance = self.residents[row][slot]
        variant = int(self.types[row, slot])
        count = int(self.counts[row])
        for array, empty in (
            (self.types, _EMPTY),
            (self.most_slowdown, np.inf),
            (self.duty, 0.0),
            (self.slowdown, 0.0),
            (self.felt, 0.0),
        ):
            array[row, slot : count - 1] = array[row, slot + 1 : count]
            array[row, count - 1] = empty
        self.counts[row] -= 1
        # Summed anew: subtracting would leave rounding behind.
        others = self.types[row, : count - 1]
        matrix = self._kinds[self.kind[row]].slowdown
        pairs = matrix[np.ix_(others, others)]
        np.fill_diagonal(pairs, 0.0)
        self.slowdown[row, : count - 1] = pairs.sum(axis=1)
        self.felt[row, : count - 1] = pairs @ self.duty[row, : count - 1]
        self.memory[row] -= self._kinds[self.kind[row]].memory_bytes[variant]
        self.residents[row] = self.residents[row][:slot] + self.residents[row][slot + 1 :]
        del self.rows[instance.id]
        self.keeping_apart -= instance.request.spread == "require"
        self._changed.add(row)
        return instance

    def _widen(self) -> None:
        rows, slots = self.types.shape
        for name, empty in (
            ("types", _EMPTY),
            ("most_slowdown", np.inf),
            ("duty", 0.0),
            ("slowdown", 0.0),
            ("felt", 0.0),
        ):
            array = getattr(self, name)
            wider = np.full((rows, 2 * slots), empty, dtype=array.dtype)
            wider[:, :slots] = array
            setattr(self, name, wider)

    def losses(self) -> Floats:
        """Sum of the drops on each GPU, each by its instance's duty."""
        # In empty slots both are 0.
        summed: Floats = (loss_of(self.felt, self.objective) * self.duty).sum(axis=1)
        return summed

    def total(self) -> float:
        """Sum of the drops of all instances."""
        return float(self.losses().sum())

    def slot_of(self, row: int, name: str) -> int:
        """Slot of an instance on a GPU."""
        return next(s for s, instance in enumerate(self.residents[row]) if instance.id == name)

    def alone_s(self, row: int, variant: int) -> float:
        """Inference time of a variant alone on a GPU."""
        return float(self._kinds[self.kind[row]].alone_s[variant])

    def device_costs(self, row: int) -> DeviceCosts:
        """Costs on a GPU's device."""
        found: DeviceCosts = self._kinds[int(self.kind[row])]
        return found

    def best_throughput(self, variants: Sequence[int]) -> float:
        """Most items a second that any of some variants reaches alone on any kind of GPU."""
        self._ensure(set(variants))
        return max(
            float(np.nanmax(kind.throughput[list(variants)])) for kind in self._known(variants)
        )

    def _known(self, variants: Sequence[int]) -> list[DeviceCosts]:
        """Kinds of GPUs for which some of these variants have a profile."""
        return [kind for kind in self._kinds if np.isfinite(kind.throughput[list(variants)]).any()]

    def pick(self, rows: NDArray[np.bool_], keys: Sequence[Floats]) -> int | None:
        """The allowed GPU with the smallest keys, compared in turn; ties go to the first GPU."""
        allowed = np.flatnonzero(rows)
        if not allowed.size:
            return None
        for key in keys:
            values = key[allowed]
            allowed = allowed[values <= values.min() + 1e-12]
        return int(allowed[0])

    def nodes_with(self, wanted: Callable[[Instance], bool]) -> NDArray[np.intp]:
        """How many such instances the node of each GPU holds."""
        on_gpu = np.array([sum(map(wanted, on)) for on in self.residents], dtype=np.intp)
        on_node = np.bincount(self.node, weights=on_gpu).astype(np.intp)
        spread: NDArray[np.intp] = on_node[self.node]
        return spread
