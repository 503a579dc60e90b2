"""What a placer decided, what it predicts of it, and why: immutable values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from roomie.board import Board, Objective
from roomie.cluster import ClusterState, Instance, Request
from roomie.costs import PairCosts
from roomie.profiles import Variant


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """A GPU that was considered.

    Attributes:
        gpu: its id.
        variant: at which batch size.
        score: what the placer compares; smaller is better.
    """

    gpu: str
    variant: Variant
    score: float


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What becomes of a request.

    Attributes:
        request: what was asked for.
        gpu: id of the GPU that takes it; None when it is deferred.
        variant: at which batch size; None when it is deferred.
        reasons: sentences that say why.
        alternatives: the best GPUs, the chosen one first.
    """

    request: Request
    gpu: str | None
    variant: Variant | None
    reasons: tuple[str, ...]
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Move:
    """An instance that changes its GPU.

    Attributes:
        instance: its id.
        source: id of the GPU that it leaves.
        target: id of the GPU that it goes to.
        weight_bytes: what the target has to load.
        reason: why.
    """

    instance: str
    source: str
    target: str
    weight_bytes: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Removal:
    """An instance that goes.

    Attributes:
        instance: its id.
        gpu: where it ran.
        reason: why.
    """

    instance: str
    gpu: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class InstancePrediction:
    """An instance under what a state predicts.

    Attributes:
        instance: what runs.
        slowdown: (T~ - T) / T, by neighbours for the share of the time that they compute.
        throughput_loss: (T~ - T) / T~.
        latency_s: of a batch, T~, while all neighbours compute.
        throughput: items a second.
        memory_bytes: of the GPU.
    """

    instance: Instance
    slowdown: float
    throughput_loss: float
    latency_s: float
    throughput: float
    memory_bytes: int

    @property
    def late(self) -> bool:
        """Whether it misses its latency objective."""
        limit = self.instance.request.latency_s
        return limit is not None and self.latency_s > limit


@dataclass(frozen=True, kw_only=True)
class GpuPrediction:
    """A GPU under what a state predicts.

    Attributes:
        gpu: its id.
        device: its kind.
        node: its machine.
        memory_bytes: what instances need.
        memory_limit_bytes: what they may have.
        instances: on it.
    """

    gpu: str
    device: str
    node: str
    memory_bytes: int
    memory_limit_bytes: int
    instances: tuple[InstancePrediction, ...]

    @property
    def throughput(self) -> float:
        """Items a second of all instances."""
        return sum(instance.throughput for instance in self.instances)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A whole cluster under what a state predicts.

    Attributes:
        gpus: each of them.
    """

    gpus: tuple[GpuPrediction, ...]

    def __iter__(self) -> Iterator[InstancePrediction]:
        for gpu in self.gpus:
            yield from gpu.instances

    @property
    def mean_throughput_loss(self) -> float:
        """Over all instances; what the optimum of thesis Fig 4.6 minimises."""
        losses = [instance.throughput_loss for instance in self]
        return sum(losses) / len(losses) if losses else 0.0

    @property
    def mean_slowdown(self) -> float:
        """Over all instances."""
        slowdowns = [instance.slowdown for instance in self]
        return sum(slowdowns) / len(slowdowns) if slowdowns else 0.0

    @property
    def throughput(self) -> float:
        """Items a second of all instances."""
        return sum(gpu.throughput for gpu in self.gpus)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be done, and the state after it.

    Attributes:
        placer: who decided.
        decisions: in the order of the requests.
        state: the cluster afterwards.
        moves: of instances that ran before.
        removals: of instances that ran before.
        notes: about the plan as a whole, for example how far from the optimum it may be.
    """

    placer: str
    decisions: tuple[Decision, ...]
    state: ClusterState
    moves: tuple[Move, ...] = ()
    removals: tuple[Removal, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def deferred(self) -> tuple[Decision, ...]:
        """Requests that found no GPU."""
        return tuple(decision for decision in self.decisions if decision.gpu is None)

    def explain(self) -> str:
        """Every choice with its reasons, for a person."""
        lines = [
            f"remove {removal.instance} from {removal.gpu}: {removal.reason}"
            for removal in self.removals
        ]
        lines += [
            f"move {move.instance} from {move.source} to {move.target} "
            f"({move.weight_bytes / 1e6:.0f} MB to load): {move.reason}"
            for move in self.moves
        ]
        for decision in self.decisions:
            request = decision.request
            where = "deferred" if decision.gpu is None else f"on {decision.gpu}"
            lines.append(f"{request.id} ({decision.variant or request.model}): {where}")
            lines += [f"  - {reason}" for reason in decision.reasons]
            lines += [
                f"  - next: {other.variant} on {other.gpu}, score {other.score:.4f}"
                for other in decision.alternatives[1:]
            ]
        lines += self.notes
        return "\n".join(lines)


def predict(
    state: ClusterState, costs: PairCosts, objective: Objective = "throughput-loss"
) -> Prediction:
    """What the predictor says of a state.

    Raises:
        PlacementError: an instance has no profile.
    """
    board = Board.of(state, costs, objective)
    gpus = []
    for row, gpu in enumerate(state.gpus):
        device = board.device_costs(row)
        instances = []
        for slot, instance in enumerate(board.residents[row]):
            variant = int(board.types[row, slot])
            slowdown = float(board.felt[row, slot])
            slowest = float(board.slowdown[row, slot])
            instances.append(
                InstancePrediction(
                    instance=instance,
                    slowdown=slowdown,
                    throughput_loss=slowdown / (1 + slowdown),
                    latency_s=float(device.alone_s[variant]) * (1 + slowest),
                    throughput=float(device.throughput[variant]) / (1 + slowdown),
                    memory_bytes=int(device.memory_bytes[variant]),
                )
            )
        gpus.append(
            GpuPrediction(
                gpu=gpu.id,
                device=gpu.device.name,
                node=gpu.node,
                memory_bytes=int(board.memory[row]),
                memory_limit_bytes=int(board.capacity[row]),
                instances=tuple(instances),
            )
        )
    return Prediction(gpus=tuple(gpus))
